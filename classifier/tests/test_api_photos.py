"""The API's photos: upload, look, page, delete."""

from datetime import timedelta
from io import BytesIO
from typing import Any
from unittest import mock

from django.core.files.base import ContentFile
from django.test import override_settings
from django.utils import timezone
from PIL import Image

from cifarsite.test import ApiTestCase, answer, image_file
from classifier import uploads
from classifier.corrections import correct
from classifier.decoder import DecoderUnavailable
from classifier.models import Prediction
from training.engine.data import CLASS_NAMES
from training.models import ModelVersion


class UploadTests(ApiTestCase):
    def test_it_accepts_a_photo(self) -> None:
        response = self.call("post", "photos", {"file": image_file("cat.jpg")})
        self.assertEqual(response.status_code, 202)
        (photo,), errors = response.json()["photos"], response.json()["errors"]
        self.assertEqual(errors, [])
        stored = self.alice.photos.get()
        self.assertEqual((photo["id"], photo["filename"]), (str(stored.pk), "cat.jpg"))
        self.assertEqual((photo["status"], photo["prediction"], photo["error"]), ("queued", None, None))
        self.assertEqual(photo["image_url"], f"http://testserver/api/v1/photos/{stored.pk}/image")

    def test_it_tells_refused_files_beside_accepted_ones(self) -> None:
        files = [image_file("a.jpg"), ("b.txt", b"text"), image_file("c.png", "PNG"), ("d.jpg", b"")]
        files = [f if not isinstance(f, tuple) else named(*f) for f in files]
        response = self.call("post", "photos", {"file": files})
        self.assertEqual(response.status_code, 202)
        body = response.json()
        self.assertEqual([photo["filename"] for photo in body["photos"]], ["a.jpg", "c.png"])
        refused = [(error["filename"], error["code"]) for error in body["errors"]]
        self.assertEqual(refused, [("b.txt", "not_an_image"), ("d.jpg", "empty")])

    def test_it_answers_400_when_no_file_was_acceptable(self) -> None:
        response = self.call("post", "photos", {"file": [named("a.txt", b"text"), named("b.jpg", b"")]})
        body = self.assert_problem(response, 400, "not_an_image")
        self.assertEqual([error["code"] for error in body["errors"]], ["not_an_image", "empty"])
        self.assertFalse(self.alice.photos.exists())

    def test_it_wants_1_to_100_files_and_a_sensible_wait(self) -> None:
        self.assert_problem(self.call("post", "photos"), 422, "invalid")
        many = [named(f"{n}.jpg", b"x") for n in range(101)]
        self.assert_problem(self.call("post", "photos", {"file": many}), 422, "invalid")
        for wait in ("31", "-1", "soon"):
            response = self.call("post", f"photos?wait={wait}", {"file": image_file()})
            self.assertIn("wait", self.assert_problem(response, 422, "invalid")["detail"])
        self.assertFalse(self.alice.photos.exists())

    @override_settings(QUOTA_PHOTOS=1)
    def test_it_answers_413_past_the_quota(self) -> None:
        self.upload()
        self.assert_problem(self.call("post", "photos", {"file": image_file()}), 413, "quota")

    def test_it_answers_507_when_the_disk_is_full(self) -> None:
        with mock.patch.object(ContentFile, "chunks", side_effect=OSError(28, "No space left")):
            response = self.call("post", "photos", {"file": image_file()})
        self.assert_problem(response, 507, "storage_full")

    def test_it_answers_503_when_no_photo_can_be_read(self) -> None:
        with (
            mock.patch.object(uploads, "check_isolated", side_effect=DecoderUnavailable("gone")),
            self.assertLogs(),
        ):
            response = self.call("post", "photos", {"file": image_file()})
        self.assert_problem(response, 503, "busy")
        self.assertTrue(response.headers["Retry-After"])

    def test_it_refuses_a_damaged_body(self) -> None:
        kind = "multipart/form-data; boundary=x"
        response = self.call("post", "photos", b"--x\r\nnonsense", content_type=kind)
        self.assertIn(response.status_code, (400, 422))
        self.assertEqual(response.headers["Content-Type"], "application/problem+json")


class PhotoTests(ApiTestCase):
    def test_it_tells_the_answer(self) -> None:
        photo = self.upload()
        row = answer(photo, "cat", 0.91)
        row.model = model_version()
        row.save()
        body = self.call("get", f"photos/{photo.pk}").json()
        self.assertEqual(body["status"], "done")
        found = body["prediction"]
        self.assertEqual((found["label"], found["confidence"], found["verdict"]), ("cat", 0.91, "recognised"))
        self.assertEqual(list(found["probabilities"]), list(CLASS_NAMES))
        self.assertEqual(found["model"], {"id": row.model.pk, "name": "m", "sha256": "0" * 64})

    def test_it_tells_why_there_is_no_answer(self) -> None:
        photo = self.upload()
        Prediction.objects.update(status="failed", error_code="worker_lost", error_detail="Lost.")
        body = self.call("get", f"photos/{photo.pk}").json()
        self.assertEqual(body["status"], "failed")
        self.assertEqual(body["error"], {"code": "worker_lost", "detail": "Lost."})

    def test_it_calls_a_running_one_queued(self) -> None:
        photo = self.upload()
        Prediction.objects.update(status="running")
        self.assertEqual(self.call("get", f"photos/{photo.pk}").json()["status"], "queued")
        self.assertEqual(len(self.call("get", "photos?status=queued").json()["photos"]), 1)

    def test_it_sends_the_pictures_with_a_tag(self) -> None:
        photo = self.upload()
        for part, kind in (("image", "JPEG"), ("input", "PNG")):
            response = self.call("get", f"photos/{photo.pk}/{part}")
            content = b"".join(response.streaming_content)
            self.assertEqual(Image.open(BytesIO(content)).format, kind)
            headers = {"If-None-Match": response.headers["ETag"]}
            again = self.call("get", f"photos/{photo.pk}/{part}", headers=headers)
            self.assertEqual(again.status_code, 304)

    def test_it_deletes(self) -> None:
        photo = self.upload()
        self.assertEqual(self.call("delete", f"photos/{photo.pk}").status_code, 204)
        self.assert_problem(self.call("delete", f"photos/{photo.pk}"), 404, "not_found")
        self.assert_problem(self.call("get", f"photos/{photo.pk}"), 404, "not_found")

    def test_it_corrects(self) -> None:
        photo = self.upload()
        answer(photo, "cat")
        response = self.post_json(f"photos/{photo.pk}/correction", {"label": "dog"})
        self.assertEqual(response.status_code, 200, response.content)
        self.assertEqual(response.json()["correction"], "dog")
        self.assertEqual(self.call("get", f"photos/{photo.pk}").json()["correction"], "dog")
        wrongs: tuple[Any, ...] = ({"label": "cow"}, {}, {"label": "cat", "more": 1}, {"label": 3}, [])
        for wrong in wrongs:
            response = self.post_json(f"photos/{photo.pk}/correction", wrong)
            self.assert_problem(response, 422, "invalid")


class ListTests(ApiTestCase):
    def test_it_pages_newest_first(self) -> None:
        photos = [self.upload(name=f"{number}.jpg") for number in range(5)]
        names, cursor = [], ""
        while True:
            body = self.call("get", f"photos?limit=2&cursor={cursor}").json()
            names += [photo["filename"] for photo in body["photos"]]
            cursor = body["next_cursor"]
            if not cursor:
                break
        self.assertEqual(names, [photo.filename for photo in reversed(photos)])
        back = self.call("get", f"photos?limit=2&cursor={body['previous_cursor']}").json()
        self.assertEqual([photo["filename"] for photo in back["photos"]], ["2.jpg", "1.jpg"])

    def test_it_filters(self) -> None:
        cat, ship, waiting = (self.upload(name=name) for name in ("cat", "ship", "waiting"))
        answer(cat, "cat")
        answer(ship, "ship", verdict="unsure")
        today = timezone.now().date()
        tomorrow = today + timedelta(days=1)
        for query, expected in (
            ("label=cat", {cat}),
            ("verdict=unsure", {ship}),
            ("status=done", {cat, ship}),
            ("status=queued&label=&verdict=&from=&to=", {waiting}),
            (f"from={today}&to={today}", {cat, ship, waiting}),
            (f"from={tomorrow}", set()),
            ("to=9999-12-31", {cat, ship, waiting}),
        ):
            found = {photo["id"] for photo in self.call("get", f"photos?{query}").json()["photos"]}
            self.assertEqual(found, {str(photo.pk) for photo in expected}, query)

    def test_it_refuses_what_makes_no_sense(self) -> None:
        for query in ("label=cow", "status=running", "from=yesterday", "to=2026-02-30", "limit=0", "from=1"):
            self.assert_problem(self.call("get", f"photos?{query}"), 422, "invalid")
        self.assert_problem(self.call("get", "photos?cursor=nonsense"), 400, "bad_cursor")

    def test_it_needs_the_same_few_queries_for_any_number(self) -> None:
        for number in range(2):
            self.upload(name=f"{number}.jpg")
        self.call("get", "photos")
        # The token and its owner, the rates, the page.
        with self.assertNumQueries(3):
            self.call("get", "photos")
        for number in range(8):
            photo = self.upload(name=f"more-{number}.jpg")
            answer(photo)
            if number % 2:
                correct(photo, by=self.alice, label="ship")
        # And what the owner said, where anything was said.
        with self.assertNumQueries(4):
            shown = self.call("get", "photos").json()["photos"]
        said = [photo["correction"] for photo in shown]
        self.assertEqual(said, ["ship", None] * 4 + [None, None])

    def test_a_look_at_one_photo_is_a_query(self) -> None:
        photo = self.upload()
        answer(photo)
        self.call("get", f"photos/{photo.pk}")
        # Beside the token and the rates.
        with self.assertNumQueries(3):
            self.call("get", f"photos/{photo.pk}")
        correct(photo, by=self.alice, label="ship")
        with self.assertNumQueries(4):
            self.assertEqual(self.call("get", f"photos/{photo.pk}").json()["correction"], "ship")


def named(name: str, content: bytes) -> BytesIO:
    file = BytesIO(content)
    file.name = name
    return file


def model_version() -> ModelVersion:
    return ModelVersion.objects.create(
        name="m", recipe="r", sha256="0" * 64, size=1, preprocessing="squash32-v1", card={}
    )
