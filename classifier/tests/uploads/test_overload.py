"""More photos than can be answered soon: told at once with 503, and what was accepted is kept."""

from __future__ import annotations

from unittest import mock

from django.test import override_settings

from cifarsite.test import ApiTestCase, answer, image_file
from classifier.images.errors import ImageRefused
from classifier.models import Photo, Prediction
from classifier.predictions import queue
from classifier.uploads import admission
from classifier.uploads.admission import Admission

SENTENCE = "queue is full"


class OverloadTest(ApiTestCase):
    @override_settings(MAX_WAITING_PHOTOS=2)
    def test_the_api_refuses_when_enough_photos_wait(self) -> None:
        self.upload(), self.upload()
        refused = self.call("post", "photos", {"file": image_file()})
        body = self.assert_problem(refused, 503, "busy")
        self.assertIn(SENTENCE, body["detail"])
        self.assertEqual(refused.headers["Retry-After"], "60")
        self.assertEqual(Photo.objects.count(), 2)

    @override_settings(MAX_WAITING_PHOTOS=2)
    def test_the_page_refuses_when_enough_photos_wait(self) -> None:
        self.upload(), self.upload()
        self.client.force_login(self.alice)
        refused = self.client.post("/", {"file": image_file()})
        self.assertContains(refused, SENTENCE, status_code=503)
        self.assertEqual(refused.headers["Retry-After"], "60")

    @override_settings(MAX_WAITING_PHOTOS=2)
    def test_it_takes_photos_again_when_some_are_answered(self) -> None:
        first, _ = self.upload(), self.upload()
        with self.assertRaises(ImageRefused):
            self.upload()
        answer(first)
        self.upload()

    @override_settings(MAX_WAITING_PHOTOS=2)
    def test_photos_of_archives_do_not_keep_people_out(self) -> None:
        for _ in range(3):
            photo = self.upload()
            photo.predictions.update(priority=Prediction.Priority.BULK)
        self.upload()

    def test_a_process_takes_in_so_many_at_a_time_and_refuses_the_next_at_once(self) -> None:
        places = Admission(slots=1, pixels=10_000, waiting=0)
        with mock.patch.object(admission, "uploads", places):
            self.upload()
            with places.turn(self.bob.pk, 1), self.assertRaises(ImageRefused) as refusal:
                self.upload()
            self.assertEqual(refusal.exception.code, "busy")
            self.upload()
        self.assertEqual(Photo.objects.count(), 2)

    def test_counting_what_waits_uses_the_small_index(self) -> None:
        plan = queue.open_rows(Prediction.Priority.INTERACTIVE).explain()
        self.assertIn("prediction_open", plan)

    def test_a_workers_look_uses_it_too(self) -> None:
        self.assertIn("prediction_open", queue.claimable().explain())
