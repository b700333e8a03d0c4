"""The pages of archives: what they show, whom, and what they send home."""

import csv
import io
import json
from typing import Any

from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection
from django.test import override_settings
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from cifarsite.test import image_bytes
from classifier.models import Batch, Photo
from classifier.tests.uploads.archives import photos, zipped
from classifier.tests.uploads.test_batches import BatchTestCase
from classifier.uploads import batch_results

State = Batch.State


class BatchPages(BatchTestCase):
    def setUp(self) -> None:
        self.client.force_login(self.alice)

    def send(self, files: dict[str, bytes] | None = None, **fields: object) -> Any:
        archive = SimpleUploadedFile("holiday.zip", zipped(files or photos(2)).getvalue())
        return self.client.post(reverse("classifier:batches"), {"archive": archive, **fields})

    def url(self, name: str, batch: Batch) -> str:
        return reverse(f"classifier:{name}", args=[batch.pk])

    def finished(self, files: dict[str, bytes] | None = None) -> Batch:
        batch = self.make(files)
        self.unpack()
        self.answer_all(batch)
        return batch

    def test_an_archive_leads_to_its_page(self) -> None:
        response = self.send()
        self.assertRedirects(response, Batch.objects.get().get_absolute_url())

    def test_a_script_gets_the_address_as_json(self) -> None:
        archive = SimpleUploadedFile("a.zip", zipped(photos(1)).getvalue())
        response = self.client.post(
            reverse("classifier:batches"), {"archive": archive}, headers={"accept": "application/json"}
        )
        self.assertEqual(response.status_code, 201)
        self.assertEqual(response.json()["url"], Batch.objects.get().get_absolute_url())

    def test_a_bad_archive_gets_a_sentence(self) -> None:
        response = self.client.post(
            reverse("classifier:batches"), {"archive": SimpleUploadedFile("a.zip", b"no zip")}
        )
        self.assertContains(response, "not a ZIP archive", status_code=400)
        self.assertContains(self.client.post(reverse("classifier:batches")), "Choose a ZIP", status_code=400)

    @override_settings(BATCH_MAX_FILES=1)
    def test_too_many_files_get_413(self) -> None:
        self.assertEqual(self.send().status_code, 413)

    def test_folders_say_the_truth_only_where_the_box_is_ticked(self) -> None:
        files = {"cat/a.jpg": image_bytes()}
        self.send(files, folders_are_truth="1")
        self.send({**files, "b.jpg": image_bytes()})
        newest, first = Batch.objects.all()
        self.assertEqual(
            (first.items.get().truth, newest.items.order_by("number").values_list("truth", flat=True)[0]),
            ("cat", ""),
        )

    def test_the_same_archive_again_asks_first(self) -> None:
        self.send()
        response = self.send()
        second, first = Batch.objects.all()
        self.assertContains(self.client.get(response.url), "You have sent this archive before")
        response = self.client.post(self.url("batch-cancel", second), {"earlier": "1"})
        self.assertRedirects(response, first.get_absolute_url())
        second.refresh_from_db()
        self.assertEqual(second.state, State.CANCELLED)

    def test_pages_are_for_the_owner_alone(self) -> None:
        batch = self.finished()
        for who, status in ((self.bob, 404), (self.charlie, 404), (None, 302)):
            self.client.logout()
            if who:
                self.client.force_login(who)
            for name in ("batch", "batch-status", "batch-results-csv", "batch-results-jsonl"):
                with self.subTest(who=who, name=name):
                    self.assertEqual(self.client.get(self.url(name, batch)).status_code, status)
            for name in ("batch-pause", "batch-resume", "batch-cancel", "batch-retry"):
                with self.subTest(who=who, name=name):
                    self.assertEqual(self.client.post(self.url(name, batch)).status_code, status)

    def test_acts_need_a_post(self) -> None:
        batch = self.make()
        for name in ("batch-pause", "batch-resume", "batch-cancel", "batch-retry"):
            self.assertEqual(self.client.get(self.url(name, batch)).status_code, 405)

    def test_polling_goes_on_until_all_is_done(self) -> None:
        batch = self.make(photos(2))
        response = self.client.get(self.url("batch-status", batch))
        self.assertEqual(response.status_code, 200)
        self.assertContains(self.client.get(batch.get_absolute_url()), 'hx-trigger="every 2s"')
        self.unpack()
        self.answer_all(batch)
        response = self.client.get(self.url("batch-status", batch))
        self.assertEqual((response.status_code, response.headers["HX-Refresh"]), (286, "true"))
        self.assertNotContains(self.client.get(batch.get_absolute_url()), "hx-trigger")

    def test_a_batch_is_paused_resumed_and_cancelled(self) -> None:
        batch = self.make()
        states = [
            ("batch-pause", State.PAUSED),
            ("batch-resume", State.RUNNING),
            ("batch-cancel", State.CANCELLED),
        ]
        for name, state in states:
            self.assertRedirects(self.client.post(self.url(name, batch)), batch.get_absolute_url())
            batch.refresh_from_db()
            self.assertEqual(batch.state, state)
        response = self.client.post(self.url("batch-pause", batch), follow=True)
        self.assertContains(response, "is no longer possible")

    def test_errors_stand_on_the_page_each_with_its_file(self) -> None:
        batch = self.finished({"good.jpg": image_bytes(), "<b>bad</b>.txt": b"text"})
        page = self.client.get(batch.get_absolute_url())
        self.assertContains(page, "&lt;b&gt;bad&lt;/b&gt;.txt")
        self.assertContains(page, "not an image")

    def test_the_score_stands_on_the_page(self) -> None:
        batch = self.finished({"cat/a.jpg": image_bytes(), "dog/b.jpg": image_bytes()})
        page = self.client.get(batch.get_absolute_url())
        self.assertContains(page, "50.0&nbsp;%")
        self.assertContains(self.client.get(f"{batch.get_absolute_url()}?show=wrong"), "b.jpg")
        self.assertNotContains(self.client.get(f"{batch.get_absolute_url()}?show=wrong"), "a.jpg")

    def test_the_sheet_takes_any_filter(self) -> None:
        batch = self.finished()
        for query in (
            "show=cat",
            "show=unsure",
            "show=lion",
            "after=0",
            "after=x",
            "after=99999999999999999999",
        ):
            self.assertEqual(self.client.get(f"{batch.get_absolute_url()}?{query}").status_code, 200)

    def test_the_csv_holds_every_entry(self) -> None:
        batch = self.finished({"a.jpg": image_bytes(), "b.txt": b"text"})
        response = self.client.get(self.url("batch-results-csv", batch))
        text = b"".join(response.streaming_content).decode("utf-8-sig")  # type: ignore[attr-defined]
        first, second = csv.DictReader(io.StringIO(text))
        self.assertEqual((first["filename"], first["label"], first["status"]), ("a.jpg", "cat", "done"))
        self.assertEqual(first["photo"], str(Photo.objects.get().pk))
        self.assertEqual((second["status"], second["error_code"]), ("failed", "not_an_image"))

    def test_a_file_name_is_no_formula(self) -> None:
        names = ['=HYPERLINK("x").txt', "+1.txt", "-1.txt", "@a.txt", " =1.txt"]
        batch = self.finished(dict.fromkeys(names, b"text"))
        response = self.client.get(self.url("batch-results-csv", batch))
        text = b"".join(response.streaming_content).decode("utf-8-sig")  # type: ignore[attr-defined]
        self.assertEqual(
            [row["filename"] for row in csv.DictReader(io.StringIO(text))], [f"'{n}" for n in names]
        )

    def test_json_lines_hold_every_entry(self) -> None:
        batch = self.finished({"a.jpg": image_bytes(), "b.txt": b"text"})
        response = self.client.get(self.url("batch-results-jsonl", batch))
        lines = b"".join(response.streaming_content).decode().splitlines()  # type: ignore[attr-defined]
        first, second = map(json.loads, lines)
        self.assertEqual((first["label"], len(first["probabilities"]), first["error"]), ("cat", 10, None))
        self.assertEqual(second["error"]["code"], "not_an_image")

    def test_the_list_has_pages(self) -> None:
        for _n in range(2):
            self.make(photos(1))
        with self.settings():
            page = self.client.get(reverse("classifier:batches"))
        self.assertContains(page, "holiday.zip", count=2)
        self.assertEqual(self.client.get(f"{reverse('classifier:batches')}?page=7").status_code, 200)

    def test_the_page_costs_as_many_queries_for_many_photos(self) -> None:
        counts = []
        for batch in (self.finished(photos(1)), self.finished(photos(8))):
            with CaptureQueriesContext(connection) as queries:
                self.client.get(batch.get_absolute_url())
            counts.append(len(queries))
        self.assertEqual(*counts)
        self.assertEqual(batch_results.Progress(Batch.objects.all()[0]).done, 8)
