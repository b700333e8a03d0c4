from typing import Any

from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import override_settings

from cifarsite.test import SiteTestCase, image_bytes, image_file
from classifier.models import Photo


class UploadPageTests(SiteTestCase):
    def setUp(self) -> None:
        self.client.force_login(self.alice)

    def test_one_photo_leads_to_its_page(self) -> None:
        response = self.client.post("/", {"file": image_file("cat.jpg")})
        photo = Photo.objects.get()
        self.assertRedirects(response, f"/photos/{photo.pk}/")
        self.assertEqual((photo.owner, photo.filename), (self.alice, "cat.jpg"))

    def test_it_takes_every_format_that_it_promises(self) -> None:
        for image_format in ("JPEG", "PNG", "WEBP", "GIF", "BMP"):
            with self.subTest(image_format):
                response = self.client.post("/", {"file": image_file("x", image_format)})
                self.assertEqual(response.status_code, 302)

    def test_refused_files_say_why_while_others_go_on(self) -> None:
        files = [
            image_file("good.png", "PNG"),
            SimpleUploadedFile("notes.txt", b"hello"),
            SimpleUploadedFile("cut.jpg", image_bytes(size=(640, 480))[:900]),
            SimpleUploadedFile("nothing.jpg", b""),
            image_file("fine.jpg"),
        ]
        response = self.client.post("/", {"file": files})
        self.assertContains(response, "2 photos were uploaded")
        self.assertContains(response, "3 files were refused")
        for name in ("notes.txt", "cut.jpg", "nothing.jpg"):
            self.assertContains(response, name)
        self.assertEqual(Photo.objects.count(), 2)

    def test_a_lone_refused_file_is_a_bad_request(self) -> None:
        response = self.client.post("/", {"file": SimpleUploadedFile("notes.txt", b"hello")})
        self.assertContains(response, "This file is not an image", status_code=400)

    def test_no_file_at_all_asks_for_one(self) -> None:
        self.assertContains(self.client.post("/"), "Choose one or more photos first", status_code=400)

    def test_a_name_with_markup_is_shown_escaped(self) -> None:
        response = self.client.post("/", {"file": SimpleUploadedFile("<b>x</b>.txt", b"hello")})
        self.assertNotContains(response, "<b>x", status_code=400)


class UploadScriptTests(SiteTestCase):
    """What the page's script gets: one file a request, JSON back."""

    def setUp(self) -> None:
        self.client.force_login(self.alice)

    def post(self, file: SimpleUploadedFile) -> tuple[int, dict[str, Any]]:
        response = self.client.post("/", {"file": file}, headers={"Accept": "application/json"})
        return response.status_code, response.json()

    def test_an_accepted_file_is_201_with_its_addresses(self) -> None:
        status, body = self.post(image_file())
        photo = Photo.objects.get()
        self.assertEqual(status, 201)
        self.assertEqual(body["photo"]["url"], f"/photos/{photo.pk}/")
        self.assertIsNone(body["error"])

    def test_a_broken_file_is_400_with_code_and_sentence(self) -> None:
        status, body = self.post(SimpleUploadedFile("x.jpg", b"<svg></svg>"))
        self.assertEqual(status, 400)
        self.assertIsNone(body["photo"])
        self.assertTrue(body["error"]["code"] and body["error"]["detail"])

    @override_settings(UPLOAD_MAX_MB=1)
    def test_too_many_bytes_are_413(self) -> None:
        big = SimpleUploadedFile("x.bmp", image_bytes("BMP", size=(900, 600)))
        status, body = self.post(big)
        self.assertEqual((status, body["error"]["code"]), (413, "too_large"))

    @override_settings(QUOTA_PHOTOS=1)
    def test_past_the_quota_nothing_is_stored(self) -> None:
        self.post(image_file())
        status, body = self.post(image_file())
        self.assertEqual((status, body["error"]["code"]), (413, "quota"))
        self.assertEqual(Photo.objects.count(), 1)
