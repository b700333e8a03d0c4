"""Metrics for Prometheus: off by default, behind a token, from the rows and from what was counted."""

from __future__ import annotations

from datetime import timedelta
from unittest import mock

from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import OperationalError
from django.test import override_settings
from django.utils import timezone
from prometheus_client.parser import text_string_to_metric_families

from cifarsite.test import SiteTestCase, image_file
from classifier.models import Prediction
from classifier.monitoring import metrics
from classifier.predictions import queue
from training import workers
from training.models import TrainingJob

TOKEN = "metrics-token-of-the-test"


class MetricsTest(SiteTestCase):
    def figures(self) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
        answer = self.client.get("/metrics", headers={"Authorization": f"Bearer {TOKEN}"})
        self.assertEqual(answer.status_code, 200, answer.content)
        return {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in text_string_to_metric_families(answer.content.decode())
            for sample in family.samples
        }

    def figure(self, name: str, **labels: str) -> float:
        return self.figures().get((name, frozenset(labels.items())), 0)

    def test_it_is_off_by_default(self) -> None:
        self.assertEqual(self.client.get("/metrics").status_code, 404)

    @override_settings(METRICS_TOKEN=TOKEN)
    def test_it_asks_for_the_token(self) -> None:
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": TOKEN}):
            answer = self.client.get("/metrics", headers=headers)
            self.assertEqual(answer.status_code, 401)
            self.assertNotIn(b"cifarsite", answer.content)
        # Who is signed in here is somebody else's matter: staff without the token get nothing.
        self.client.force_login(self.charlie)
        self.assertEqual(self.client.get("/metrics").status_code, 401)
        self.assertEqual(self.client.post("/metrics").status_code, 405)

    @override_settings(METRICS_TOKEN=TOKEN)
    def test_it_tells_what_waits_and_for_how_long(self) -> None:
        for _ in range(3):
            self.upload()
        Prediction.objects.update(created_at=timezone.now() - timedelta(minutes=2))
        TrainingJob.objects.create(recipe="fast_cnn")
        workers.record_heartbeat("one@here", ["predict", "batch"], timezone.now())
        self.assertEqual(self.figure("cifarsite_queue_length", queue="interactive"), 3)
        self.assertEqual(self.figure("cifarsite_queue_length", queue="bulk"), 0)
        self.assertAlmostEqual(
            self.figure("cifarsite_queue_oldest_seconds", queue="interactive"), 120, delta=60
        )
        self.assertEqual(self.figure("cifarsite_training_jobs", state="queued"), 1)
        self.assertEqual(self.figure("cifarsite_workers", queue="predict"), 1)
        self.assertEqual(self.figure("cifarsite_workers", queue="train"), 0)

    @override_settings(METRICS_TOKEN=TOKEN)
    def test_it_counts_uploads_and_refusals_and_measures_requests(self) -> None:
        before = self.figure("cifarsite_photos_accepted_total")
        refused = self.figure("cifarsite_photos_refused_total", code="empty")
        route = {"method": "POST", "route": "/", "status": "302"}
        asked = self.figure("cifarsite_request_seconds_count", **route)
        self.client.force_login(self.alice)
        self.client.post("/", {"file": image_file()})
        self.client.post("/", {"file": SimpleUploadedFile("empty.jpg", b"")})
        self.assertEqual(self.figure("cifarsite_photos_accepted_total"), before + 1)
        self.assertEqual(self.figure("cifarsite_photos_refused_total", code="empty"), refused + 1)
        self.assertEqual(self.figure("cifarsite_request_seconds_count", **route), asked + 1)

    @override_settings(METRICS_TOKEN=TOKEN)
    def test_no_address_and_no_id_becomes_a_label(self) -> None:
        photo = self.upload()
        self.client.force_login(self.alice)
        self.client.get(photo.get_absolute_url())
        self.client.get("/no/such/page/4711/")
        labels = {value for _, labels in self.figures() for _, value in labels}
        self.assertIn("/photos/<uuid:pk>/", labels)
        self.assertFalse([label for label in labels if str(photo.pk) in label or "4711" in label])

    @override_settings(METRICS_TOKEN=TOKEN)
    def test_it_answers_while_the_database_does_not(self) -> None:
        with mock.patch.object(queue, "waiting", side_effect=OperationalError("gone")):
            self.assertEqual(self.figure("cifarsite_database_up"), 0)
        self.assertEqual(self.figure("cifarsite_database_up"), 1)

    @override_settings(METRICS_TOKEN=TOKEN)
    def test_its_queries_do_not_grow_with_the_photos(self) -> None:
        self.figures()
        with self.assertNumQueries(12):
            self.figures()
        self.assertEqual(metrics.COUNTED, 100_000)
