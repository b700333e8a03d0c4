"""Frozen dataset versions: the same content is the same version, and withdrawn photos stay out."""

import io
import uuid
from pathlib import Path

import numpy as np
import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from PIL import Image

from cifarsite.test import SiteTestCase
from training.data import dataset_versions, withdrawals
from training.engine.data.cifar10 import CLASS_NAMES, DatasetError, load_cifar10, split_training
from training.engine.data.preprocessing import hash_pixels
from training.models import DatasetVersion

CIFAR = "c" * 64


def picture(seed: int) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def stored_row(seed: int, label: str = "cat") -> dict[str, str]:
    """A photo's row, with its file in the storage."""
    image, buffer = picture(seed), io.BytesIO()
    image.save(buffer, "PNG")
    name = default_storage.save(f"examples/{uuid.uuid4()}.png", ContentFile(buffer.getvalue()))
    return {
        "source": str(uuid.UUID(int=seed)),
        "file": name,
        "label": label,
        "sha256": hash_pixels(image),
    }


class DatasetTestCase(SiteTestCase):
    def freeze(self, rows: list[dict[str, str]], cifar10: str = CIFAR) -> DatasetVersion:
        return dataset_versions.freeze("frozen", rows, by=self.charlie, cifar10=cifar10)


class Freezing(DatasetTestCase):
    def test_the_order_of_the_rows_does_not_matter(self) -> None:
        rows = [stored_row(n) for n in range(5)]
        self.assertEqual(self.freeze(rows), self.freeze(rows[::-1]))
        self.assertEqual(DatasetVersion.objects.count(), 1)

    def test_another_photo_makes_another_version(self) -> None:
        rows = [stored_row(n) for n in range(5)]
        self.assertNotEqual(self.freeze(rows).sha256, self.freeze(rows[1:]).sha256)
        self.assertNotEqual(self.freeze(rows).sha256, self.freeze(rows, cifar10="d" * 64).sha256)

    def test_the_counts_add_up(self) -> None:
        version = self.freeze([stored_row(n, CLASS_NAMES[n % 3]) for n in range(30)])
        counts = version.manifest["counts"]
        self.assertEqual(sum(counts["train"].values()) + sum(counts["measure"].values()), 30)
        self.assertGreater(sum(counts["measure"].values()), 0)
        self.assertEqual(version.images.count(), 30)

    def test_a_photo_stays_on_its_side_from_version_to_version(self) -> None:
        rows = [stored_row(n) for n in range(20)]
        first = {r["source"]: r["part"] for r in self.freeze(rows[:10]).manifest["added"]}
        second = {r["source"]: r["part"] for r in self.freeze(rows).manifest["added"]}
        self.assertEqual(first, {source: second[source] for source in first})

    def test_equal_pixels_count_once_and_not_at_all_in_dispute(self) -> None:
        same, other = stored_row(1), stored_row(1)
        other["source"] = str(uuid.UUID(int=99))
        self.assertEqual(len(self.freeze([same, other, stored_row(2)]).manifest["added"]), 2)
        other["label"] = "dog"
        self.assertEqual(len(self.freeze([same, other, stored_row(2)]).manifest["added"]), 1)

    def test_nothing_to_freeze_is_said_so(self) -> None:
        with self.assertRaisesMessage(dataset_versions.NothingToFreeze, "review"):
            self.freeze([])
        with self.assertRaisesMessage(dataset_versions.NothingToFreeze, "No model is installed yet"):
            self.freeze([stored_row(1)], cifar10="")


class Reading(DatasetTestCase):
    def test_photos_train_or_measure_never_both(self) -> None:
        rows = [stored_row(n, CLASS_NAMES[n % 10]) for n in range(60)]
        version = self.freeze(rows)
        x_train, y_train = dataset_versions.added_images(version, dataset_versions.TRAIN)
        x_measure, y_measure = dataset_versions.added_images(version, dataset_versions.MEASURE)
        self.assertEqual(len(x_train) + len(x_measure), 60)
        self.assertGreater(len(x_measure), 0)
        self.assertEqual((x_train.shape[1:], x_train.dtype, y_train.dtype), ((32, 32, 3), np.uint8, np.uint8))
        seeds = {np.asarray(picture(n)).tobytes(): n % 10 for n in range(60)}
        for images, labels in ((x_train, y_train), (x_measure, y_measure)):
            self.assertEqual([seeds[image.tobytes()] for image in images], labels.tolist())

    def test_withdrawn_photos_are_left_out_of_old_versions_too(self) -> None:
        version = self.freeze([stored_row(n) for n in range(10)])
        before = sum(len(dataset_versions.added_images(version, part)[0]) for part in ("train", "measure"))
        self.assertEqual(withdrawals.withdraw([uuid.UUID(int=3)]), 1)
        self.assertEqual(withdrawals.withdraw([uuid.UUID(int=3)]), 0)
        after = sum(len(dataset_versions.added_images(version, part)[0]) for part in ("train", "measure"))
        self.assertEqual((before, after), (10, 9))

    def test_a_file_that_is_gone_is_left_out(self) -> None:
        rows = [stored_row(n) for n in range(10)]
        version = self.freeze(rows)
        default_storage.delete(rows[0]["file"])
        self.assertEqual(
            sum(len(dataset_versions.added_images(version, p)[0]) for p in ("train", "measure")), 9
        )

    def test_a_file_that_was_changed_is_refused(self) -> None:
        rows = [stored_row(n) for n in range(3)]
        version = self.freeze(rows)
        for row in rows:
            buffer = io.BytesIO()
            picture(77).save(buffer, "PNG")
            default_storage.delete(row["file"])
            default_storage.save(row["file"], ContentFile(buffer.getvalue()))
        with self.assertRaisesMessage(DatasetError, "sha256 differs"):
            for part in ("train", "measure"):
                dataset_versions.added_images(version, part)

    def test_no_added_photo_is_an_empty_array(self) -> None:
        version = self.freeze([stored_row(1)])
        withdrawals.withdraw([uuid.UUID(int=1)])
        for part in ("train", "measure"):
            images, labels = dataset_versions.added_images(version, part)
            self.assertEqual((images.shape, labels.shape), ((0, 32, 32, 3), (0,)))
        self.assertIsNone(dataset_versions.measuring_set(version))


class Loading(DatasetTestCase):
    @pytest.fixture(autouse=True)
    def _folder(self, synthetic_cifar10: Path) -> None:
        self.folder = synthetic_cifar10

    def test_photos_come_after_cifars_and_validation_stays_cifars(self) -> None:
        cifar = load_cifar10(self.folder)
        version = self.freeze([stored_row(n, "ship") for n in range(60)], cifar10=cifar.sha256)
        data = dataset_versions.load(version, cifar, fraction=0.1, seed=1)
        plain = split_training(cifar, 0.1, 1)
        added = version.manifest["counts"]["train"]["ship"]
        self.assertEqual(len(data.x_train), len(plain.x_train) + added)
        self.assertEqual(data.y_train[-added:].tolist(), [CLASS_NAMES.index("ship")] * added)
        np.testing.assert_array_equal(data.x_val, plain.x_val)
        measured = dataset_versions.measuring_set(version)
        assert measured is not None
        self.assertEqual(len(measured.labels), 60 - added)

    def test_another_copy_of_cifar_is_refused(self) -> None:
        version = self.freeze([stored_row(1)])
        with self.assertRaisesMessage(DatasetError, "another copy"):
            dataset_versions.load(version, load_cifar10(self.folder), fraction=0.1, seed=1)
