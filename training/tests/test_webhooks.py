"""A signed message when a run is over: to a real server on this machine, which a setting allows."""

from __future__ import annotations

import hashlib
import hmac
import json
import threading
import time
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any
from unittest import mock

from django.test import override_settings
from django.utils import timezone

from training import jobs, webhooks
from training.models import TrainingJob
from training.tests.test_jobs import JobTestCase
from training.webhooks import WebhookRefused, read_address

SECRET = "a secret of the receiver"
ON = override_settings(WEBHOOK_SECRET=SECRET)


class Receiver(BaseHTTPRequestHandler):
    """Answers what the test wants, and remembers what came."""

    def do_POST(self) -> None:
        server: Any = self.server
        content = self.rfile.read(int(self.headers["Content-Length"]))
        server.got.append((self.path, dict(self.headers), content))
        time.sleep(server.pause)
        status = server.answers.pop(0) if server.answers else 204
        self.send_response(status)
        if status == 302:
            self.send_header("Location", f"http://127.0.0.1:{server.server_port}/elsewhere")
        self.end_headers()

    def log_message(self, *args: Any) -> None:
        pass


class WebhookTestCase(JobTestCase):
    server: Any

    def setUp(self) -> None:
        self.enterContext(ON)
        self.enterContext(override_settings(WEBHOOK_PRIVATE_HOSTS=["127.0.0.1", "localhost"]))
        self.server = HTTPServer(("127.0.0.1", 0), Receiver)
        self.server.got, self.server.answers, self.server.pause = [], [], 0
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.addCleanup(self.server.server_close)
        self.addCleanup(self.server.shutdown)
        self.url = f"http://127.0.0.1:{self.server.server_port}/hook?a=1"

    def over(self, url: str = "") -> TrainingJob:
        jobs.request_training(recipe="seed_cnn", parameters={}, by=self.charlie, webhook=url or self.url)
        job = self.claim()
        jobs.fail(job, "diverged", "The loss became nan.")
        job.refresh_from_db()
        return job

    def again(self, job: TrainingJob) -> dict[str, int]:
        """The wait is over."""
        past = timezone.now() - timedelta(seconds=1)
        TrainingJob.objects.filter(pk=job.pk).exclude(webhook_next_at=None).update(webhook_next_at=past)
        return webhooks.deliver_due()


class DeliveryTests(WebhookTestCase):
    def test_the_receiver_can_check_who_sent_what_and_when(self) -> None:
        job = self.over()
        self.assertEqual(webhooks.deliver_due(), {"webhooks_sent": 1, "webhooks_failed": 0})
        (path, headers, content) = self.server.got[0]
        self.assertEqual(path, "/hook?a=1")
        stamp = headers["X-Cifarsite-Timestamp"]
        self.assertLess(abs(time.time() - int(stamp)), 60)
        expected = hmac.new(SECRET.encode(), f"{stamp}.".encode() + content, hashlib.sha256).hexdigest()
        self.assertEqual(headers["X-Cifarsite-Signature"], f"sha256={expected}")
        said = json.loads(content)
        self.assertEqual((said["event"], said["job"]["id"]), ("training_job.finished", job.pk))
        self.assertEqual((said["job"]["state"], said["job"]["error"]["code"]), ("failed", "diverged"))
        self.assertEqual(said["job"]["url"], f"http://localhost:8000/training/{job.pk}/")
        job.refresh_from_db()
        self.assertEqual((job.webhook_state, job.webhook_tries), ("delivered", 1))
        self.assertIn("204", job.webhook_said)
        self.assertEqual(webhooks.deliver_due(), {"webhooks_sent": 0, "webhooks_failed": 0})

    def test_nothing_is_sent_before_the_run_is_over_or_where_nobody_asked(self) -> None:
        jobs.finish(self.running(), TrainingJob.State.SUCCEEDED)
        jobs.request_training(recipe="seed_cnn", parameters={}, by=None, webhook=self.url)
        webhooks.deliver_due()
        self.claim()
        webhooks.deliver_due()
        self.assertEqual(self.server.got, [])

    def test_it_is_tried_again_with_growing_waits_and_given_up_in_the_end(self) -> None:
        job = self.over()
        self.server.answers = [500] * 10
        waits = []
        for number in range(1, len(webhooks.WAITS) + 2):
            self.again(job)
            job.refresh_from_db()
            self.assertEqual(job.webhook_tries, number)
            if job.webhook_next_at:
                waits.append((job.webhook_next_at - timezone.now()).total_seconds())
                self.assertEqual(webhooks.deliver_due()["webhooks_failed"], 0)
        self.assertEqual(waits, sorted(waits))
        self.assertEqual(len(waits), len(webhooks.WAITS))
        self.assertEqual(job.webhook_state, "failed")
        self.assertIn("500", job.webhook_said)
        self.again(job)
        self.assertEqual(len(self.server.got), len(webhooks.WAITS) + 1)

    def test_a_receiver_that_comes_back_gets_it(self) -> None:
        job = self.over()
        self.server.answers = [503]
        webhooks.deliver_due()
        self.again(job)
        job.refresh_from_db()
        self.assertEqual((job.webhook_state, job.webhook_tries), ("delivered", 2))
        deliveries = {headers["X-Cifarsite-Delivery"] for _path, headers, _content in self.server.got}
        self.assertEqual(len(deliveries), 1)

    def test_a_redirect_is_not_followed(self) -> None:
        job = self.over()
        self.server.answers = [302]
        webhooks.deliver_due()
        self.assertEqual([path for path, _h, _c in self.server.got], ["/hook?a=1"])
        job.refresh_from_db()
        self.assertIn("302", job.webhook_said)

    def test_a_receiver_that_does_not_answer_costs_one_try(self) -> None:
        job = self.over()
        self.server.pause = 1
        with mock.patch.object(webhooks, "TIMEOUT_SECONDS", 0.2):
            self.assertEqual(webhooks.deliver_due()["webhooks_failed"], 1)
        job.refresh_from_db()
        self.assertEqual(job.webhook_state, "waiting")

    def test_nobody_there_is_said_on_the_row(self) -> None:
        job = self.over("http://127.0.0.1:9/")
        webhooks.deliver_due()
        job.refresh_from_db()
        self.assertIn("Connection refused", job.webhook_said)

    def test_a_try_that_was_killed_is_made_again_a_minute_later(self) -> None:
        job = self.over()
        with (
            mock.patch.object(webhooks, "deliver", side_effect=KeyboardInterrupt),
            self.assertRaises(KeyboardInterrupt),
        ):
            webhooks.deliver_due()
        self.assertEqual(webhooks.deliver_due(), {"webhooks_sent": 0, "webhooks_failed": 0})
        self.assertEqual(self.again(job)["webhooks_sent"], 1)

    def test_a_resumed_run_tells_again(self) -> None:
        job = self.over()
        webhooks.deliver_due()
        TrainingJob.objects.filter(pk=job.pk).update(error_code="interrupted")
        self.add_epochs(job, 1)
        jobs.resume(job)
        self.assertEqual(job.webhook_state, "waiting")
        jobs.cancel(job)
        self.assertEqual(webhooks.deliver_due()["webhooks_sent"], 1)


@ON
class AddressTests(JobTestCase):
    def test_private_and_special_addresses_are_refused(self) -> None:
        for host in (
            "127.0.0.1", "10.0.0.1", "192.168.1.1", "172.16.0.1", "169.254.169.254", "0.0.0.0", "100.64.0.1",
            "224.0.0.1", "[::1]", "[::]", "[fe80::1]", "[fd00::1]", "[::ffff:127.0.0.1]", "[64:ff9b::7f00:1]",
            "[2002:7f00:1::]", "[::127.0.0.1]",
        ):  # fmt: skip
            with self.subTest(host), self.assertRaisesMessage(WebhookRefused, "private network"):
                read_address(f"https://{host}/hook")

    def test_a_name_that_stands_for_a_private_address_is_refused_when_it_is_called(self) -> None:
        address = read_address("https://localhost/hook")
        with self.assertRaisesMessage(WebhookRefused, "private network"):
            webhooks._resolve(address)

    def test_numbers_that_only_look_like_names_are_looked_up_before_they_are_believed(self) -> None:
        for host in ("2130706433", "0x7f.1", "017700000001", "127.1"):
            with self.subTest(host), self.assertRaises((WebhookRefused, webhooks.NotDelivered)):
                webhooks._resolve(read_address(f"https://{host}/"))

    def test_what_is_no_address_is_refused(self) -> None:
        for url in (
            "ftp://example.org/", "example.org", "https://", "https://user:word@example.org/", "https://[::1",
            "https://example.org/a b", "https://example.org/\r\nHost: x", "https://example.org:99999/",
            "https://example.org/" + "a" * 500, "file:///etc/passwd",
        ):  # fmt: skip
            with self.subTest(url), self.assertRaises(WebhookRefused):
                read_address(url)

    def test_plain_http_is_for_hosts_of_ones_own(self) -> None:
        with self.assertRaisesMessage(WebhookRefused, "https"):
            read_address("http://example.org/hook")
        with override_settings(WEBHOOK_PRIVATE_HOSTS=["hooks.internal"]):
            self.assertEqual(read_address("http://hooks.internal:8080/x").port, 8080)
        self.assertEqual(read_address("https://example.org").target, "/")

    def test_without_a_secret_there_are_no_webhooks(self) -> None:
        with override_settings(WEBHOOK_SECRET=""):
            with self.assertRaisesMessage(WebhookRefused, "set WEBHOOK_SECRET"):
                jobs.request_training(
                    recipe="seed_cnn", parameters={}, by=None, webhook="https://example.org/"
                )
            self.client.force_login(self.charlie)
            self.assertNotContains(self.client.get("/training/"), 'name="webhook"')
        self.assertFalse(TrainingJob.objects.exists())


class FormTests(WebhookTestCase):
    def send(self, url: str) -> Any:
        self.client.force_login(self.charlie)
        form = self.client.get("/training/?recipe=seed_cnn").context["form"]
        values = {"recipe": "seed_cnn", "request_key": "k", "webhook": url}
        values |= {p.name: p.default for p in form.chosen.parameters}
        return self.client.post("/training/", values)

    def test_the_form_takes_one_and_the_page_shows_how_it_went(self) -> None:
        self.assertEqual(self.send(self.url).status_code, 302)
        job = self.claim()
        jobs.fail(job, "diverged", "NaN.")
        webhooks.deliver_due()
        page = self.client.get(job.get_absolute_url())
        self.assertContains(page, "delivered")
        self.assertContains(page, "204 No Content")

    def test_the_form_refuses_one_with_a_sentence(self) -> None:
        answer = self.send("https://192.168.0.1/x")
        self.assertContains(answer, "a private network", status_code=400)
        self.assertFalse(TrainingJob.objects.exists())
