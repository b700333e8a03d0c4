"""Every page, API answer and export with 2, 3, 37 and 100 classes whose names are hard to write.

Each costs as many queries with a hundred classes as with two, and no name is taken for markup.
"""

from __future__ import annotations

import csv
import io
import json
import re
import zipfile
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from unittest import mock

from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from cifarsite.core.pages import STOP_POLLING
from cifarsite.test import ApiTestCase, answer, drawn_model, image_bytes, image_file, make_user
from classifier.feedback import corrections, training_photos
from classifier.models import (
    Batch,
    Correction,
    DriftDay,
    Explanation,
    Photo,
    Prediction,
    Reclassification,
    ReclassificationItem,
    Shadow,
    ShadowAnswer,
    User,
)
from classifier.photos import export, labels
from classifier.predictions import inference
from classifier.tests.projects.drawn import HARD_NAMES, make_project
from classifier.tests.uploads.archives import COLOURS, zipped
from classifier.uploads import batch_worker, batches
from classifier.uploads.photos import upload_photo
from training.models import DEFAULT_PROJECT, ModelVersion
from training.projects.access import class_names

COUNTS = (2, 3, 37, 100)
# What only a name that was not escaped would bring.
MARKUP = re.compile(r"<b>bold|<i>p\d+</i>|=\"Frau \"Holle")


class WalkTestCase(ApiTestCase):
    root: User

    @classmethod
    def setUpTestData(cls) -> None:
        super().setUpTestData()
        cls.root = make_user("root", is_staff=True, is_superuser=True)
        drawn_model(DEFAULT_PROJECT, is_champion=True)
        for count in COUNTS:
            make_project(f"p{count}", count)

    def content(self, response: Any) -> str:
        raw = b"".join(response.streaming_content) if response.streaming else response.content
        return str(raw.decode())

    def life(self, count: int) -> dict[str, Any]:
        """Alice has photos, a batch with true labels, opinions; staff look at drift, shadows and the like."""
        slug = f"p{count}"
        classes = class_names(slug)
        model = ModelVersion.objects.get(name=f"drawn-{slug}")
        photos = []
        for number, verdict in enumerate(("recognised", "unsure", "unknown")):
            file = image_file(f"{slug}-{number}.jpg", colour=COLOURS[number])
            photo = upload_photo(self.alice, file, project=slug)  # type: ignore[arg-type]
            answer(photo, classes[number % count], 0.8, verdict)
            photos.append(photo)
        corrections.set_consent(self.alice, True)
        corrections.correct(photos[0], self.alice, classes[1])
        corrections.correct(photos[1], self.alice, classes[1])
        batch = self.batch(slug, classes)
        present = photos[0].prediction
        grid = [[0.5] * 8] * 8
        Explanation.objects.create(
            prediction=present, status="done", maps=dict.fromkeys(classes[:2], grid), neighbours="absent"
        )
        self.drift(slug, classes)
        shadow = Shadow.objects.create(model=model, ended_at=timezone.now())
        ShadowAnswer.objects.create(
            shadow=shadow, prediction=present, status="done", live=classes[0], said=classes[1],
            agrees=False, confidence=0.5,
        )  # fmt: skip
        run = Reclassification.objects.create(model=model, state="done")
        ReclassificationItem.objects.create(
            reclassification=run, prediction=present, before=classes[1], after=classes[0], changed=True
        )
        return {"photo": photos[0], "unknown": photos[2], "batch": batch, "model": model, "run": run}

    def batch(self, slug: str, classes: list[str]) -> Batch:
        files = {f"{name}/{n}.jpg": image_bytes(colour=COLOURS[n]) for n, name in enumerate(classes[:3])}
        archive = SimpleUploadedFile(f"{slug}.zip", zipped(files).getvalue(), "application/zip")
        self.client.force_login(self.alice)
        self.client.post("/batches/", {"archive": archive, "project": slug, "folders_are_truth": "1"})
        batch = Batch.objects.get(filename=f"{slug}.zip")
        with mock.patch.object(inference, "predict_pending"):
            while batch_worker.unpack_slice("worker"):
                pass
        for photo in Photo.objects.filter(batch_item__batch=batch):
            answer(photo, classes[1], 0.7)
        batches.finish_if_over(batch)
        return batch

    def drift(self, slug: str, classes: list[str]) -> None:
        today = timezone.now().astimezone(UTC).date()
        sums = {"confidence": [60, 48.0, 40.0]}
        for ago in range(1, 40):
            labels_of_day = dict.fromkeys(classes[:2], 30) if ago < 8 else {classes[0]: 60}
            DriftDay.objects.create(
                project_id=slug, day=today - timedelta(days=ago), n=60, labels=labels_of_day,
                verdicts={"recognised": 50, "unknown": 10}, sums=sums, opinions=30, agreed=20,
            )  # fmt: skip

    def look(self, address: str) -> tuple[str, int]:
        """What an address answers, and by how many queries."""
        with CaptureQueriesContext(connection) as queries:
            response: Any = self.client.get(address)
            raw = b"".join(response.streaming_content) if response.streaming else response.content
        self.assertIn(response.status_code, (200, STOP_POLLING), address)
        if not response["Content-Type"].startswith("text/html"):
            return "", len(queries)
        self.assertNotRegex(raw.decode(), MARKUP)
        return raw.decode(), len(queries)


class PageTests(WalkTestCase):
    def addresses(self, slug: str, made: dict[str, Any]) -> dict[str, list[str]]:
        """By who looks."""
        photo, batch, first = made["photo"], made["batch"], class_names(slug)[0]
        return {
            "alice": [
                f"/?project={slug}",
                f"/photos/{photo.pk}/",
                f"/photos/{photo.pk}/status/",
                f"/photos/{photo.pk}/status/?short=1",
                f"/photos/{made['unknown'].pk}/",
                f"/photos/{photo.pk}/why/",
                f"/history/?project={slug}",
                f"/history/?project={slug}&label={first}&sort=surest",
                f"/history/calendar/?project={slug}",
                "/batches/",
                f"/batches/{batch.pk}/",
                f"/batches/{batch.pk}/?show=class:{first}",
                f"/batches/{batch.pk}/?show=wrong",
                f"/batches/{batch.pk}/results.csv",
                f"/batches/{batch.pk}/results.jsonl",
                f"/history/export.csv?project={slug}",
                f"/history/export.json?project={slug}",
                f"/history/export.jsonl?project={slug}",
                f"/history/export.zip?project={slug}",
                f"/verdicts/?project={slug}",
            ],
            "root": [
                f"/drift/?project={slug}",
                f"/models/{made['model'].pk}/shadow/",
                f"/reclassifications/?project={slug}",
                f"/reclassifications/{made['run'].pk}/",
                "/review/",
                f"/admin/classifier/photo/?project__slug__exact={slug}",
                f"/admin/classifier/prediction/?label={first}",
                f"/admin/classifier/prediction/{photo.prediction.pk}/change/",
                f"/admin/classifier/correction/?predicted={first}",
                "/admin/classifier/batchitem/",
                "/admin/classifier/shadowanswer/",
                "/admin/classifier/reclassificationitem/",
                "/admin/classifier/driftday/",
                "/admin/classifier/daycount/",
            ],
        }

    def walk(self, count: int) -> dict[str, int]:
        slug = f"p{count}"
        made = self.life(count)
        costs = {}
        for who, addresses in self.addresses(slug, made).items():
            self.client.force_login(getattr(self, who))
            self.client.get("/account/")  # what the first page of a session does
            for number, address in enumerate(addresses):
                with self.subTest(address):
                    _content, costs[f"{who} {number}"] = self.look(address)
        return costs

    def test_every_page_with_few_classes_and_with_many(self) -> None:
        costs = {}
        for count in COUNTS:
            Photo.objects.all().delete()
            Correction.objects.all().delete()
            costs[count] = self.walk(count)
        for address in costs[2]:
            with self.subTest(address):
                found = [costs[count][address] for count in COUNTS]
                self.assertLessEqual(max(found) - min(found), 1, found)
                self.assertLess(max(found), 40)

    def test_many_classes_stay_a_page(self) -> None:
        made = self.life(100)
        self.client.force_login(self.alice)
        page, _cost = self.look(f"/photos/{made['photo'].pk}/")
        self.assertEqual(page.count("data-key="), 10 + 2)  # ten classes, none of these, not sure
        self.assertLess(page.count('class="bar"'), labels.ROWS_SHOWN + 1)
        self.assertIn("The next most probable classes", page)
        page, _cost = self.look("/history/?project=p100")
        # The filter, and what may be said: once a page.
        self.assertEqual(page.count('<option value="class 50"'), 2)
        batch, _cost = self.look(f"/batches/{made['batch'].pk}/")
        self.assertNotIn('class="matrix"', batch)
        self.assertIn("The most frequent confusions", batch)

    def test_few_classes_are_all_shown_in_their_order_with_keys(self) -> None:
        made = self.life(3)
        self.client.force_login(self.alice)
        page, _cost = self.look(f"/photos/{made['photo'].pk}/")
        self.assertEqual(re.findall('data-key="(.)"', page), ["r", "2", "3", "n", "u"])
        self.assertIn("Frau &quot;Holle&quot; &amp; Co&#x27;s", page)
        batch, _cost = self.look(f"/batches/{made['batch'].pk}/")
        self.assertIn('class="matrix"', batch)

    def test_unknown_is_called_none_of_these_but_for_cifar10(self) -> None:
        made = self.life(3)
        ten = self.upload(colour="plum")
        answer(ten, "cat", verdict="unknown")
        self.client.force_login(self.alice)
        self.assertContains(self.client.get(made["unknown"].get_absolute_url()), "Probably none of these")
        self.assertContains(self.client.get(ten.get_absolute_url()), "Probably none of the ten")
        history = self.client.get("/history/")
        self.assertContains(history, '<span class="tile-label">none of these</span>')
        self.assertContains(history, '<span class="tile-label">none of the ten</span>')

    def test_colours_go_by_the_place_of_a_class(self) -> None:
        made = self.life(37)
        names = class_names("p37")
        answer(made["photo"], names[31], 0.9)
        self.client.force_login(self.alice)
        page = self.client.get(made["photo"].get_absolute_url())
        self.assertContains(
            page, f'<span class="dot of-1"></span><span class="class-name">{names[31]}</span>'
        )

    def test_numbers_are_told_by_project(self) -> None:
        self.life(3)
        self.life(37)
        self.client.force_login(self.alice)
        page = self.client.get("/account/numbers/")
        told = {project.pk for project, _n, _rows in page.context["numbers"].projects}
        self.assertEqual(told, {"p3", "p37"})
        self.assertContains(page, "&lt;b&gt;bold")
        self.assertContains(page, "/history/?project=p37")

    def test_the_calendar_counts_one_project_or_all(self) -> None:
        self.life(2)
        self.life(3)
        self.client.force_login(self.alice)
        one, both = (self.client.get(f"/history/calendar/{query}") for query in ("?project=p2", ""))
        self.assertEqual((one.context["total"], both.context["total"]), (5, 11))
        self.assertContains(one, "?project=p2&amp;date_from=")

    def test_a_heat_map_is_asked_for_by_the_place_of_its_class(self) -> None:
        made = self.life(3)
        self.client.force_login(self.alice)
        address = f"/photos/{made['photo'].pk}/why/0/heat/"
        self.assertEqual(self.client.get(address)["Content-Type"], "image/png")
        for wrong in ("2", "999999999999"):
            self.assertEqual(self.client.get(address.replace("/0/", f"/{wrong}/")).status_code, 404)


class ExportTests(WalkTestCase):
    def rows(self, address: str) -> list[dict[str, str]]:
        text = self.content(self.client.get(address)).removeprefix("\ufeff")
        return list(csv.DictReader(io.StringIO(text, newline="")))

    def test_a_csv_has_the_columns_of_its_projects_classes(self) -> None:
        for count in COUNTS:
            made = self.life(count)
            self.client.force_login(self.alice)
            names = class_names(f"p{count}")
            columns = ["probability of filename" if name == "filename" else name for name in names]
            columns = ["'=1+1" if name == "=1+1" else name for name in columns]
            for address in (
                f"/history/export.csv?project=p{count}",
                f"/batches/{made['batch'].pk}/results.csv",
            ):
                rows = self.rows(address)
                self.assertEqual(list(rows[0])[7:-6], columns)
                self.assertEqual({row["project"] for row in rows}, {f"p{count}"})
                self.assertAlmostEqual(sum(float(rows[0][name]) for name in columns), 1, places=3)

    def test_of_several_projects_each_row_fills_its_own_columns(self) -> None:
        self.life(2)
        ten = self.upload(colour="plum")
        answer(ten, "cat")
        self.client.force_login(self.alice)
        by_project = {row["project"]: row for row in self.rows("/history/export.csv")}
        self.assertEqual(by_project["p2"]["cat"], "")
        self.assertEqual(by_project["cifar10"]["<b>bold"], "")
        self.assertEqual(by_project["cifar10"]["cat"], "0.91")

    def test_lines_and_the_account_name_classes_and_projects(self) -> None:
        self.life(3)
        self.client.force_login(self.alice)
        lines = self.content(self.client.get("/history/export.jsonl?project=p3")).splitlines()
        first = json.loads(lines[0])
        self.assertEqual((first["project"], list(first["probabilities"])), ("p3", list(HARD_NAMES[:3])))
        content = b"".join(self.client.get("/account/export/").streaming_content)  # type: ignore[attr-defined]
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            photos = [json.loads(line) for line in archive.read("photos.jsonl").splitlines()]
            batches = [json.loads(line) for line in archive.read("tables/batches.jsonl").splitlines()]
        self.assertEqual({row["project"] for row in [*photos, *batches]}, {"p3"})

    def test_a_class_that_is_called_like_a_column_does_not_take_its_place(self) -> None:
        columns = export.result_columns(["model", "cat"])
        self.assertEqual(columns[7:9], ["probability of model", "cat"])
        self.assertEqual(len(set(columns)), len(columns))


class ApiAnswerTests(WalkTestCase):
    def test_answers_name_the_classes_of_the_model_that_answered(self) -> None:
        for count in COUNTS:
            made = self.life(count)
            names = class_names(f"p{count}")
            shown = self.call("get", f"photos/{made['photo'].pk}").json()
            self.assertEqual(list(shown["prediction"]["probabilities"]), names)
            self.assertEqual((shown["project"], shown["correction"]), (f"p{count}", names[1]))
            # The project's classes grow; the answer keeps those of its model.
            listed = self.call("get", f"photos?project=p{count}&label={names[0]}").json()["photos"]
            self.assertTrue(listed)
            self.assertEqual({photo["prediction"]["label"] for photo in listed}, {names[0]})
            batch = self.call("get", f"batches/{made['batch'].pk}").json()
            self.assertEqual((batch["project"], batch["labelled"]), (f"p{count}", min(count, 3)))
            self.assertAlmostEqual(batch["accuracy"], 1 / min(count, 3))

    def test_a_list_needs_the_same_few_queries_for_any_number_of_classes(self) -> None:
        costs = []
        self.call("get", "photos")  # notes when the token was used
        for count in COUNTS:
            self.life(count)
            with CaptureQueriesContext(connection) as queries:
                self.call("get", f"photos?project=p{count}")
            costs.append(len(queries))
        self.assertEqual(len(set(costs)), 1, costs)
        self.assertLess(costs[0], 12)


class HistoryIndexTests(WalkTestCase):
    def test_the_history_of_a_project_is_read_by_its_index(self) -> None:
        from classifier.photos.history import history

        self.life(2)
        plan = history(self.alice, project="p2")[:24].explain()
        self.assertIn("prediction_by_project", plan)

    def test_a_project_by_confidence_is_read_by_its_index(self) -> None:
        from classifier.photos.history import history

        self.life(2)
        self.life(3)
        for sort in ("surest", "least_sure"):
            plan = history(self.alice, project="p2", sort=sort)[:24].explain()
            self.assertIn("prediction_project_confidence", plan)
            self.assertNotIn("TEMP B-TREE", plan)

    def test_a_day_is_counted_for_each_project(self) -> None:
        from classifier.photos import daily_counts

        self.life(2)
        self.life(3)
        counts = daily_counts.by_class(self.alice)
        self.assertEqual({slug: found.total() for slug, found in counts.items()}, {"p2": 5, "p3": 6})
        today = datetime.combine(date.today(), time(), UTC).date()
        self.assertEqual(daily_counts.between(self.alice, today - timedelta(days=1), None, "p3"), 6)


class ReviewTests(WalkTestCase):
    def test_a_reviewer_chooses_among_the_photos_own_classes(self) -> None:
        made = self.life(37)
        names = class_names("p37")
        Correction.objects.exclude(photo=made["photo"]).delete()
        self.client.force_login(self.charlie)
        page = self.client.get("/review/")
        self.assertContains(page, "Accept: Frau &quot;Holle&quot;")
        address = f"/review/{made['photo'].pk}/"
        refused = self.client.post(address, {"label": "cat"})
        self.assertEqual(refused.status_code, 400)
        self.assertLess(len(refused.content), 2_500)  # not all 37 names of up to 100 characters
        self.client.post(address, {"label": names[36]})
        self.assertEqual(made["photo"].example.label, names[36])
        self.assertIsNone(made["photo"].example.near_duplicate_of)
        self.assertEqual(list(training_photos.trainable()), [])
        self.assertEqual(list(training_photos.trainable("p37")), [made["photo"].example])

    def test_what_is_waiting_can_be_narrowed_to_a_project(self) -> None:
        self.life(2)
        self.life(3)
        self.assertEqual(corrections.waiting().count(), 4)
        self.assertEqual(corrections.waiting("p3").count(), 2)


class DriftTests(WalkTestCase):
    def test_each_project_is_summed_up_and_watched_by_itself(self) -> None:
        from classifier.monitoring import drift_alerts

        made = self.life(2)
        DriftDay.objects.all().delete()
        yesterday = timezone.now() - timedelta(days=1)
        Prediction.objects.filter(photo=made["photo"]).update(finished_at=yesterday)
        self.assertEqual(drift_alerts.watch()["drift_days"], 1)
        row = DriftDay.objects.get()
        self.assertEqual((row.project_id, row.n, row.labels), ("p2", 1, {"<b>bold": 1}))

    def test_the_page_is_of_one_project(self) -> None:
        self.life(3)
        self.client.force_login(self.charlie)
        page = self.client.get("/drift/?project=p3")
        self.assertContains(page, "Classified as &#x27;none of these&#x27;")
        self.assertContains(page, "&lt;b&gt;bold")
        self.assertFalse(self.client.get("/drift/").context["classes"])
        self.assertEqual(self.client.get("/drift/?project=nowhere").status_code, 404)
