"""Dataset versions: CIFAR-10 and the photos that people corrected, frozen and hashed.

A version never changes. A photo that is withdrawn or deleted later on is marked in the versions
that hold it and left out of every run from then on. One in five of the added photos, always the
same ones, measures models instead of training them.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, TypedDict
from uuid import UUID

import numpy as np
from django.core.files.storage import default_storage
from django.db import transaction
from django.utils.translation import gettext_lazy as _
from PIL import Image, UnidentifiedImageError

from cifarsite.core.storage import StorageUnavailable
from training.engine.data.cifar10 import (
    CLASS_NAMES,
    IMAGE_SHAPE,
    Cifar10,
    DatasetError,
    Images,
    Labels,
    TrainingData,
    split_training,
)
from training.engine.data.image_set import ImageSet, content_sha256
from training.engine.data.preprocessing import hash_pixels
from training.models import DatasetImage, DatasetVersion, ModelVersion

logger = logging.getLogger(__name__)

TRAIN, MEASURE = "train", "measure"
MEASURED_SHARE = 5  # one in so many
MEASURED_NAME = "Corrected photos of"


class Row(TypedDict):
    """One added photo of a manifest.

    ``source``: the photo's uuid; ``file``: its 32x32 PNG in the storage; ``label``: a class of
    CIFAR-10; ``sha256``: of the pixels; ``part``: 'train' or 'measure'.
    """

    source: str
    file: str
    label: str
    sha256: str
    part: str


class NothingToFreeze(Exception):
    """There is no version to make; the message says what is missing."""


class NothingToMeasure(Exception):
    """There are no corrected photos to measure with; the message says what to do."""


def freeze(name: str, rows: Iterable[dict[str, str]], *, by: Any, cifar10: str = "") -> DatasetVersion:
    """Make a version of CIFAR-10 and these photos; the same content gives the same version.

    Args:
        by: the person who asks for it, or None.
        rows: ``source``, ``file``, ``label``, ``sha256`` of each photo, as in ``Row``.
        cifar10: hash of the CIFAR-10 that it is to stand on; empty: the one that this site
            trained on last.

    Raises:
        NothingToFreeze: no photo is left, or no CIFAR-10 is known yet.
    """
    added = _without_doubles(rows)
    cifar10 = cifar10 or _last_cifar10()
    if not added:
        raise NothingToFreeze(_("There are no accepted corrections to train on yet: review some first."))
    if not cifar10:
        raise NothingToFreeze(
            _("No model is installed yet, so the site does not know which copy of CIFAR-10 to use.")
        )
    manifest = {"cifar10": cifar10, "added": added, "counts": count_labels(added)}
    sha256 = hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()
    with transaction.atomic():
        version, created = DatasetVersion.objects.get_or_create(
            sha256=sha256, defaults={"name": name, "manifest": manifest, "created_by": by}
        )
        if created:
            DatasetImage.objects.bulk_create(
                [DatasetImage(dataset=version, source=UUID(row["source"])) for row in added], batch_size=500
            )
    return version


def count_labels(added: Sequence[Row]) -> dict[str, dict[str, int]]:
    """How many photos of each class train and measure."""
    parts = {part: Counter(row["label"] for row in added if row["part"] == part) for part in (TRAIN, MEASURE)}
    return {part: {name: counts[name] for name in CLASS_NAMES} for part, counts in parts.items()}


def load(version: DatasetVersion, cifar: Cifar10, *, fraction: float, seed: int) -> TrainingData:
    """What a run on this version sees: the split of CIFAR-10, and the added photos to train on.

    Args:
        fraction, seed: of the split; the validation part is CIFAR-10's alone, so that models
            with and without added photos are compared on the same images.

    Raises:
        DatasetError: the version stands on another CIFAR-10, or a photo's file is damaged.
    """
    if version.manifest["cifar10"] != cifar.sha256:
        raise DatasetError(
            f"Dataset '{version}' stands on another copy of CIFAR-10 than {cifar.source}. Point "
            "CIFAR10_DIR at that copy, or train once on plain CIFAR-10 and freeze a new version."
        )
    split = split_training(cifar, fraction, seed)
    images, labels = added_images(version, TRAIN)
    return TrainingData(
        x_train=np.concatenate([split.x_train, images]),
        y_train=np.concatenate([split.y_train, labels]),
        x_val=split.x_val,
        y_val=split.y_val,
    )


def added_images(version: DatasetVersion, part: str) -> tuple[Images, Labels]:
    """The added photos that 'train' or 'measure': uint8 [N, 32, 32, 3], uint8 [N].

    Those that were withdrawn or whose file is gone are left out.

    Raises:
        DatasetError: a file holds other pixels than the manifest says.
    """
    images, labels, _rows = _added(version, part)
    return images, labels


def _added(version: DatasetVersion, part: str) -> tuple[Images, Labels, list[Row]]:
    withdrawn = set(version.images.exclude(withdrawn_at=None).values_list("source", flat=True))
    images, rows = [np.zeros((0, *IMAGE_SHAPE), np.uint8)], []
    for row in version.manifest["added"]:
        if row["part"] != part or UUID(row["source"]) in withdrawn:
            continue
        image = _read(row)
        if image is not None:
            images.append(image[None])
            rows.append(row)
    labels = np.array([CLASS_NAMES.index(row["label"]) for row in rows], dtype=np.uint8)
    return np.concatenate(images), labels, rows


def measuring_set(version: DatasetVersion) -> ImageSet | None:
    """The photos that measure, as a set to evaluate models on; None where there are none.

    Raises:
        DatasetError: see ``added_images``.
    """
    images, labels, rows = _added(version, MEASURE)
    if not rows:
        return None
    name = f"{MEASURED_NAME} {version.name}"[:100]
    numbers = {str(source): number for number, source in version.images.values_list("pk", "source")}
    return ImageSet(
        name,
        content_sha256(list(images), labels),
        images,
        labels,
        files=[row["file"] for row in rows],
        photos=[numbers[row["source"]] for row in rows],
    )


def newest_measuring_set() -> ImageSet | None:
    """The photos that measure, of the newest version that holds any; None where there are none.

    No model was trained on them, whatever version it was trained on: a photo stays on its side.

    Raises:
        DatasetError: see ``added_images``.
    """
    for version in DatasetVersion.objects.exclude(images=None).distinct():
        photos = measuring_set(version)
        if photos is not None:
            return photos
    return None


def find_measuring_set(named: str = "") -> ImageSet:
    """The photos that measure, of a version by its name or number; of the newest where none is named.

    Raises:
        NothingToMeasure: no such version, or it holds none.
        DatasetError: see ``added_images``.
    """
    if not named:
        photos = newest_measuring_set()
        if photos is None:
            raise NothingToMeasure(
                _("No dataset version holds out corrected photos for evaluation: freeze a version first.")
            )
        return photos
    versions = DatasetVersion.objects.filter(name=named)
    if not versions and named.isdecimal():
        versions = DatasetVersion.objects.filter(pk=int(named))
    version = versions.first()
    if version is None:
        known = ", ".join(DatasetVersion.objects.values_list("name", flat=True)[:20]) or _("none yet")
        raise NothingToMeasure(
            _("There is no dataset version '%(name)s'; there are: %(known)s.")
            % {"name": named, "known": known}
        )
    photos = measuring_set(version)
    if photos is None:
        raise NothingToMeasure(
            _("'%(name)s' holds out no photo for evaluation: freeze a version with more photos.")
            % {"name": version}
        )
    return photos


def _read(row: Row) -> Images | None:
    try:
        with default_storage.open(row["file"], "rb") as file, Image.open(file, formats=["PNG"]) as opened:
            image = opened.convert("RGB")
    except FileNotFoundError:
        logger.warning("%s is missing from the storage and was left out.", row["file"])
        return None
    except StorageUnavailable:
        raise  # it passes: no file is at fault
    except (UnidentifiedImageError, OSError, SyntaxError) as error:
        raise DatasetError(
            f"{row['file']} cannot be read ({error}): freeze a new dataset version."
        ) from error
    if hash_pixels(image) != row["sha256"]:
        raise DatasetError(
            f"{row['file']} is not what was frozen (its sha256 differs): freeze a new version."
        )
    return np.asarray(image, dtype=np.uint8)


def _without_doubles(rows: Iterable[dict[str, str]]) -> list[Row]:
    """Equal pixels count once, and not at all where people disagree on what they show."""
    by_pixels: dict[str, list[dict[str, str]]] = {}
    for row in sorted(rows, key=lambda row: row["source"]):
        by_pixels.setdefault(row["sha256"], []).append(row)
    added = []
    for sha256, same in by_pixels.items():
        if len({row["label"] for row in same}) == 1:
            # By the pixels, so that a photo stays on its side from version to version.
            part = MEASURE if int(sha256[:8], 16) % MEASURED_SHARE == 0 else TRAIN
            row = same[0]
            added.append(
                Row(source=row["source"], file=row["file"], label=row["label"], sha256=sha256, part=part)
            )
    return sorted(added, key=lambda row: row["source"])


def _last_cifar10() -> str:
    """Hash of the CIFAR-10 behind the newest model, one that was trained here if there is any."""
    versions = ModelVersion.objects.exclude(dataset=None).select_related("dataset")
    newest = versions.exclude(job=None).first() or versions.first()
    manifest: dict[str, Any] = newest.dataset.manifest if newest and newest.dataset else {}
    return str(manifest.get("cifar10", ""))
