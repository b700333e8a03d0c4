"""Asking again, about the whole photo or the part that somebody points at."""

from __future__ import annotations

import io
from typing import Any

from django.db import connection
from django.test.utils import CaptureQueriesContext
from PIL import Image

from cifarsite.test import ApiTestCase, SiteTestCase, answer, image_bytes
from classifier.images.crops import Crop, CropRefused, read_crop
from classifier.models import Photo, Prediction
from classifier.photos.access import grant_access
from classifier.photos.history import remove_photos
from classifier.predictions import queue
from classifier.uploads.photos import upload_photo
from training.engine.data.preprocessing import make_input

PART = {"left": 0.5, "top": 0.25, "width": 0.5, "height": 0.5}


class AskAgainTests(SiteTestCase):
    def setUp(self) -> None:
        self.photo = upload_photo(self.alice, io.BytesIO(image_bytes("PNG", size=(400, 200))))
        self.first = answer(self.photo)

    def test_the_part_is_cut_from_the_stored_copy_and_made_small_like_any_photo(self) -> None:
        asked = queue.ask_again(self.photo, read_crop(PART, self.photo))
        self.assertEqual(asked.crop, [0.5, 0.25, 0.5, 0.5])
        with self.photo.display.open() as file, Image.open(file) as display:
            expected = make_input(display.convert("RGB").crop((200, 50, 400, 150)), "squash32-v1")
        with asked.input.open() as file, Image.open(file) as made:
            self.assertEqual(made.convert("RGB").tobytes(), expected.tobytes())
        self.assertNotEqual(asked.input_sha256, self.first.input_sha256)

    def test_the_earlier_answer_stays_and_the_new_one_is_the_present_one(self) -> None:
        asked = queue.ask_again(self.photo, read_crop(PART, self.photo))
        self.assertEqual((asked.status, self.photo.prediction), ("queued", asked))
        self.first.refresh_from_db()
        self.assertEqual((self.first.label, self.first.is_current), ("cat", False))

    def test_the_whole_photo_is_asked_about_with_the_input_it_had(self) -> None:
        answer(self.photo)
        queue.ask_again(self.photo, read_crop(PART, self.photo))
        answer(self.photo, "dog")
        asked = queue.ask_again(self.photo)
        self.assertEqual(asked.input.name, self.first.input.name)
        self.assertEqual(asked.input_sha256, self.first.input_sha256)

    def test_a_double_click_asks_once(self) -> None:
        for _ in range(2):
            queue.ask_again(self.photo, read_crop(PART, self.photo))
        self.assertEqual(self.photo.predictions.count(), 2)

    def test_a_photo_has_a_bounded_number_of_answers(self) -> None:
        copies = [
            Prediction(photo=self.photo, owner=self.alice, photo_created_at=self.photo.created_at)
            for _ in range(queue.MAX_PREDICTIONS_PER_PHOTO)
        ]
        for row in copies:
            row.is_current = False
        Prediction.objects.bulk_create(copies)
        with self.assertRaisesMessage(queue.PredictionLimitReached, "which is the limit"):
            queue.ask_again(self.photo)

    def test_removing_the_photo_removes_what_was_cut_from_it(self) -> None:
        asked = queue.ask_again(self.photo, read_crop(PART, self.photo))
        storage, name = asked.input.storage, str(asked.input.name)
        self.assertTrue(storage.exists(name))
        remove_photos(Photo.objects.all())
        self.assertFalse(storage.exists(name))


class PageTests(SiteTestCase):
    def setUp(self) -> None:
        self.client.force_login(self.alice)
        self.photo = upload_photo(self.alice, io.BytesIO(image_bytes("PNG", size=(400, 200))))
        self.url = f"/photos/{self.photo.pk}/"
        self.first = answer(self.photo, "cat", 0.61)

    def ask(self, **data: object) -> Any:
        return self.client.post(f"{self.url}ask/", data, follow=True)

    def test_numbers_and_presets_name_the_part_without_javascript(self) -> None:
        self.ask(left="25,5", top="10", width="50", height="40")
        self.assertEqual(self.photo.prediction.crop, [0.255, 0.1, 0.5, 0.4])
        answer(self.photo)
        self.ask(preset="right")
        self.assertEqual(self.photo.prediction.crop, [0.5, 0.0, 0.5, 1.0])
        answer(self.photo)
        self.ask()
        self.assertIsNone(self.photo.prediction.crop)

    def test_it_says_what_the_new_answer_changed(self) -> None:
        page = self.ask(preset="left")
        self.assertContains(page, 'class="part-mark"')
        for label, confidence, words in (
            ("dog", 0.7, "cat (61.0\u00a0%) before, dog (70.0\u00a0%) now."),
            ("cat", 0.8, "Still cat: 61.0\u00a0% before, 80.0\u00a0% now."),
            ("cat", 0.61, "Exactly the same prediction: cat, 61.0\u00a0%."),
        ):
            answer(self.photo, label, confidence)
            self.assertContains(self.client.get(self.url), words)
        self.assertContains(self.client.get(self.url), f"{self.url}inputs/{self.first.pk}/")

    def test_a_part_that_cannot_be_is_refused_with_a_sentence(self) -> None:
        page = self.ask(left="90", top="0", width="50", height="50")
        self.assertContains(page, "The part goes beyond the photo")
        self.assertEqual(self.photo.predictions.count(), 1)

    def test_earlier_inputs_and_asking_are_the_owners_alone(self) -> None:
        self.client.force_login(self.bob)
        self.assertEqual(self.client.get(f"{self.url}inputs/{self.first.pk}/").status_code, 404)
        self.assertEqual(self.client.post(f"{self.url}ask/").status_code, 404)
        grant_access(self.photo, by=self.charlie, reason="The owner asked for help.")
        self.client.force_login(self.charlie)
        self.assertNotContains(self.client.get(self.url), "crop-tool")
        self.assertEqual(self.client.post(f"{self.url}ask/").status_code, 404)

    def test_many_earlier_answers_cost_no_more_queries(self) -> None:
        counts = []
        for rounds in (1, 4):
            for _ in range(rounds):
                self.ask(preset="left")
                answer(self.photo)
            with CaptureQueriesContext(connection) as queries:
                self.client.get(self.url)
            counts.append(len(queries))
        self.assertEqual(counts[0], counts[1])


class ApiTests(ApiTestCase):
    def setUp(self) -> None:
        self.photo = self.upload()
        answer(self.photo)
        self.path = f"photos/{self.photo.pk}/predictions"

    def test_a_part_is_asked_about(self) -> None:
        crop = {"left": 0.25, "top": 0.25, "width": 0.5, "height": 0.5}
        response = self.post_json(self.path, {"crop": crop})
        self.assertEqual((response.status_code, response.json()["status"]), (202, "queued"))
        answer(self.photo)
        provenance = self.call("get", f"photos/{self.photo.pk}").json()["prediction"]["provenance"]
        self.assertEqual(provenance["crop"], crop)
        self.assertEqual(provenance["input_sha256"], self.photo.prediction.input_sha256)

    def test_the_whole_photo_is_asked_about(self) -> None:
        self.assertEqual(self.post_json(self.path, {}).status_code, 202)
        self.assertIsNone(self.photo.prediction.crop)
        self.assertEqual(self.photo.predictions.count(), 2)

    def test_wrong_parts_and_strangers_are_refused(self) -> None:
        crop = {"left": 0.9, "top": 0, "width": 0.5, "height": 0.5}
        self.assert_problem(self.post_json(self.path, {"crop": crop}), 400, "bad_crop")
        self.assert_problem(self.post_json(self.path, {"crop": crop}, token="bob"), 404, "not_found")


class CropTests(SiteTestCase):
    def setUp(self) -> None:
        self.photo = Photo(width=4000, height=3000)

    def read(self, *values: object, **more: float) -> Crop | None:
        return read_crop(
            dict(zip(("left", "top", "width", "height"), values, strict=False)), self.photo, **more
        )

    def test_percents_and_shares_are_read(self) -> None:
        self.assertEqual(self.read("25", "10", "50", "40", whole=100), Crop(0.25, 0.1, 0.5, 0.4))
        self.assertEqual(self.read(0.25, 0.1, 0.5, 0.4), Crop(0.25, 0.1, 0.5, 0.4))

    def test_all_of_the_photo_is_no_part(self) -> None:
        self.assertIsNone(self.read(0, 0, 1, 1))

    def test_what_makes_no_part_is_refused_with_a_sentence(self) -> None:
        for values, words in (
            ((0.1, 0.1, 0.5), "four numbers"),
            (("", 0, 1, 1), "four numbers"),
            ((0, 0, float("nan"), 1), "four numbers"),
            ((-0.2, 0, 0.5, 0.5), "beyond the photo"),
            ((0.8, 0, 0.5, 0.5), "beyond the photo"),
            ((0.1, 0.1, 0.01, 0.5), "too small"),
            ((0.1, 0.1, 0, 0), "too small"),
            ((0.1, 0.1, -0.5, 0.5), "too small"),
        ):
            with self.subTest(values), self.assertRaisesMessage(CropRefused, words):
                self.read(*values)

    def test_a_part_of_few_pixels_is_refused(self) -> None:
        self.photo = Photo(width=100, height=100)
        with self.assertRaisesMessage(CropRefused, "16 pixels"):
            self.read(0, 0, 0.1, 0.1)

    def test_a_box_lies_inside_the_picture(self) -> None:
        for size in ((1, 1), (3, 2), (1600, 7)):
            left, top, right, bottom = Crop(0.98, 0.98, 0.02, 0.02).box(size)
            self.assertTrue(0 <= left < right <= size[0] and 0 <= top < bottom <= size[1], size)
