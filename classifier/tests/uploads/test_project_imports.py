from __future__ import annotations

import io
import uuid
from collections import Counter
from datetime import timedelta
from pathlib import Path
from typing import Any
from unittest import mock

from django.core.files.storage import default_storage
from django.db import connection
from django.test import override_settings
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from PIL import Image

from cifarsite.core.storage import StorageUnavailable
from cifarsite.test import SiteTestCase, answer, image_bytes
from classifier.feedback.corrections import accept, correct, set_consent
from classifier.images.sandbox import training_copy_isolated
from classifier.models import Batch, BatchItem, Photo
from classifier.photos import history
from classifier.tests.uploads.archives import zipped
from classifier.uploads import import_worker, project_imports
from classifier.uploads.errors import Rejected
from classifier.uploads.import_plan import class_folders
from classifier.uploads.import_worker import import_slice
from training.models import DEFAULT_PROJECT, Project, ProjectImage, ProjectImport
from training.projects import classes, images
from training.projects.access import class_names
from training.projects.additions import store
from training.projects.lifecycle import create
from training.projects.refusals import ProjectRefused
from training.tests.projects.drawings import drawing, drawn_file, encoded, many_images


def folders(**numbers: range) -> dict[str, bytes]:
    """A folder for each class with drawings of these numbers."""
    return {
        f"{name}/{number}.png": drawn_file(number) for name, chosen in numbers.items() for number in chosen
    }


class ImportTestCase(SiteTestCase):
    project: Project

    @classmethod
    def setUpTestData(cls) -> None:
        super().setUpTestData()
        cls.project = create("Fruit")

    def setUp(self) -> None:
        import_worker._last = None

    def begin(self, files: dict[str, bytes], labels: str | None = None) -> ProjectImport:
        table = io.BytesIO(labels.encode()) if labels is not None else None
        return project_imports.import_archive(
            self.project, zipped(files), filename="a.zip", by=self.charlie, labels=table
        )

    def run_all(self, row: ProjectImport) -> ProjectImport:
        with self.captureOnCommitCallbacks(execute=True):
            for _ in range(20):
                if not import_slice("test"):
                    break
        row.refresh_from_db()
        return row

    def bring_in(self, files: dict[str, bytes], labels: str | None = None) -> ProjectImport:
        return self.run_all(self.begin(files, labels))

    def counts(self) -> dict[str, int]:
        return images.counts_by_name(self.project)

    def refusal(self, code: str, files: dict[str, bytes], labels: str | None = None) -> str:
        with self.assertRaises((ProjectRefused, Rejected)) as caught:
            self.begin(files, labels)
        refusal: Any = caught.exception
        self.assertEqual(refusal.code, code)
        self.assertFalse(ProjectImport.objects.exists())
        self.assertEqual(class_names(self.project), [])
        return str(refusal.detail)


def photo_of(batch: Batch, number: int) -> Photo:
    photo = batch.items.get(number=number).photo
    assert photo is not None
    return photo


class FoldersTestCase(SiteTestCase):
    def test_folders_around_all_and_those_of_splits_are_looked_through(self) -> None:
        for names, found in (
            (["cat/1.jpg", "dog/2.jpg"], ["cat", "dog"]),
            (["my/photos/cat/1.jpg", "my/photos/dog/2.jpg"], ["cat", "dog"]),
            (["cat/1.jpg", "cat/2.jpg"], ["cat", "cat"]),
            (["my/cat/1.jpg"], ["cat"]),
            (["train/cat/1.jpg", "test/dog/2.jpg"], ["cat", "dog"]),
            (["set/Train/cat/1.jpg", "set/Train/dog/2.jpg"], ["cat", "dog"]),
            (["train/1.jpg", "test/2.jpg"], ["train", "test"]),
            (["cat/2020/1.jpg", "dog/1.jpg"], ["cat", "dog"]),
            (["set/cat/1.jpg", "set/dog/2.jpg", "set/readme.txt"], ["cat", "dog", ""]),
            (["cat/1.jpg", "dog/1.jpg", "3.jpg"], ["cat", "dog", ""]),
            (["1.jpg", "2.jpg"], ["", ""]),
            (["/cat//1.jpg", "/dog//1.jpg"], ["cat", "dog"]),
        ):
            self.assertEqual(class_folders(names), found, names)


class ArchiveTestCase(ImportTestCase):
    def test_a_folder_is_a_class(self) -> None:
        row = self.bring_in(folders(apple=range(6), pear=range(10, 14)))
        self.assertEqual((row.state, row.added, row.failed, row.duplicates), ("done", 10, 0, 0))
        self.assertEqual(self.counts(), {"apple": 6, "pear": 4})
        self.assertIsNotNone(row.finished_at)
        image = ProjectImage.objects.filter(filename="0.png").get()
        self.assertEqual((image.width, image.height, image.label.name), (96, 72, "apple"))
        self.assertEqual(image.imported_by, row)

    def test_small_images_are_kept_exactly_and_large_ones_at_512(self) -> None:
        large = encoded(drawing(1, (1200, 800)), "JPEG", quality=95)
        self.bring_in({"a/small.png": drawn_file(2), "a/large.jpg": large})
        small = ProjectImage.objects.get(filename="small.png")
        with small.file.open("rb") as file, Image.open(file) as image:
            self.assertEqual(image.convert("RGB").tobytes(), drawing(2).tobytes())
        stored = ProjectImage.objects.get(filename="large.jpg")
        with stored.file.open("rb") as file, Image.open(file) as image:
            self.assertEqual((image.format, image.size), ("JPEG", (512, 341)))

    def test_nothing_of_the_original_stays(self) -> None:
        row = self.begin(folders(apple=range(2)))
        names = [str(row.archive.name), str(row.labels.name)]
        self.assertTrue(all(map(default_storage.exists, names)))
        row = self.run_all(row)
        self.assertEqual((row.archive.name, row.labels.name), ("", ""))
        self.assertEqual([name for name in names if default_storage.exists(name)], [])

    def test_the_same_image_twice_is_one(self) -> None:
        self.bring_in(folders(apple=range(3)))
        row = self.bring_in({**folders(apple=range(2, 5)), "apple/again.png": drawn_file(4)})
        self.assertEqual((row.added, row.duplicates, row.failed), (2, 2, 0))
        self.assertEqual(self.counts(), {"apple": 5})

    def test_the_same_image_under_two_classes_says_what_to_do(self) -> None:
        row = self.bring_in(
            {"apple/1.png": drawn_file(1), "pear/2.png": drawn_file(1), "pear/3.png": drawn_file(3)}
        )
        self.assertEqual((row.state, row.added, row.failed), ("done", 2, 1))
        (error,) = row.errors
        self.assertEqual((error["filename"], error["code"]), ("pear/2.png", "two_classes"))
        self.assertIn("class 'apple'", error["detail"])
        self.assertIn("Decide", error["detail"])

    def test_a_bad_file_is_no_reason_for_the_others(self) -> None:
        row = self.bring_in(
            {
                **folders(apple=range(2)),
                "apple/notes.txt": b"hello",
                "apple/cut.jpg": image_bytes()[:400],
                "apple/empty.png": b"",
                "../x/evil.png": drawn_file(8),
                "readme.md": b"# photos",
            }
        )
        self.assertEqual((row.state, row.added, row.failed), ("done", 2, 5))
        codes = {error["filename"]: error["code"] for error in row.errors}
        self.assertEqual(codes["apple/notes.txt"], "not_an_image")
        self.assertEqual(codes["apple/cut.jpg"], "truncated")
        self.assertEqual(codes["apple/empty.png"], "empty")
        self.assertEqual(codes["../x/evil.png"], "unsafe_path")
        self.assertEqual(codes["readme.md"], "no_class")
        for error in row.errors:
            self.assertGreater(len(error["detail"]), 20)

    def test_only_the_first_thousand_errors_are_kept_and_all_counted(self) -> None:
        with mock.patch.object(import_worker, "ERRORS_KEPT", 3):
            row = self.bring_in({"a/1.png": drawn_file(1), **{f"a/{n}.txt": b"x" for n in range(8)}})
        self.assertEqual((row.failed, len(row.errors), row.state), (8, 3, "done"))

    def test_where_nothing_could_be_used_it_has_failed(self) -> None:
        row = self.bring_in({"a/1.txt": b"x", "b/2.txt": b"y"})
        self.assertEqual((row.state, row.failed), ("failed", 2))
        self.assertIn("each file has an error", row.error_detail)
        self.assertEqual(class_names(self.project), [])

    def test_it_speaks_the_requesters_language(self) -> None:
        type(self.charlie).objects.filter(pk=self.charlie.pk).update(language="vi")
        row = self.bring_in({**folders(apple=range(1)), "apple/x.txt": b"x"})
        self.assertNotIn("This file is not", row.errors[0]["detail"])


class NamesTestCase(ImportTestCase):
    def test_names_of_every_kind_are_data(self) -> None:
        names = ["<b>", "🐈", "Cà phê", "a'b", "100 %", "=1+1"]
        row = self.bring_in({f"{name}/1.png": drawn_file(n) for n, name in enumerate(names)})
        self.assertEqual((row.added, row.failed), (6, 0))
        self.assertEqual(set(class_names(self.project)), set(names))

    def test_a_long_name_is_refused_file_by_file(self) -> None:
        row = self.bring_in({f"{'x' * 300}/1.png": drawn_file(1), "ok/2.png": drawn_file(2)})
        self.assertEqual((row.added, row.failed), (1, 1))
        self.assertEqual(row.errors[0]["code"], "class_name")
        self.assertIn("shorten", row.errors[0]["detail"])

    def test_reserved_words_are_refused(self) -> None:
        row = self.bring_in({"Unknown/1.png": drawn_file(1), "ok/2.png": drawn_file(2)})
        self.assertIn("reserved", row.errors[0]["detail"])

    def test_names_that_differ_by_case_or_accents_are_one_class_and_that_is_said(self) -> None:
        row = self.bring_in(
            {
                "Cafe\u0301/1.png": drawn_file(1),
                "caf\u00e9/2.png": drawn_file(2),
                "CAT/3.png": drawn_file(3),
                "cat/4.png": drawn_file(4),
            }
        )
        self.assertEqual(self.counts(), {"Caf\u00e9": 2, "CAT": 2})
        self.assertIn("'CAT', 'cat' count as one class", row.error_detail)
        self.assertEqual(row.state, "done")

    def test_images_join_the_class_that_is_there(self) -> None:
        self.bring_in(folders(Apple=range(2)))
        self.bring_in(folders(APPLE=range(5, 7)))
        self.assertEqual(self.counts(), {"Apple": 4})

    def test_an_archive_without_folders_says_what_to_do(self) -> None:
        said = self.refusal("no_folders", {"1.png": drawn_file(1), "2.png": drawn_file(2)})
        self.assertIn("folder named like the class", said)

    def test_only_bad_names_are_refused_at_once(self) -> None:
        self.assertIn("shorten", self.refusal("class_name", {f"{'x' * 300}/1.png": drawn_file(1)}))

    def test_too_many_classes_say_so(self) -> None:
        said = self.refusal("too_many_classes", {f"class{n}/1.png": b"x" for n in range(1_001)})
        self.assertIn("1001 classes", said)

    def test_one_class_alone_comes_in_and_is_warned_of(self) -> None:
        self.assertEqual(self.bring_in(folders(apple=range(2))).state, "done")
        self.assertIn("second", " ".join(map(str, images.warnings(self.project))))

    def test_cifar10_takes_none(self) -> None:
        self.project = Project.objects.get(pk=DEFAULT_PROJECT)
        with self.assertRaises(ProjectRefused):
            self.begin(folders(cat=range(2)))


class LabelsTestCase(ImportTestCase):
    FILES = {f"img/{n}.png": drawn_file(n) for n in range(4)}

    def test_a_table_gives_the_classes(self) -> None:
        row = self.bring_in(self.FILES, "filename,label\n0.png,Red apple\n1.png,pear\nimg/2.png,PEAR\n")
        self.assertEqual(self.counts(), {"Red apple": 1, "pear": 2})
        self.assertEqual([e["code"] for e in row.errors], ["no_label"])

    def test_one_that_matches_nothing_says_so(self) -> None:
        said = self.refusal("no_match", self.FILES, "filename,label\nx.png,apple\ny.png,pear\n")
        self.assertIn("'x.png'", said)
        self.assertIn("img/0.png", said)

    def test_one_that_is_no_table_says_so(self) -> None:
        self.refusal("truth_invalid", self.FILES, "")
        self.refusal("truth_invalid", self.FILES, "0.png\n1.png\n")

    def test_bad_archives_say_so(self) -> None:
        for content, code in ((b"hello", "not_an_archive"), (b"PK\x03\x04", "archive_damaged")):
            with self.assertRaises(Rejected) as caught:
                project_imports.import_archive(
                    self.project, io.BytesIO(content), filename="a.zip", by=self.charlie
                )
            self.assertEqual(caught.exception.code, code)
        self.refusal("archive_empty", {})


class WorkTestCase(ImportTestCase):
    def test_it_goes_on_where_a_lost_worker_was(self) -> None:
        row = self.begin(folders(apple=range(12)))
        with mock.patch.object(import_worker, "GROUP", 4):
            real, calls = import_worker._Work._commit, Counter[str]()

            def dies(work, group):
                calls["n"] += 1
                if calls["n"] == 2:
                    store(work.row.project, [picture for _p, picture in group.pictures])
                    raise SystemExit  # as a kill: files are there, rows are not
                real(work, group)

            with mock.patch.object(import_worker._Work, "_commit", dies), self.assertRaises(SystemExit):
                import_slice("first")
            row.refresh_from_db()
            self.assertEqual((row.state, row.cursor, row.added), ("running", 4, 4))
            self.assertEqual(import_slice("second"), 0)  # its lease still holds
            ProjectImport.objects.update(lease_expires_at=timezone.now() - timedelta(seconds=1))
            row = self.run_all(row)
        self.assertEqual((row.state, row.added, row.duplicates, row.failed), ("done", 12, 0, 0))
        self.assertEqual(self.project.images.count(), 12)
        for image in self.project.images.all():
            self.assertTrue(default_storage.exists(str(image.file.name)))

    def test_a_file_at_which_workers_are_lost_is_passed_over_at_last(self) -> None:
        row = self.begin(folders(apple=range(5)))
        real = training_copy_isolated
        bad = drawn_file(2)

        def kills(content, **more):
            if content == bad:
                raise SystemExit
            return real(content, **more)

        losses = 0
        with mock.patch.object(import_worker, "training_copy_isolated", kills):
            for _ in range(10):
                try:
                    with self.captureOnCommitCallbacks(execute=True):
                        import_slice("test")
                except SystemExit:
                    losses += 1
                ProjectImport.objects.filter(state="running").update(
                    lease_expires_at=timezone.now() - timedelta(seconds=1)
                )
        row.refresh_from_db()
        self.assertEqual((row.state, row.added, row.failed), ("done", 4, 1))
        self.assertEqual(row.errors[0]["code"], "worker_lost")
        self.assertLessEqual(losses, 3)

    def test_a_cancelled_one_leaves_nothing(self) -> None:
        self.bring_in(folders(apple=range(2)))
        row = self.begin(folders(apple=range(10, 14), pear=range(20, 24)))
        with (
            mock.patch.object(import_worker, "GROUP", 2),
            mock.patch.object(import_worker, "SLICE_SECONDS", 0),
        ):
            for _ in range(3):
                import_slice("test")
        row.refresh_from_db()
        self.assertGreater(row.added, 0)
        names = [*row.images.values_list("file", flat=True), row.archive.name]
        with self.captureOnCommitCallbacks(execute=True):
            self.assertTrue(project_imports.cancel(row))
        self.assertEqual(self.counts(), {"apple": 2})
        self.assertEqual([name for name in names if default_storage.exists(name)], [])
        self.assertEqual(row.state, "cancelled")
        self.assertEqual(import_slice("test"), 0)
        self.assertFalse(project_imports.cancel(row))

    def test_a_worker_that_was_frozen_writes_nothing_once_it_is_cancelled(self) -> None:
        row = self.begin(folders(apple=range(6)))
        real = import_worker._Work._commit

        def late(work, group):
            project_imports.cancel(ProjectImport.objects.get(pk=row.pk))
            real(work, group)

        with (
            self.captureOnCommitCallbacks(execute=True),
            mock.patch.object(import_worker._Work, "_commit", late),
        ):
            self.assertEqual(import_slice("test"), 0)
        self.assertFalse(self.project.images.exists())
        self.assertEqual(class_names(self.project), [])
        folder = default_storage.path(f"projects/{self.project.pk}")
        self.assertEqual([path for path in Path(folder).rglob("*") if path.is_file()], [])

    def test_while_the_store_is_away_it_waits_uncharged(self) -> None:
        row = self.begin(folders(apple=range(3)))
        with mock.patch.object(import_worker, "store", side_effect=StorageUnavailable("away")):
            self.assertEqual(import_slice("test"), 0)
        row.refresh_from_db()
        self.assertEqual((row.state, row.attempt, row.cursor), ("queued", 0, 0))
        self.assertEqual(self.run_all(row).added, 3)

    def test_a_full_disk_ends_it_with_that_reason(self) -> None:
        row = self.begin(folders(apple=range(3)))
        with (
            mock.patch.object(import_worker, "store", side_effect=OSError(28, "No space left")),
            self.captureOnCommitCallbacks(execute=True),
        ):
            import_slice("test")
        row.refresh_from_db()
        self.assertEqual(row.state, "failed")
        self.assertIn("no space left", row.error_detail)

    def test_an_archive_that_is_gone_ends_it_with_that_reason(self) -> None:
        row = self.begin(folders(apple=range(3)))
        default_storage.delete(str(row.archive.name))
        row = self.run_all(row)
        self.assertEqual(row.state, "failed")
        self.assertIn("Upload it again", row.error_detail)

    @override_settings(MAX_ATTEMPTS=1)
    def test_one_that_lost_too_many_workers_fails(self) -> None:
        row = self.begin(folders(apple=range(3)))
        ProjectImport.objects.update(
            state="running", attempt=1, lease_expires_at=timezone.now() - timedelta(seconds=1)
        )
        with self.captureOnCommitCallbacks(execute=True):
            import_worker.QUEUE.recover()
        row.refresh_from_db()
        self.assertEqual(row.state, "failed")
        self.assertIn("lost 1 times", row.error_detail)

    def test_its_queries_do_not_grow_with_the_project(self) -> None:
        found = []
        for size, first in ((0, 0), (3_000, 100)):
            if size:
                many_images(self.project, list(self.project.classes.all()), size)
            self.begin(folders(apple=range(first, first + 20)))
            with CaptureQueriesContext(
                connection,
            ) as queries:
                import_slice("test")
            found.append(len(queries))
        self.assertLessEqual(found[1], found[0])


class PhotosTestCase(ImportTestCase):
    def labelled_batch(self, owner=None) -> Batch:
        batch = Batch.objects.create(
            owner=owner or self.charlie,
            project=self.project,
            filename="b.zip",
            sha256="0" * 64,
            size=1,
            state="done",
        )
        for number, (colour, truth) in enumerate((("tomato", "apple"), ("gold", "pear"), ("navy", ""))):
            photo = self.upload(owner or self.charlie, colour=colour)
            Photo.objects.filter(pk=photo.pk).update(project=self.project)
            BatchItem.objects.create(
                batch=batch, number=number, name=f"p{number}.jpg", truth=truth, status="stored", photo=photo
            )
        return batch

    def test_a_batch_with_labels_comes_in(self) -> None:
        batch = self.labelled_batch()
        row = self.run_all(project_imports.import_batch(self.project, batch, by=self.charlie))
        self.assertEqual((row.state, row.added), ("done", 2))
        self.assertEqual(self.counts(), {"apple": 1, "pear": 1})
        photo = photo_of(batch, 0)
        self.assertEqual(ProjectImage.objects.get(label__name="apple").photo, photo.pk)

    def test_another_persons_batch_does_not(self) -> None:
        with self.assertRaises(ProjectRefused):
            project_imports.import_batch(self.project, self.labelled_batch(self.alice), by=self.charlie)

    def test_a_photo_that_is_deleted_takes_its_image_along(self) -> None:
        batch = self.labelled_batch()
        self.run_all(project_imports.import_batch(self.project, batch, by=self.charlie))
        gone, stays = photo_of(batch, 0), photo_of(batch, 1)
        history.delete_photos(self.charlie, [gone.pk])
        self.assertEqual(list(self.project.images.values_list("photo", flat=True)), [stays.pk])
        history.remove_photos(Photo.objects.filter(pk=stays.pk))
        self.assertFalse(self.project.images.exists())

    def test_one_that_is_deleted_meanwhile_is_told(self) -> None:
        batch = self.labelled_batch()
        row = project_imports.import_batch(self.project, batch, by=self.charlie)
        history.delete_photos(self.charlie, [photo_of(batch, 0).pk])
        row = self.run_all(row)
        self.assertEqual((row.added, row.failed, row.errors[0]["code"]), (1, 1, "photo_gone"))

    def test_withdrawn_consent_takes_all_images_of_a_person_along(self) -> None:
        batch = self.labelled_batch()
        self.run_all(project_imports.import_batch(self.project, batch, by=self.charlie))
        set_consent(self.charlie, False)
        self.assertFalse(self.project.images.exists())


class CorrectionsTestCase(ImportTestCase):
    def accepted(self, owner, label: str, colour: str) -> Photo:
        photo = self.upload(owner, colour=colour)
        answer(photo, "dog")
        correct(photo, owner, label)
        accept(photo, label, by=self.charlie)
        Photo.objects.filter(pk=photo.pk).update(project=self.project)
        return photo

    def setUp(self) -> None:
        super().setUp()
        classes.add(self.project, ["cat", "frog"])
        for person in (self.alice, self.bob):
            set_consent(person, True)

    def test_accepted_corrections_come_in(self) -> None:
        photo = self.accepted(self.alice, "cat", "tomato")
        self.accepted(self.bob, "unknown", "gold")
        row = self.run_all(project_imports.import_corrections(self.project, by=self.charlie))
        self.assertEqual((row.state, row.added), ("done", 1))
        image = self.project.images.get()
        self.assertEqual((image.label.name, image.photo), ("cat", photo.pk))
        with self.assertRaises(ProjectRefused) as caught:
            project_imports.import_corrections(self.project, by=self.charlie)
        self.assertEqual(caught.exception.code, "no_corrections")

    def test_consent_that_is_withdrawn_meanwhile_counts(self) -> None:
        self.accepted(self.alice, "cat", "tomato")
        self.accepted(self.bob, "frog", "gold")
        row = project_imports.import_corrections(self.project, by=self.charlie)
        set_consent(self.alice, False)
        row = self.run_all(row)
        self.assertEqual((row.added, row.failed), (1, 1))
        set_consent(self.bob, False)
        self.assertFalse(self.project.images.exists())

    def test_photos_of_other_projects_stay_where_they_are(self) -> None:
        photo = self.accepted(self.alice, "cat", "tomato")
        Photo.objects.filter(pk=photo.pk).update(project=DEFAULT_PROJECT)
        with self.assertRaises(ProjectRefused):
            project_imports.import_corrections(self.project, by=self.charlie)

    def test_an_id_that_is_no_photo_is_told(self) -> None:
        self.assertEqual(project_imports.usable_photos("batch", self.project, [uuid.uuid4()]), set())
