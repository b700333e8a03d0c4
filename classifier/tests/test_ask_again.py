"""Asking again, about the whole photo or the part that somebody points at."""

from __future__ import annotations

import io

from PIL import Image

from cifarsite.test import SiteTestCase, answer, image_bytes
from classifier import predictions
from classifier.crops import Crop, CropRefused, read_crop
from classifier.history import remove_photos
from classifier.models import Photo, Prediction
from classifier.uploads import upload_photo
from training.engine.preprocessing import make_input

PART = {"left": 0.5, "top": 0.25, "width": 0.5, "height": 0.5}


class AskAgainTests(SiteTestCase):
    def setUp(self) -> None:
        self.photo = upload_photo(self.alice, io.BytesIO(image_bytes("PNG", size=(400, 200))))
        self.first = answer(self.photo)

    def test_the_part_is_cut_from_the_stored_copy_and_made_small_like_any_photo(self) -> None:
        asked = predictions.ask_again(self.photo, read_crop(PART, self.photo))
        self.assertEqual(asked.crop, [0.5, 0.25, 0.5, 0.5])
        with self.photo.display.open() as file, Image.open(file) as display:
            expected = make_input(display.convert("RGB").crop((200, 50, 400, 150)), "squash32-v1")
        with asked.input.open() as file, Image.open(file) as made:
            self.assertEqual(made.convert("RGB").tobytes(), expected.tobytes())
        self.assertNotEqual(asked.input_sha256, self.first.input_sha256)

    def test_the_earlier_answer_stays_and_the_new_one_is_the_present_one(self) -> None:
        asked = predictions.ask_again(self.photo, read_crop(PART, self.photo))
        self.assertEqual((asked.status, self.photo.prediction), ("queued", asked))
        self.first.refresh_from_db()
        self.assertEqual((self.first.label, self.first.is_current), ("cat", False))

    def test_the_whole_photo_is_asked_about_with_the_input_it_had(self) -> None:
        answer(self.photo)
        predictions.ask_again(self.photo, read_crop(PART, self.photo))
        answer(self.photo, "dog")
        asked = predictions.ask_again(self.photo)
        self.assertEqual(asked.input.name, self.first.input.name)
        self.assertEqual(asked.input_sha256, self.first.input_sha256)

    def test_a_double_click_asks_once(self) -> None:
        for _ in range(2):
            predictions.ask_again(self.photo, read_crop(PART, self.photo))
        self.assertEqual(self.photo.predictions.count(), 2)

    def test_a_photo_has_a_bounded_number_of_answers(self) -> None:
        copies = [
            Prediction(photo=self.photo, owner=self.alice, photo_created_at=self.photo.created_at)
            for _ in range(predictions.MOST_ANSWERS)
        ]
        for row in copies:
            row.is_current = False
        Prediction.objects.bulk_create(copies)
        with self.assertRaisesMessage(predictions.AskedTooOften, "which is the limit"):
            predictions.ask_again(self.photo)

    def test_removing_the_photo_removes_what_was_cut_from_it(self) -> None:
        asked = predictions.ask_again(self.photo, read_crop(PART, self.photo))
        storage, name = asked.input.storage, str(asked.input.name)
        self.assertTrue(storage.exists(name))
        remove_photos(Photo.objects.all())
        self.assertFalse(storage.exists(name))


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
