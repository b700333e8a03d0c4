"""What a person or a program is told of a file: its name as it looked, and that part of it was damaged."""

from __future__ import annotations

import io

from cifarsite.test import ApiTestCase, image_bytes
from classifier.models import Photo
from classifier.uploads.photos import upload_photo

BOUNDARY = "limit"


def form(head: bytes, content: bytes) -> bytes:
    return b"--limit\r\n" + head + b"\r\nContent-Type: image/jpeg\r\n\r\n" + content + b"\r\n--limit--\r\n"


class NamesInForms(ApiTestCase):
    def send(self, name: bytes) -> str:
        head = b'Content-Disposition: form-data; name="file"; filename="' + name + b'"'
        answer = self.client.generic(
            "POST",
            "/api/v1/photos",
            form(head, image_bytes()),
            content_type=f"multipart/form-data; boundary={BOUNDARY}",
            headers={"Authorization": f"Bearer {self.tokens['alice']}"},
        )
        self.assertEqual(answer.status_code, 202, answer.content)
        (photo,) = answer.json()["photos"]
        return str(photo["filename"])

    def test_a_name_that_is_not_utf8_is_taken(self) -> None:
        self.assertEqual(self.send("Grüße.jpg".encode("cp1252")), "Gr\ufffd\ufffde.jpg")
        self.assertEqual(self.send("写真.jpg".encode("cp932")).count("\ufffd") > 0, True)

    def test_a_name_keeps_its_look(self) -> None:
        for name in ("👨\u200d👩\u200d👧.jpg", "ảnh mèo.jpg"):
            self.assertEqual(self.send(name.encode()), name)
        self.assertTrue(self.send(b"x" * 300 + b".jpg").endswith("x.jpg"))
        self.assertEqual(self.send("at 3.45\u202fPM.jpg".encode()), "at 3.45 PM.jpg")

    def test_a_path_is_no_part_of_a_name(self) -> None:
        for name in (b"../../up.jpg", b"C:\\\\photos\\\\up.jpg", b"a/up.jpg"):
            self.assertEqual(self.send(name), "up.jpg")

    def test_a_form_without_a_file_still_says_so(self) -> None:
        answer = self.client.generic(
            "POST",
            "/api/v1/photos",
            form(b'Content-Disposition: form-data; name="other\xff"', b"x"),
            content_type=f"multipart/form-data; boundary={BOUNDARY}",
            headers={"Authorization": f"Bearer {self.tokens['alice']}"},
        )
        self.assert_problem(answer, 422, "invalid")


def damaged_jpeg() -> bytes:
    data = image_bytes(size=(320, 240))
    middle = (data.index(b"\xff\xda") + len(data)) // 2
    return data[:middle] + b"\xff\x02" + data[middle + 2 :]


class DamagedFiles(ApiTestCase):
    def test_the_page_and_the_api_say_that_a_part_was_damaged(self) -> None:
        self.client.force_login(self.alice)
        whole = upload_photo(self.alice, io.BytesIO(image_bytes()), filename="whole.jpg")
        part = upload_photo(self.alice, io.BytesIO(damaged_jpeg()), filename="part.jpg")
        self.assertEqual([Photo.objects.get(pk=photo.pk).damaged for photo in (whole, part)], [False, True])
        self.assertContains(self.client.get(part.get_absolute_url()), "Part of the file was damaged")
        self.assertNotContains(self.client.get(whole.get_absolute_url()), "Part of the file was damaged")
        self.assertIs(self.call("get", f"photos/{part.pk}").json()["damaged"], True)
        found = {photo["filename"]: photo["damaged"] for photo in self.call("get", "photos").json()["photos"]}
        self.assertEqual(found, {"whole.jpg": False, "part.jpg": True})
