"""A person's program is told that a batch has finished: at a real server on this machine."""

from __future__ import annotations

import hashlib
import hmac
import json
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest import mock

from django.core.cache import cache
from django.test import override_settings
from django.utils import timezone

from cifarsite.core import webhooks as sending
from cifarsite.core.webhooks import WebhookRefused
from cifarsite.test import PASSWORD, ApiTestCase
from cifarsite.tests.webhook_receiver import WithReceiver
from classifier.models import AuditEntry, Batch, WebhookAddress
from classifier.tests.uploads.archives import photos, zipped
from classifier.tests.uploads.test_batches import BatchTestCase
from classifier.uploads import batch_results, batches, webhooks

SENT = {"batch_webhooks_sent": 1, "batch_webhooks_failed": 0}
NONE = {"batch_webhooks_sent": 0, "batch_webhooks_failed": 0}
FAILED = {"batch_webhooks_sent": 0, "batch_webhooks_failed": 1}


class BatchWebhookCase(WithReceiver, BatchTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.alice.is_staff = True  # who alone may name this machine
        self.alice.save()
        self.secret = webhooks.set_address(self.alice, self.url)

    def over(self) -> Batch:
        batch = self.make({"a.jpg": photos(1)["photo-0000.jpg"], "b.txt": b"text"})
        self.unpack()
        self.answer_all(batch)
        return batch

    def said(self) -> list[Any]:
        return [json.loads(content) for _path, _headers, content in self.server.got]

    def again(self) -> dict[str, int]:
        """The wait is over."""
        past = timezone.now() - timedelta(seconds=1)
        Batch.objects.exclude(webhook_next_at=None).update(webhook_next_at=past)
        return webhooks.deliver_due()


class DeliveryTests(BatchWebhookCase):
    def test_it_tells_the_counts_signed_with_the_person_s_own_secret(self) -> None:
        batch = self.over()
        self.assertEqual(webhooks.deliver_due(), SENT)
        (_path, headers, content) = self.server.got[0]
        signed = f"{headers['X-Cifarsite-Timestamp']}.".encode() + content
        expected = hmac.new(self.secret.encode(), signed, hashlib.sha256).hexdigest()
        self.assertEqual(headers["X-Cifarsite-Signature"], f"sha256={expected}")
        told = json.loads(content)
        self.assertEqual((told["event"], told["batch"]["id"]), ("batch.finished", str(batch.pk)))
        counts = {name: told["batch"][name] for name in ("state", "total", "done", "failed")}
        self.assertEqual(counts, {"state": "done", "total": 2, "done": 1, "failed": 1})
        self.assertEqual(told["batch"]["url"], f"http://localhost:8000/batches/{batch.pk}/")
        batch.refresh_from_db()
        self.assertEqual((batch.webhook_state, batch.webhook_said), ("delivered", "204 No Content"))
        self.assertEqual(webhooks.deliver_due(), NONE)

    def test_nobody_is_told_before_the_end_or_of_other_people_s(self) -> None:
        self.make()
        batches.cancel(batches.create_batch(self.bob, zipped(photos(1)), filename="bob.zip"))
        self.assertEqual(webhooks.deliver_due(), NONE)
        self.assertEqual(self.server.got, [])

    def test_a_cancelled_one_has_finished_too(self) -> None:
        batches.cancel(self.make())
        self.assertEqual(webhooks.deliver_due(), SENT)
        self.assertEqual(self.said()[0]["batch"]["state"], "cancelled")

    def test_a_try_that_was_killed_is_made_again_a_minute_later(self) -> None:
        self.over()
        with (
            mock.patch.object(sending, "send", side_effect=KeyboardInterrupt),
            self.assertRaises(KeyboardInterrupt),
        ):
            webhooks.deliver_due()
        self.assertEqual(webhooks.deliver_due(), NONE)
        self.assertEqual(self.again(), SENT)

    def test_a_receiver_that_does_not_answer_is_asked_once_and_not_for_each_batch(self) -> None:
        first, second = self.over(), self.over()
        self.server.answers = [500]
        self.assertEqual(webhooks.deliver_due(), FAILED)
        self.assertEqual(webhooks.deliver_due(), NONE)
        self.assertEqual(self.again(), {"batch_webhooks_sent": 2, "batch_webhooks_failed": 0})
        tries = sorted(Batch.objects.values_list("webhook_tries", flat=True))
        self.assertEqual((tries, first.pk != second.pk), ([1, 2], True))

    def test_a_batch_that_is_tried_again_tells_again_at_the_address_of_today(self) -> None:
        batch = self.over()
        webhooks.deliver_due()
        batch_results.predictions(batch).update(status="failed")
        webhooks.set_address(self.alice, self.url.replace("hook", "other"))
        self.assertEqual(batches.retry_failed(batch), 1)
        self.assertEqual(webhooks.deliver_due(), NONE)
        self.answer_all(batch)
        self.assertEqual(webhooks.deliver_due(), SENT)
        self.assertEqual([path for path, *_ in self.server.got], ["/hook?a=1", "/other?a=1"])

    def test_what_waits_goes_to_a_new_address_with_its_secret_and_to_none_without_one(self) -> None:
        self.over()
        self.server.answers = [500]
        webhooks.deliver_due()
        secret = webhooks.set_address(self.alice, self.url.replace("hook", "new"))
        self.assertEqual(webhooks.deliver_due(), SENT)
        path, headers, content = self.server.got[-1]
        expected = sending.signature(secret, headers["X-Cifarsite-Timestamp"], content)
        self.assertEqual((path, headers["X-Cifarsite-Signature"]), ("/new?a=1", f"sha256={expected}"))
        self.over()
        webhooks.remove_address(self.alice)
        self.assertEqual(webhooks.deliver_due(), NONE)
        self.assertFalse(WebhookAddress.objects.exists())


class FaultTests(BatchWebhookCase):
    """What one message meets must not keep the others back, and what comes back must be written."""

    def row(self) -> Batch:
        return Batch.objects.get()

    def test_a_name_that_cannot_be_looked_up_is_a_failed_try(self) -> None:
        self.over()
        Batch.objects.update(webhook_url="https://a..example.org/")  # of before such were refused
        self.assertEqual(webhooks.deliver_due(), FAILED)
        self.assertEqual((self.row().webhook_state, self.row().webhook_tries), ("failed", 1))

    def test_a_fault_of_the_site_is_a_failed_try_and_the_next_message_is_sent(self) -> None:
        self.over()
        self.over()
        real, told = webhooks.content, []

        def content(batch: Batch) -> dict[str, Any]:
            told.append(batch.pk)
            if len(told) == 1:
                raise KeyError("nothing")
            return real(batch)

        with mock.patch.object(webhooks, "content", content), self.assertLogs("cifarsite.core.webhooks"):
            webhooks.deliver_due()
            self.again()
        self.assertEqual(sorted(Batch.objects.values_list("webhook_tries", "webhook_state")),
                         [(1, "delivered"), (2, "delivered")])  # fmt: skip

    def test_characters_that_no_database_takes_are_left_out_of_what_the_receiver_said(self) -> None:
        self.over()
        self.server.reason = "O\0K"
        self.assertEqual(webhooks.deliver_due(), SENT)
        self.assertEqual(self.row().webhook_said, "204 O K")

    def test_without_an_address_a_message_is_given_up(self) -> None:
        self.over()
        WebhookAddress.objects.all().delete()  # as where it is removed while a batch is stored
        self.assertEqual(webhooks.deliver_due(), FAILED)
        self.assertEqual(self.row().webhook_state, "failed")

    def test_a_batch_that_goes_on_while_its_message_is_sent_has_another_one(self) -> None:
        self.over()
        real = sending.send

        def retried_meanwhile(*words: Any) -> str:
            said = real(*words)
            Batch.objects.update(**sending.UNSENT, state="running", finished_at=None)
            return said

        with mock.patch.object(sending, "send", retried_meanwhile):
            webhooks.deliver_due()
        self.assertEqual((self.row().webhook_state, self.row().webhook_tries), ("waiting", 0))
        Batch.objects.update(state="done", finished_at=timezone.now())
        self.assertEqual(webhooks.deliver_due(), SENT)

    def test_an_address_that_changes_before_a_message_is_sent_counts(self) -> None:
        self.over()
        real = sending.due

        def changed(rows: Any) -> Any:
            Batch.objects.update(webhook_url=self.url.replace("hook", "new"))
            return real(rows)

        with mock.patch.object(sending, "due", changed):
            webhooks.deliver_due()
        self.assertEqual(self.server.got[0][0], "/new?a=1")

    def test_a_slow_receiver_of_many_batches_keeps_nobody_waiting(self) -> None:
        for _ in range(3):
            self.over()
        self.bob.is_staff = True
        self.bob.save()
        webhooks.set_address(self.bob, self.url.replace("hook", "bob"))
        batches.cancel(batches.create_batch(self.bob, zipped(photos(1)), filename="bob.zip"))
        webhooks.deliver_due()
        paths = [path for path, *_ in self.server.got]
        self.assertEqual(sorted(paths[:2]), ["/bob?a=1", "/hook?a=1"])
        self.assertEqual(len(paths), 4)

    def test_a_pass_ends_after_some_seconds(self) -> None:
        self.over()
        self.over()
        with mock.patch.object(sending, "SECONDS_A_PASS", -1):
            self.assertEqual(webhooks.deliver_due(), SENT)


class AddressTests(BatchWebhookCase):
    def test_a_person_s_address_is_checked_as_staff_s_is(self) -> None:
        for url in (
            "https://10.0.0.1/hook",
            "http://example.org/",
            "https://[::1]/",
            "hook",
            "",
            "file:///etc",
        ):
            with self.subTest(url), self.assertRaises(WebhookRefused):
                webhooks.set_address(self.alice, url)
        self.assertEqual(self.alice.webhook.url, self.url)
        with override_settings(WEBHOOK_PRIVATE_HOSTS=[]):
            webhooks.set_address(self.alice, "https://localhost/hook")
            self.over()
            self.assertEqual(webhooks.deliver_due(), FAILED)
        batch = Batch.objects.get()
        self.assertEqual(batch.webhook_state, "failed")
        self.assertIn("private network", batch.webhook_said)

    def test_private_hosts_are_for_staff_alone_and_no_more_than_they_are_staff(self) -> None:
        with self.assertRaises(WebhookRefused):
            webhooks.set_address(self.bob, self.url)
        with self.assertRaisesMessage(WebhookRefused, "private network: only public https addresses"):
            webhooks.set_address(self.bob, "https://127.0.0.1/hook")
        with self.assertRaisesMessage(WebhookRefused, "name it in WEBHOOK_PRIVATE_HOSTS"):
            webhooks.set_address(self.alice, "https://127.0.0.2/hook")
        self.over()
        self.alice.is_staff = False
        self.alice.save()
        self.assertEqual(webhooks.deliver_due(), FAILED)
        self.assertEqual(self.server.got, [])


class PageTests(BatchWebhookCase):
    def setUp(self) -> None:
        super().setUp()
        webhooks.remove_address(self.alice)
        cache.clear()
        self.client.force_login(self.alice)
        self.client.post("/accounts/reauthenticate/", {"password": PASSWORD})

    def test_it_shows_a_new_secret_once(self) -> None:
        response = self.client.post("/account/webhook/", {"url": self.url})
        secret = WebhookAddress.objects.get(owner=self.alice).secret
        self.assertContains(response, secret, status_code=201)
        self.assertIn("no-store", response.headers["Cache-Control"])
        page = self.client.get("/account/")
        self.assertContains(page, self.url)
        self.assertNotContains(page, secret)
        self.assertFalse(WebhookAddress.objects.filter(owner=self.bob).exists())
        self.client.post("/account/webhook/", {"url": self.url, "remove": "1"})
        self.assertFalse(WebhookAddress.objects.exists())
        self.assertNotContains(self.client.get("/account/"), self.url)
        self.assertEqual(AuditEntry.objects.filter(kind="webhook_changed", by=self.alice).count(), 2)

    def test_it_says_why_an_address_is_refused(self) -> None:
        response = self.client.post("/account/webhook/", {"url": "https://10.0.0.1/x"})
        self.assertContains(response, "a private network", status_code=400)
        self.assertContains(response, 'value="https://10.0.0.1/x"', status_code=400)
        self.assertFalse(WebhookAddress.objects.exists())

    def test_it_asks_for_the_password_first(self) -> None:
        self.client.force_login(self.bob)
        response = self.client.post("/account/webhook/", {"url": self.url})
        self.assertIn("reauthenticate", response.headers["Location"])
        self.assertFalse(WebhookAddress.objects.exists())

    def test_without_webhooks_nothing_is_offered(self) -> None:
        self.assertContains(self.client.get("/account/"), 'id="webhook"')
        with override_settings(WEBHOOK_SECRET=""):
            self.assertNotContains(self.client.get("/account/"), 'id="webhook"')
            self.assertEqual(self.client.post("/account/webhook/", {"url": self.url}).status_code, 400)

    def test_the_batch_s_page_tells_how_it_went(self) -> None:
        webhooks.set_address(self.alice, self.url)
        batch = self.make()
        self.assertContains(self.client.get(batch.get_absolute_url()), "receives a message at the end")
        batches.cancel(batch)
        webhooks.deliver_due()
        self.assertContains(self.client.get(batch.get_absolute_url()), "delivered; 1 try: 204 No Content")
        Batch.objects.update(webhook_state="waiting", webhook_said="Nobody is there.")
        Batch.objects.update(webhook_next_at=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC))
        page = self.client.get(batch.get_absolute_url())
        self.assertContains(page, "waiting; 1 try; the next one at 03:04:05 UTC: Nobody is there.")


class ApiTests(BatchWebhookCase, ApiTestCase):
    def test_a_batch_says_whom_it_tells_and_how_that_went(self) -> None:
        batch = self.over()
        path = f"batches/{batch.pk}"
        waiting = {"url": self.url, "state": "waiting", "tries": 0, "said": ""}
        self.assertEqual(self.call("get", path).json()["webhook"], waiting)
        webhooks.deliver_due()
        self.assertEqual(self.call("get", path).json()["webhook"]["state"], "delivered")
        other = batches.create_batch(self.bob, zipped(photos(1)), filename="b.zip")
        self.assertIsNone(self.call("get", f"batches/{other.pk}", token="bob").json()["webhook"])
