"""The API's batches: an archive in, counts, results out."""

import csv
import io
import json
from typing import Any

from cifarsite.test import ApiTestCase
from classifier.models import Batch
from classifier.tests.uploads.archives import photos, zipped
from classifier.uploads import batch_worker


def archive(files: dict[str, bytes], name: str = "photos.zip") -> io.BytesIO:
    file = zipped(files)
    file.name = name
    return file


class BatchTests(ApiTestCase):
    def create(self, files: dict[str, bytes] | None = None, **more: Any) -> Any:
        return self.call("post", "batches", {"archive": archive(files or photos(2))}, **more)

    def test_it_takes_an_archive(self) -> None:
        response = self.create({**photos(2), "notes.txt": b"text"})
        self.assertEqual(response.status_code, 202, response.content)
        body = response.json()
        self.assertEqual((body["state"], body["total"], body["done"]), ("running", 3, 0))
        self.assertEqual(response.headers["Location"], f"/api/v1/batches/{body['id']}")
        self.assertEqual(self.call("get", f"batches/{body['id']}").json()["filename"], "photos.zip")

    def test_it_compares_with_the_truth(self) -> None:
        truth = io.BytesIO(b"filename,label\nphoto-0000.jpg,cat\n")
        truth.name = "truth.csv"
        response = self.call("post", "batches", {"archive": archive(photos(1)), "truth": truth})
        self.assertEqual(response.status_code, 202)
        self.assertEqual(Batch.objects.get().items.get().truth, "cat")
        truth = io.BytesIO(b"photo-0000.jpg,cow\n")
        truth.name = "truth.csv"
        response = self.call("post", "batches", {"archive": archive(photos(1)), "truth": truth})
        self.assert_problem(response, 400, "truth_invalid")

    def test_it_sends_the_results(self) -> None:
        pk = self.create({**photos(1), "=cmd.txt": b"text"}).json()["id"]
        batch_worker.unpack_slice("a worker")
        lines = self.call("get", f"batches/{pk}/results.jsonl").getvalue().decode().splitlines()
        found = {line["filename"]: line for line in map(json.loads, lines)}
        self.assertEqual(found["photo-0000.jpg"]["status"], "queued")
        self.assertEqual(found["=cmd.txt"]["error"]["code"], "not_an_image")
        response = self.call("get", f"batches/{pk}/results.csv")
        self.assertTrue(response.headers["Content-Type"].startswith("text/csv"))
        rows = list(csv.DictReader(io.StringIO(response.getvalue().decode("utf-8-sig"))))
        self.assertEqual([row["filename"] for row in rows], ["photo-0000.jpg", "'=cmd.txt"])
        counts = self.call("get", f"batches/{pk}").json()
        self.assertEqual((counts["total"], counts["failed"]), (2, 1))

    def test_it_refuses_what_is_no_archive(self) -> None:
        file = io.BytesIO(b"text")
        file.name = "photos.zip"
        self.assert_problem(self.call("post", "batches", {"archive": file}), 400, "not_an_archive")
        self.assert_problem(self.call("post", "batches"), 422, "invalid")
        with self.settings(BATCH_MAX_MB=0):
            self.assert_problem(self.create(), 413, "archive_too_large")
        self.assertFalse(Batch.objects.exists())

    def test_it_refuses_a_truth_that_came_as_text(self) -> None:
        response = self.call(
            "post", "batches", {"archive": archive(photos(1)), "truth": "photo-0000.jpg,cat"}
        )
        self.assertIn("truth", self.assert_problem(response, 422, "invalid")["detail"])

    def test_it_cancels_and_says_when_it_is_too_late(self) -> None:
        pk = self.create().json()["id"]
        for _twice in range(2):
            response = self.call("post", f"batches/{pk}/cancel")
            self.assertEqual((response.status_code, response.json()["state"]), (202, "cancelled"))
        Batch.objects.update(state=Batch.State.DONE)
        self.assert_problem(self.call("post", f"batches/{pk}/cancel"), 409, "wrong_state")

    def test_it_hides_other_peoples_batches(self) -> None:
        pk = self.create().json()["id"]
        for person in ("bob", "charlie"):
            for method, path in (
                ("get", ""),
                ("post", "/cancel"),
                ("get", "/results.csv"),
                ("get", "/results.jsonl"),
            ):
                response = self.call(method, f"batches/{pk}{path}", token=person)
                self.assert_problem(response, 404, "not_found")
        self.assertEqual(Batch.objects.get().state, "running")

    def test_it_takes_a_repeated_archive_once(self) -> None:
        headers = {"Idempotency-Key": "b"}
        files = photos(1)
        content = zipped(files).getvalue()
        answers = []
        for _twice in range(2):
            file = io.BytesIO(content)
            file.name = "photos.zip"
            answers.append(self.call("post", "batches", {"archive": file}, headers=headers).json())
        self.assertEqual(answers[0], answers[1])
        self.assertEqual(Batch.objects.count(), 1)
