"""What all operations share: shape and language of errors, HEAD, Retry-After, unknown parameters, codes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from django.core.files.uploadedfile import SimpleUploadedFile

from cifarsite.core.api_problems import CODES
from cifarsite.test import ApiTestCase, answer, image_file
from classifier.api.application import api
from classifier.images import errors as image_refusals
from classifier.models import Batch, Prediction
from classifier.tests.uploads.archives import photos, zipped
from classifier.uploads import batches, errors
from classifier.uploads.batches import create_batch
from conftest import ROOT

KEY = {"Idempotency-Key": "one"}
ENTRY = {"where", "filename", "code", "detail"}


class ErrorsTest(ApiTestCase):
    def test_all_errors_have_one_shape(self) -> None:
        text = SimpleUploadedFile("notes.txt", b"text")
        refused = self.call("post", "photos", {"file": [text]})
        taken = self.call("post", "photos", {"file": [image_file(), SimpleUploadedFile("a.txt", b"text")]})
        for response in (
            refused,
            taken,
            self.call("get", "photos?limit=1000"),
            self.call("post", "photos", {"file": "text"}),
            self.post_json(f"photos/{self.upload().pk}/correction", {"label": "unicorn"}),
        ):
            with self.subTest(response.request["PATH_INFO"]):
                errors = response.json()["errors"]
                self.assertTrue(errors)
                for entry in errors:
                    self.assertEqual(set(entry), ENTRY)
                    self.assertIn(entry["code"], CODES)
        self.assertEqual(taken.json()["errors"][0]["where"], "file.1")

    def test_where_names_what_the_sender_wrote(self) -> None:
        photo = self.upload()
        whole = {"left": 2, "top": 0, "width": 1, "height": 1}
        for response, where in (
            (self.call("get", "photos?limit=1000"), "limit"),
            (self.call("get", "photos?from=yesterday"), "from"),
            (self.call("get", "photos?status=x"), "status"),
            (self.call("post", "photos", {}), "file"),
            (self.post_json(f"photos/{photo.pk}/correction", {}), "label"),
            (self.post_json(f"photos/{photo.pk}/predictions", {"crop": whole}), "crop.left"),
        ):
            body = self.assert_problem(response, 422, "invalid")
            self.assertEqual([entry["where"] for entry in body["errors"]], [where])

    def test_what_is_wrong_is_said_in_the_reader_s_language(self) -> None:
        for language, expected in (("en", "It must be 100 or less."), ("vi", None)):
            response = self.call("get", "photos?limit=1000", headers={"Accept-Language": language})
            detail = self.assert_problem(response, 422, "invalid")["detail"]
            self.assertNotIn("Input should", detail)
            if expected:
                self.assertEqual(detail, f"limit: {expected}")

    def test_nothing_is_left_to_the_library_s_words(self) -> None:
        photo = self.upload()
        labels: list[Any] = [{"label": value} for value in (1, None, "unicorn")]
        for data in [{}, *labels, {"label": "cat", "x": 1}, [], 7]:
            with self.subTest(str(data)):
                response = self.post_json(f"photos/{photo.pk}/correction", data)
                self.assertNotRegex(
                    self.assert_problem(response, 422, "invalid")["detail"], "[Ii]nput|pydantic"
                )
        for query in ("limit=x", "limit=0", "limit=1.5", "cursor=" + "x" * 300, "status=x", "to=2026-02-30"):
            with self.subTest(query):
                response = self.call("get", f"photos?{query}")
                self.assertNotRegex(
                    self.assert_problem(response, 422, "invalid")["detail"], "[Ii]nput|pydantic"
                )

    def test_parameters_that_no_operation_knows_are_refused(self) -> None:
        photo, batch = self.upload(), create_batch(self.alice, zipped(photos(1)), filename="a.zip")
        for path in ("photos", f"photos/{photo.pk}", f"batches/{batch.pk}", "models", "models/champion"):
            with self.subTest(path):
                body = self.assert_problem(self.call("get", f"{path}?lable=cat"), 422, "invalid")
                self.assertEqual(body["errors"][0]["where"], "lable")
        refused = self.call("post", "photos?weit=3", {"file": image_file()})
        self.assert_problem(refused, 422, "invalid")
        self.assertEqual(self.alice.photos.count(), 2 - 1)


class CodesTest(ApiTestCase):
    def test_the_schema_lists_every_code(self) -> None:
        problem = api.get_openapi_schema()["components"]["schemas"]["ProblemAnswer"]
        self.assertEqual(set(problem["properties"]["code"]["enum"]), set(CODES))

    def test_every_code_of_the_source_is_in_the_list(self) -> None:
        used = {code for code, _ in image_refusals.REASONS.values()}
        used |= {errors.TruthRefused("").code, errors.StorageFull().code}
        whole, _, _of_entries = Path(errors.__file__).read_text().partition("# Of one entry.")
        used |= set(re.findall(r'^    "(\w+)": _\(', whole, re.MULTILINE))
        pattern = re.compile(r'(?:Problem|problem_response)\(\s*[\w.]+,\s*"(\w+)"|\d{3}: \("(\w+)"')
        files = [
            *(ROOT / "classifier" / "api").glob("*.py"),
            *(ROOT / "training" / "api").glob("*.py"),
            ROOT / "cifarsite" / "core" / "api_problems.py",
        ]
        for file in [*files, ROOT / "classifier" / "pages" / "refusals.py"]:
            used |= {one or other for one, other in pattern.findall(file.read_text())}
        self.assertGreater(len(used), 25)
        self.assertEqual(used - set(CODES), set())

    def test_the_document_names_every_code(self) -> None:
        table = (ROOT / "docs" / "api.md").read_text().partition("## Errors")[2].partition("## Rates")[0]
        self.assertEqual(set(CODES) - set(re.findall(r"`(\w+)`", table)), set())


class HeadersTest(ApiTestCase):
    def test_head_answers_as_get_does(self) -> None:
        photo = self.upload()
        for path in ("photos", f"photos/{photo.pk}", f"photos/{photo.pk}/image", "models", "openapi.json"):
            with self.subTest(path):
                got, head = self.call("get", path), self.call("head", path)
                self.assertEqual(
                    (head.status_code, head.headers["Content-Type"]), (200, got.headers["Content-Type"])
                )
                self.assertFalse(head.content if not head.streaming else b"")
        self.assertEqual(self.call("head", f"photos/{photo.pk}", token="bob").status_code, 404)
        self.assertEqual(self.call("head", "photos", token=None).status_code, 401)

    def test_202_says_when_to_ask_again(self) -> None:
        photo = self.upload()
        answer(photo)
        for response in (
            self.call("post", "photos", {"file": image_file()}),
            self.call("post", "batches", {"archive": SimpleUploadedFile("a.zip", zipped(photos(1)).read())}),
            self.post_json(f"photos/{photo.pk}/predictions", {}),
        ):
            self.assertEqual(response.status_code, 202, response.content)
            self.assertGreater(int(response.headers["Retry-After"]), 0)

    def test_the_schema_says_so(self) -> None:
        for path in api.get_openapi_schema()["paths"].values():
            for operation in path.values():
                if "202" in operation["responses"]:
                    self.assertIn("Retry-After", operation["responses"]["202"]["headers"])


class ReplayTest(ApiTestCase):
    def upload_again(self, **more: Any) -> Any:
        return self.call("post", "photos", {"file": image_file()}, headers=KEY, **more)

    def test_a_replay_shows_the_photo_as_it_is_now(self) -> None:
        first = self.upload_again().json()["photos"][0]
        self.assertEqual(first["status"], "queued")
        answer(self.alice.photos.get())
        again = self.upload_again()
        self.assertEqual(again.headers["Idempotency-Replayed"], "true")
        (photo,) = again.json()["photos"]
        self.assertEqual((photo["id"], photo["status"]), (first["id"], "done"))
        self.assertEqual(photo["prediction"]["label"], "cat")

    def test_a_replay_after_deletion_is_404(self) -> None:
        pk = self.upload_again().json()["photos"][0]["id"]
        self.call("delete", f"photos/{pk}")
        self.assert_problem(self.upload_again(), 404, "not_found")
        self.assertEqual(self.alice.photos.filter(deleted_at=None).count(), 0)

    def test_a_replay_of_an_archive_shows_how_far_it_is(self) -> None:
        content = zipped(photos(1)).read()
        send = lambda: self.call(  # noqa: E731
            "post", "batches", {"archive": SimpleUploadedFile("a.zip", content)}, headers=KEY
        )
        self.assertEqual(send().json()["state"], "running")
        batches.cancel(Batch.objects.get())
        self.assertEqual(send().json()["state"], "cancelled")
        Batch.objects.all().delete()
        self.assert_problem(send(), 404, "not_found")


class ResultsTest(ApiTestCase):
    def test_what_a_worker_looks_at_is_queued_in_the_results(self) -> None:
        self.upload()
        Prediction.objects.update(status=Prediction.Status.RUNNING)
        self.client.force_login(self.alice)
        lines = b"".join(self.client.get("/history/export.jsonl").streaming_content)  # type: ignore[attr-defined]
        self.assertIn(b'"status": "queued"', lines)
