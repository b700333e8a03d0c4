"""The API's photos: upload, look, page, delete."""

from datetime import timedelta
from io import BytesIO
from typing import Any
from unittest import mock
from uuid import UUID

from django.core.files.base import ContentFile
from django.db import connection
from django.test import override_settings
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from PIL import Image

from cifarsite.test import ApiTestCase, answer, image_file
from classifier.feedback.corrections import accept, correct, set_consent
from classifier.images.sandbox import DecoderUnavailable
from classifier.models import AuditEntry, Prediction
from classifier.tests.uploads import archives
from classifier.uploads import batch_worker
from classifier.uploads import photos as uploads
from classifier.uploads.batches import create_batch
from training.engine.data.cifar10 import CLASS_NAMES
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

    def test_it_forgets_a_correction_and_keeps_what_a_reviewer_accepted(self) -> None:
        photo = self.upload()
        answer(photo, "cat")
        path = f"photos/{photo.pk}/correction"
        self.post_json(path, {"label": "dog"})
        self.assert_problem(self.call("delete", path, token="bob"), 404, "not_found")
        self.assert_problem(self.call("delete", path, token=self.token(self.alice, "read")), 403, "scope")
        self.assertEqual(self.call("get", f"photos/{photo.pk}").json()["correction"], "dog")
        set_consent(self.alice, True)
        accept(photo, "dog", by=self.charlie)
        for _twice in range(2):
            response = self.call("delete", path)
            self.assertEqual((response.status_code, response.content), (204, b""))
        self.assertIsNone(self.call("get", f"photos/{photo.pk}").json()["correction"])
        self.assertEqual(photo.prediction.user_feedback, "")
        self.assertEqual(photo.example.label, "dog")
        self.assert_problem(self.call("delete", f"photos/{UUID(int=0)}/correction"), 404, "not_found")


class DeleteManyTests(ApiTestCase):
    def delete(self, ids: Any, **more: Any) -> Any:
        return self.post_json("photos/delete", {"ids": ids}, **more)

    def test_it_says_which_were_deleted_and_which_were_not_there(self) -> None:
        mine = [str(self.upload(name=f"{number}.jpg").pk) for number in range(3)]
        other = str(self.upload(self.bob).pk)
        response = self.delete([mine[1], other, mine[0], mine[1]])
        self.assertEqual(response.status_code, 200, response.content)
        self.assertEqual(response.json(), {"deleted": [mine[1], mine[0]], "not_found": [other]})
        self.assertEqual([p["id"] for p in self.call("get", "photos").json()["photos"]], [mine[2]])
        self.assertTrue(self.bob.photos.filter(deleted_at=None).exists())
        again = self.delete(mine[:2]).json()
        self.assertEqual(again, {"deleted": [], "not_found": mine[:2]})
        noted = AuditEntry.objects.filter(kind="photos_deleted").values_list("detail", flat=True)
        self.assertEqual(list(noted), ["2"])

    def test_a_hundred_take_as_many_queries_as_one(self) -> None:
        one, more = self.upload(), [self.upload(name=f"{number}.jpg") for number in range(6)]
        self.call("get", "photos")
        with CaptureQueriesContext(connection) as first:
            self.delete([str(one.pk)])
        with self.assertNumQueries(len(first)):
            self.delete([str(photo.pk) for photo in more])

    def test_it_wants_1_to_100_ids(self) -> None:
        photo = str(self.upload().pk)
        for ids, where in (
            ([], "ids"),
            ([photo] * 101, "ids"),
            (photo, "ids"),
            (None, "ids"),
            (["x"], "ids.0"),
            ([photo, 3], "ids.1"),
        ):
            body = self.assert_problem(self.delete(ids), 422, "invalid")
            self.assertEqual([entry["where"] for entry in body["errors"]], [where])
            self.assertNotRegex(body["detail"], "[Ii]nput|UUID")
        self.assert_problem(self.post_json("photos/delete", {}), 422, "invalid")
        self.assert_problem(self.delete([photo], token=self.token(self.alice, "read")), 403, "scope")
        self.assertTrue(self.alice.photos.filter(deleted_at=None).exists())


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

    def test_it_searches_and_orders_as_the_page_does(self) -> None:
        beach, cat, waiting = (self.upload(name=name) for name in ("beach 7.jpg", "cat.jpg", "beach8.jpg"))
        answer(beach, "ship", 0.6)
        answer(cat, "cat", 0.9)
        correct(cat, by=self.alice, label="dog")
        self.client.force_login(self.alice)
        for query, expected in (
            ("search=beach", [waiting, beach]),
            ("search=bea+7", [beach]),
            ("search=!!!", []),
            ("sort=oldest", [beach, cat, waiting]),
            ("sort=surest", [cat, beach]),
            ("sort=least_sure", [beach, cat]),
            ("sort=oldest&search=beach&status=done", [beach]),
            ("correction=differs", [cat]),
            ("correction=none", [waiting, beach]),
        ):
            found = [photo["id"] for photo in self.call("get", f"photos?{query}").json()["photos"]]
            self.assertEqual(found, [str(photo.pk) for photo in expected], query)
            page = self.client.get(f"/history/?{query}").context["page"]
            self.assertEqual([row.photo_id for row in page.items], [photo.pk for photo in expected], query)
        first = self.call("get", "photos?sort=surest&limit=1").json()
        second = self.call("get", f"photos?sort=surest&limit=1&cursor={first['next_cursor']}").json()
        self.assertEqual([photo["id"] for photo in second["photos"]], [str(beach.pk)])
        other = self.call("get", f"photos?sort=oldest&cursor={first['next_cursor']}")
        self.assert_problem(other, 400, "bad_cursor")

    def test_it_lists_the_photos_of_a_batch(self) -> None:
        batch = create_batch(self.alice, archives.zipped(archives.photos(5)), filename="a.zip")
        while batch_worker.unpack_slice("worker"):
            pass
        self.upload(name="another.jpg")
        rows = list(Prediction.objects.filter(photo__batch_item__batch=batch))
        answer(rows[0].photo, "cat")
        answer(rows[1].photo, "dog", verdict="unsure")
        names: list[str] = []
        cursor: str | None = ""
        while cursor is not None:
            body = self.call("get", f"photos?batch={batch.pk}&limit=2&cursor={cursor}").json()
            names += [photo["filename"] for photo in body["photos"]]
            cursor = body["next_cursor"]
        self.assertEqual(sorted(names), sorted(row.photo.filename for row in rows))
        self.assertEqual(len(names), 5)
        for query, expected in (("label=cat", 1), ("verdict=unsure", 1), ("status=queued", 3)):
            found = self.call("get", f"photos?batch={batch.pk}&{query}").json()["photos"]
            self.assertEqual(len(found), expected, query)
        for path, token in ((batch.pk, "bob"), (UUID(int=0), "alice")):
            self.assert_problem(self.call("get", f"photos?batch={path}", token=token), 404, "not_found")
        # The token and its owner, the rates, the batch, the page.
        with self.assertNumQueries(4):
            self.call("get", f"photos?batch={batch.pk}")

    def test_it_refuses_what_makes_no_sense(self) -> None:
        for query in ("batch=7", "sort=newest", "correction=maybe", "search=" + "x" * 256):
            detail = self.assert_problem(self.call("get", f"photos?{query}"), 422, "invalid")["detail"]
            self.assertNotRegex(detail, "[Ii]nput|UUID")
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
