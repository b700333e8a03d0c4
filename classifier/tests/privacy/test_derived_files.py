"""Whatever was made of a photo goes with it: by withdrawal, deletion, deletion of the account, or age."""

from __future__ import annotations

import io
import shutil
import tempfile
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
from django.conf import settings
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.test import override_settings
from django.utils import timezone
from PIL import Image

from cifarsite.test import SiteTestCase, answer, image_file
from classifier.feedback import corrections, training_photos
from classifier.images.crops import Crop
from classifier.models import Correction, Example, Explanation, Photo, User
from classifier.operations import orphaned_files, retention
from classifier.photos.history import UNDO, delete_photos, purge_deleted, restore_photos
from classifier.predictions.queue import ask_again
from classifier.privacy.account_data import delete_account
from classifier.uploads.photos import upload_photo
from training.data import dataset_versions
from training.evaluation import measuring, reports
from training.models import DatasetVersion, EvaluationReport, MeasuredPhoto, ModelVersion
from training.registry import model_store
from training.tests.evaluation.report_case import make_version

COLOURS = [f"hsl({hue}, 60%, 50%)" for hue in range(0, 360, 9)]


def store() -> set[str]:
    """The names of all files in the storage."""
    root = Path(settings.MEDIA_ROOT)
    return {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}


class DerivedFiles(SiteTestCase):
    """Alice's and Bob's photos were accepted and measure two models; each test has a store of its own."""

    folder: Path
    better: ModelVersion
    worse: ModelVersion
    photo: Photo
    others: Photo
    version: DatasetVersion
    report: EvaluationReport

    @classmethod
    def setUpClass(cls) -> None:
        cls.folder = Path(cls.enterClassContext(tempfile.TemporaryDirectory()))
        small = {"REPORT_DISTORTED_IMAGES": 10, "SYNTHETIC_OOD_IMAGES": 5}
        cls.enterClassContext(override_settings(MODELS_DIR=cls.folder, **small))
        super().setUpClass()

    @classmethod
    def setUpTestData(cls) -> None:
        super().setUpTestData()
        cls.better = make_version("tiny-better", 0, cls.folder, is_champion=True)
        cls.worse = make_version("tiny-worse", 1, cls.folder)
        base = DatasetVersion.objects.create(
            name="CIFAR-10", sha256="c" * 64, manifest={"cifar10": "c" * 64, "added": []}
        )
        ModelVersion.objects.update(dataset=base)
        cls.others, cls.photo = cls.measuring(cls.bob), cls.measuring(cls.alice)
        cls.version = training_photos.freeze(cls.charlie, "spring")
        cls.report = measuring.evaluate_on_corrections(cls.better, "spring")
        measuring.evaluate_on_corrections(cls.worse, "spring")

    def setUp(self) -> None:
        folder = Path(self.enterContext(tempfile.TemporaryDirectory())) / "store"
        shutil.copytree(settings.MEDIA_ROOT, folder)
        self.enterContext(override_settings(MEDIA_ROOT=str(folder)))

    @classmethod
    def measuring(cls, owner: User) -> Photo:
        """An accepted photo of theirs that is kept apart to measure models."""
        corrections.set_consent(owner, True)
        for colour in COLOURS:
            photo = upload_photo(owner, cast(BinaryIO, image_file(colour=colour)))
            answer(photo)
            corrections.correct(photo, owner, "dog")
            example = corrections.accept(photo, "dog", by=cls.charlie)
            taken = Example.objects.filter(sha256=example.sha256).count() > 1
            if int(example.sha256[:8], 16) % dataset_versions.MEASURED_SHARE == 0 and not taken:
                return photo
            for name in (
                photo.display.name,
                photo.thumbnail.name,
                photo.prediction.input.name,
                example.image.name,
            ):
                default_storage.delete(str(name))
            photo.delete()
        raise AssertionError("No colour gives a photo that measures.")

    def nothing_is_left(self, go: Callable[[], object], *, owners_stay: bool = False) -> None:
        """Make all that the site makes of a photo, let it go, and look through the store."""
        answered = self.photo.prediction
        ask_again(self.photo, Crop(0, 0, 0.5, 0.5))
        Explanation.objects.create(prediction=answered, pictures=b"made of it", status="done")
        folder = f"photos/{self.photo.pk.hex[:2]}/{self.photo.pk}/"
        made = store()
        own = {name for name in made if name.startswith(folder)}
        answers = {name for name in made if name.startswith("reports/")}
        # Two copies, the example, and the input of the whole and of a part of it; each model's answers.
        self.assertEqual((len(own), len(answers)), (5, 2))
        with self.captureOnCommitCallbacks(execute=True):
            go()
        gone = {name for name in own if not owners_stay or "example" in name} | answers
        self.assertEqual(store(), made - gone)
        self.assertFalse(MeasuredPhoto.objects.filter(image__source=self.photo.pk).exists())
        self.assertEqual(Explanation.objects.exists(), owners_stay)
        report = EvaluationReport.objects.get(pk=self.report.pk)
        self.assertFalse(reports.has_panels(report))
        self.assertEqual(report.accuracy, self.report.accuracy)
        self.assertEqual(len(dataset_versions.added_images(self.version, dataset_versions.MEASURE)[1]), 1)

    def row(self) -> int:
        return MeasuredPhoto.objects.get(report=self.report, image__source=self.photo.pk).row

    def sheet(self, *rows: int) -> np.ndarray:
        url = f"/models/{self.better.pk}/report/sheet.png?set={self.report.pk}"
        response = self.client.get(f"{url}&i={','.join(map(str, rows))}")
        self.assertEqual(response.status_code, 200)
        self.assertEqual(response.headers["Cache-Control"], "private, no-store")
        return np.asarray(Image.open(io.BytesIO(response.content)))

    def test_a_withdrawal_leaves_the_owners_own_files(self) -> None:
        self.nothing_is_left(lambda: corrections.set_consent(self.alice, False), owners_stay=True)
        self.assertEqual(Correction.objects.get(photo=self.photo).state, Correction.State.PROPOSED)

    def test_a_rejection_leaves_the_owners_own_files(self) -> None:
        self.nothing_is_left(lambda: corrections.reject(self.photo, by=self.charlie), owners_stay=True)

    def test_a_deleted_photo_leaves_nothing(self) -> None:
        def go() -> None:
            delete_photos(self.alice, [self.photo.pk])
            Photo.objects.filter(pk=self.photo.pk).update(deleted_at=timezone.now() - 2 * UNDO)
            purge_deleted()

        self.nothing_is_left(go)

    def test_a_deleted_account_leaves_nothing(self) -> None:
        self.nothing_is_left(lambda: delete_account(self.alice))

    def test_a_photo_that_is_too_old_leaves_nothing(self) -> None:
        def go() -> None:
            # It trains nothing any more: a reviewer sees that it is none of the ten.
            corrections.accept(self.photo, "unknown", by=self.charlie)
            Photo.objects.update(created_at=timezone.now() - timedelta(days=8))
            with override_settings(KEEP_PHOTOS_DAYS=7):
                retention.expire()

        self.nothing_is_left(go)
        self.assertTrue(Photo.objects.filter(pk=self.others.pk).exists())

    def test_no_tile_of_a_photo_is_kept_beside_it(self) -> None:
        self.assertFalse([name for name in store() if name.startswith("sets/")])

    def test_a_photo_withdrawn_while_it_is_measured_leaves_figures_alone(self) -> None:
        from training.engine.evaluation.report import measure

        images = dataset_versions.find_measuring_set("spring")
        measured = measure(model_store.predictor(self.better), images, "squash32-v1", distorted=10)
        reports.keep_files(self.better.sha256, images, measured)
        with self.captureOnCommitCallbacks(execute=True):
            corrections.set_consent(self.alice, False)
            report = reports.keep_row(self.better, images, measured)
        self.assertFalse(reports.has_panels(EvaluationReport.objects.get(pk=report.pk)))
        self.assertFalse(report.photos.filter(image__source=self.photo.pk).exists())
        self.assertFalse([name for name in store() if name.startswith("reports/")])

    def test_what_earlier_versions_kept_is_removed(self) -> None:
        for name in [*(f"sets/{n:064}/tiles-000.npy" for n in range(60)), "reports/0123/4567.npz"]:
            default_storage.save(name, ContentFile(b"old"))
        kept = {name for name in store() if name.startswith("reports/")} - {"reports/0123/4567.npz"}
        with override_settings(ORPHAN_HOURS=0):
            orphaned_files.remove_strays(orphaned_files.find_orphaned_reports())
        left = {name for name in store() if name.startswith(("reports/", "sets/"))}
        self.assertEqual(left, kept)
        self.assertEqual(len(kept), 2)

    def test_staff_alone_see_the_images(self) -> None:
        pages = [
            f"report/mistakes/?set={self.report.pk}",
            f"report/images/?set={self.report.pk}",
            f"report/images/{self.row()}/?set={self.report.pk}",
            f"compare/{self.worse.pk}/?set={self.report.pk}",
        ]
        for user, sees in ((self.charlie, True), (self.bob, False), (self.alice, False)):
            self.client.force_login(user)
            url = f"/models/{self.better.pk}/report/sheet.png?set={self.report.pk}&i={self.row()}"
            self.assertEqual(self.client.get(url).status_code, 200 if sees else 404)
            for page in pages:
                response = self.client.get(f"/models/{self.better.pk}/{page}")
                self.assertEqual(response.status_code, 200)
                if not sees or "compare" not in page:  # two models may agree on every photo
                    self.assertEqual(b"sheet.png" in response.content, sees, page)

    def test_a_sheet_shows_the_photo_while_its_owner_lets_it(self) -> None:
        self.client.force_login(self.charlie)
        row, other = self.row(), 1 - self.row()
        example = Example.objects.get(photo=self.photo)
        with example.image.open("rb") as file:
            pixels = np.asarray(Image.open(file).convert("RGB"))
        np.testing.assert_array_equal(self.sheet(row), pixels)
        shown = self.sheet(other)
        delete_photos(self.alice, [self.photo.pk])
        self.assertEqual(set(self.sheet(row).flatten().tolist()), {128})
        restore_photos(self.alice, [self.photo.pk])
        np.testing.assert_array_equal(self.sheet(row), pixels)
        np.testing.assert_array_equal(self.sheet(other), shown)
        with self.captureOnCommitCallbacks(execute=True):
            corrections.set_consent(self.alice, False)
        url = f"/models/{self.better.pk}/report/sheet.png?set={self.report.pk}&i={row}"
        self.assertEqual(self.client.get(url).status_code, 404)

    def test_a_row_beyond_the_set_is_not_found(self) -> None:
        self.client.force_login(self.charlie)
        url = f"/models/{self.better.pk}/report/sheet.png?set={self.report.pk}&i={self.report.n}"
        self.assertEqual(self.client.get(url).status_code, 404)

    def test_samples_of_the_data_are_of_cifar10_alone(self) -> None:
        self.client.force_login(self.charlie)
        name = f"sets/{self.report.dataset_sha256}/data.npy"
        packed = io.BytesIO()
        np.save(packed, np.zeros((1, 32, 32, 3), np.uint8))
        default_storage.save(name, ContentFile(packed.getvalue()))
        url = f"/models/{self.better.pk}/report/data.png?set={self.report.pk}"
        self.assertEqual(self.client.get(url).status_code, 404)

    def test_a_run_that_starts_after_a_deletion_leaves_the_photo_out(self) -> None:
        def held() -> int:
            return len(dataset_versions.added_images(self.version, dataset_versions.MEASURE)[1])

        self.assertEqual(held(), 2)
        delete_photos(self.alice, [self.photo.pk])
        self.assertEqual(held(), 1)
        restore_photos(self.alice, [self.photo.pk])
        self.assertEqual(held(), 2)

    def test_a_photo_withdrawn_while_it_was_deleted_stays_out_when_it_comes_back(self) -> None:
        delete_photos(self.alice, [self.photo.pk])
        corrections.set_consent(self.alice, False)
        restore_photos(self.alice, [self.photo.pk])
        self.assertEqual(len(dataset_versions.added_images(self.version, dataset_versions.MEASURE)[1]), 1)
