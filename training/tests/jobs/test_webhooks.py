"""A signed message when a run is over: to a real server on this machine, which a setting allows."""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from datetime import timedelta
from typing import Any
from unittest import mock

from django.test import override_settings
from django.utils import timezone

from cifarsite.core import webhooks as sending
from cifarsite.core.webhooks import WebhookRefused
from cifarsite.tests.webhook_receiver import SECRET, WithReceiver
from training.jobs import lifecycle, ownership, webhooks
from training.models import TrainingJob
from training.tests.jobs.test_lifecycle import JobTestCase


class WebhookTestCase(WithReceiver, JobTestCase):
    def over(self, url: str = "") -> TrainingJob:
        lifecycle.request_training(recipe="seed_cnn", parameters={}, by=self.charlie, webhook=url or self.url)
        job = self.claim()
        ownership.fail(job, "diverged", "The loss became nan.")
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
        ownership.finish(self.running(), TrainingJob.State.SUCCEEDED)
        lifecycle.request_training(recipe="seed_cnn", parameters={}, by=None, webhook=self.url)
        webhooks.deliver_due()
        self.claim()
        webhooks.deliver_due()
        self.assertEqual(self.server.got, [])

    def test_it_is_tried_again_with_growing_waits_and_given_up_in_the_end(self) -> None:
        job = self.over()
        self.server.answers = [500] * 10
        waits = []
        for number in range(1, len(sending.WAITS) + 2):
            self.again(job)
            job.refresh_from_db()
            self.assertEqual(job.webhook_tries, number)
            if job.webhook_next_at:
                waits.append((job.webhook_next_at - timezone.now()).total_seconds())
                self.assertEqual(webhooks.deliver_due()["webhooks_failed"], 0)
        self.assertEqual(waits, sorted(waits))
        self.assertEqual(len(waits), len(sending.WAITS))
        self.assertEqual(job.webhook_state, "failed")
        self.assertIn("500", job.webhook_said)
        self.again(job)
        self.assertEqual(len(self.server.got), len(sending.WAITS) + 1)

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
        with mock.patch.object(sending, "TIMEOUT_SECONDS", 0.2):
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
            mock.patch.object(sending, "deliver", side_effect=KeyboardInterrupt),
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
        lifecycle.resume(job)
        self.assertEqual(job.webhook_state, "waiting")
        lifecycle.cancel(job)
        self.assertEqual(webhooks.deliver_due()["webhooks_sent"], 1)


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
        ownership.fail(job, "diverged", "NaN.")
        webhooks.deliver_due()
        page = self.client.get(job.get_absolute_url())
        self.assertContains(page, "delivered")
        self.assertContains(page, "204 No Content")

    def test_the_form_refuses_one_with_a_sentence(self) -> None:
        answer = self.send("https://192.168.0.1/x")
        self.assertContains(answer, "a private network", status_code=400)
        self.assertFalse(TrainingJob.objects.exists())

    def test_without_a_secret_there_are_no_webhooks(self) -> None:
        with override_settings(WEBHOOK_SECRET=""):
            with self.assertRaisesMessage(WebhookRefused, "set WEBHOOK_SECRET"):
                lifecycle.request_training(
                    recipe="seed_cnn", parameters={}, by=None, webhook="https://example.org/"
                )
            self.client.force_login(self.charlie)
            self.assertNotContains(self.client.get("/training/"), 'name="webhook"')
        self.assertFalse(TrainingJob.objects.exists())
