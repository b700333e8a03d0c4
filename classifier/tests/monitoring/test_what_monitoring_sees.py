"""Readiness for answers, and the gauges that alarms are made of."""

from __future__ import annotations

import tempfile
from datetime import timedelta
from pathlib import Path
from typing import Any, cast
from unittest import mock

from django.core.mail import send_mail
from django.core.management import call_command
from django.test import override_settings
from django.utils import timezone

from cifarsite.test import SiteTestCase
from classifier.monitoring import backup_age
from classifier.operations import backup, database_dumps
from classifier.tests.monitoring import test_metrics
from classifier.tests.uploads.archives import photos, zipped
from classifier.uploads.batches import create_batch
from training import workers
from training.models import TrainingJob, Worker
from training.registry import model_store


class ReadyForAnswersTest(SiteTestCase):
    def setUp(self) -> None:
        self.enterContext(mock.patch.object(model_store, "champion", return_value=object()))

    def ask(self, query: str = "?for=answers") -> Any:
        return self.client.get(f"/readyz{query}")

    def test_without_a_worker_photos_are_taken_in_but_not_answered(self) -> None:
        self.assertEqual(self.ask("").status_code, 200)
        response = self.ask()
        self.assertEqual(response.status_code, 503)
        self.assertIn("No prediction worker has been seen", response.json()["missing"]["workers"])

    def test_a_living_worker_makes_it_ready(self) -> None:
        workers.record_heartbeat("w1", ["predict"], timezone.now())
        self.assertEqual(self.ask().status_code, 200)

    def test_a_worker_that_is_gone_is_told_with_the_time_it_was_last_seen(self) -> None:
        workers.record_heartbeat("w1", ["predict"], timezone.now())
        Worker.objects.update(seen_at=timezone.now() - timedelta(seconds=96))
        response = self.ask()
        self.assertEqual(response.status_code, 503)
        self.assertIn("since 20", response.json()["missing"]["workers"])

    def test_another_question_is_not_taken_for_ready(self) -> None:
        self.assertEqual(self.ask("?for=anwsers").status_code, 400)


@override_settings(METRICS_TOKEN=test_metrics.TOKEN)
class MoreMetricsTest(SiteTestCase):
    def figures(self) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
        return test_metrics.MetricsTest.figures(cast(Any, self))

    def figure(self, name: str, **labels: str) -> float:
        return self.figures().get((name, frozenset(labels.items())), 0)

    def test_disk_and_broker_are_told(self) -> None:
        self.assertGreater(self.figure("cifarsite_disk_free_bytes"), 0)
        self.assertGreater(
            self.figure("cifarsite_disk_total_bytes"), self.figure("cifarsite_disk_free_bytes")
        )
        self.assertEqual(self.figure("cifarsite_broker_up"), 1)
        with mock.patch("classifier.monitoring.metrics.broker_problem", return_value="gone"):
            self.assertEqual(self.figure("cifarsite_broker_up"), 0)

    def test_the_age_of_the_last_backup_is_told_once_there_is_one(self) -> None:
        with tempfile.TemporaryDirectory() as folder, override_settings(VAR_DIR=Path(folder)):
            name = "cifarsite_backup_age_seconds"
            self.assertNotIn((name, frozenset()), self.figures())
            done = backup.Done(Path(folder), 1, 1, 1)
            with mock.patch("classifier.management.commands.backup.back_up", return_value=done):
                call_command("backup", folder, stdout=mock.Mock())
            self.assertIn((name, frozenset()), self.figures())
            self.assertLess(self.figure(name), 3_600)

    def test_a_backup_that_fails_does_not_count(self) -> None:
        failing = mock.patch(
            "classifier.management.commands.backup.back_up", side_effect=database_dumps.BackupError("no")
        )
        with tempfile.TemporaryDirectory() as folder, override_settings(VAR_DIR=Path(folder)), failing:
            with self.assertRaisesMessage(Exception, "no"):
                call_command("backup", folder)
            self.assertIsNone(backup_age.last_made_at())

    def test_the_oldest_entry_and_job_are_told(self) -> None:
        batch = create_batch(self.alice, zipped(photos(2)), filename="a.zip")
        job = TrainingJob.objects.create(recipe="seed_cnn", parameters={})
        hour_ago = timezone.now() - timedelta(hours=1)
        type(batch).objects.filter(pk=batch.pk).update(created_at=hour_ago)
        TrainingJob.objects.filter(pk=job.pk).update(created_at=hour_ago)
        for queue, length in (("entries", 2), ("train", 1)):
            self.assertGreaterEqual(self.figure("cifarsite_queue_oldest_seconds", queue=queue), 3_600)
            self.assertEqual(self.figure("cifarsite_queue_length", queue=queue), length)

    def test_webhooks_are_told_by_state(self) -> None:
        for state in ("failed", "failed", "delivered"):
            TrainingJob.objects.create(
                recipe="seed_cnn", parameters={}, webhook_url="https://example.org/", webhook_state=state
            )
        found = {s: self.figure("cifarsite_webhooks", state=s) for s in ("waiting", "delivered", "failed")}
        self.assertEqual(found, {"waiting": 0, "delivered": 1, "failed": 2})

    @override_settings(
        EMAIL_BACKEND="cifarsite.core.mail.CountingBackend",
        MAIL_BACKEND="django.core.mail.backends.smtp.EmailBackend",
        EMAIL_HOST="127.0.0.1",
        EMAIL_PORT=1,
    )
    def test_mails_that_fail_are_counted(self) -> None:
        before = self.figure("cifarsite_mails_failed_total")
        with self.assertRaises(OSError):
            send_mail("subject", "text", None, ["alice@example.org"])
        self.assertEqual(self.figure("cifarsite_mails_failed_total") - before, 1)
