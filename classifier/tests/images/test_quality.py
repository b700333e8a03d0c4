import io

from PIL import Image, ImageFilter

from cifarsite.test import SiteTestCase, image_bytes, picture
from classifier.images.quality import BLURRED, DARK, measure_quality
from classifier.uploads.photos import upload_photo


class QualityTests(SiteTestCase):
    def test_a_sharp_bright_picture_is_neither_dark_nor_blurred(self) -> None:
        quality = measure_quality(picture(size=(640, 480)))
        self.assertGreater(quality.brightness, DARK)
        self.assertGreater(quality.sharpness or 0, BLURRED)

    def test_a_darkened_one_is_dark_and_a_blurred_one_blurred(self) -> None:
        whole = picture(size=(640, 480))
        self.assertLess(measure_quality(whole.point(lambda value: value // 8)).brightness, DARK)
        for share in (0.015, 0.03):
            blurred = whole.filter(ImageFilter.GaussianBlur(share * 640))
            self.assertLess(measure_quality(blurred).sharpness or 1, BLURRED)

    def test_a_plain_picture_is_not_called_blurred(self) -> None:
        for size in ((1, 1), (300, 2), (640, 480)):
            self.assertIsNone(measure_quality(Image.new("RGB", size, "navy")).sharpness)

    def test_it_is_measured_when_a_photo_comes_in(self) -> None:
        photo = upload_photo(self.alice, io.BytesIO(image_bytes("PNG", colour="black")))
        photo.refresh_from_db()
        self.assertAlmostEqual(photo.brightness or 0, measure_quality(picture("black")).brightness, 3)
        self.assertIsNotNone(photo.sharpness)
