"""A model's input: stored without compression, read to the pixel, handed out as a PNG."""

from __future__ import annotations

import io
import zipfile

from django.core.files.base import ContentFile
from django.test import TestCase
from PIL import Image

from cifarsite.test import answer, image_bytes, make_user
from classifier.images.inputs import encode_input, input_as_png, pack, read_input
from classifier.predictions.inference import model_input
from classifier.predictions.queue import ask_again
from classifier.tests.images.test_validation import picture
from classifier.uploads.photos import upload_photo
from training.engine.data.preprocessing import hash_pixels

SQUARE = picture().convert("RGB").resize((224, 224))


def test_what_is_stored_is_the_input_to_the_pixel() -> None:
    file, sha256 = encode_input(SQUARE)
    assert read_input(file).tobytes() == SQUARE.tobytes()
    assert sha256 == hash_pixels(SQUARE)
    png = input_as_png(io.BytesIO(pack(SQUARE)))
    with Image.open(io.BytesIO(png), formats=["PNG"]) as image:
        assert (image.mode, image.tobytes()) == ("RGB", SQUARE.tobytes())


class HandedOut(TestCase):
    def setUp(self) -> None:
        linh = make_user("linh")
        self.prediction = answer(upload_photo(linh, io.BytesIO(image_bytes()), filename="cat.jpg"))
        self.pixels = model_input(self.prediction, self.prediction.preprocessing).tobytes()
        self.client.force_login(linh)

    def shown(self, content: bytes) -> bytes:
        with Image.open(io.BytesIO(content), formats=["PNG"]) as image:
            return image.convert("RGB").tobytes()

    def test_as_a_png(self) -> None:
        answered = self.client.get(f"/photos/{self.prediction.photo_id}/input/")
        assert answered.headers["Content-Type"] == "image/png"
        assert answered.headers["Content-Disposition"] == 'inline; filename="cat.png"'
        content = b"".join(answered.streaming_content)  # type: ignore[attr-defined]
        assert int(answered.headers["Content-Length"]) == len(content)
        assert self.shown(content) == self.pixels

    def test_as_a_png_in_the_export_of_an_account(self) -> None:
        answered = self.client.get("/account/export/")
        with zipfile.ZipFile(io.BytesIO(b"".join(answered.streaming_content))) as archive:  # type: ignore[attr-defined]
            name = f"inputs/{self.prediction.photo_id}-{self.prediction.pk}.png"
            assert self.shown(archive.read(name)) == self.pixels

    def test_one_that_an_earlier_version_packed_is_read_and_handed_out_too(self) -> None:
        file = self.prediction.input
        with file.open("rb") as packed:
            earlier = input_as_png(packed)
        file.name = file.storage.save(str(file.name).replace(".bmp", ".png"), ContentFile(earlier))
        self.prediction.save(update_fields=["input"])
        answered = self.client.get(f"/photos/{self.prediction.photo_id}/input/")
        assert b"".join(answered.streaming_content) == earlier  # type: ignore[attr-defined]
        again = ask_again(self.prediction.photo)
        assert again.input.name == file.name
        assert model_input(again, again.preprocessing).tobytes() == self.pixels

    def test_a_damaged_one_is_missing_and_no_error(self) -> None:
        with self.prediction.input.storage.open(str(self.prediction.input.name), "wb") as file:
            file.write(b"BM of no use")
        assert self.client.get(f"/photos/{self.prediction.photo_id}/input/").status_code == 404
