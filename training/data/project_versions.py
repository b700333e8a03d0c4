"""Dataset versions of projects: a project's classes and images, frozen and hashed.

The manifest is ``{"project", "classes": [names in order], "images": [[sha256, class number, split,
file], ...]}``; an image that was made from a person's photo has the photo's id as a fifth entry.
Manifests are long: whoever lists versions defers them.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from uuid import UUID

import numpy as np
from django.core.files.storage import default_storage
from django.db import transaction
from django.utils import timezone
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from cifarsite.core.storage import StorageUnavailable
from training.engine.data.cifar10 import DatasetError
from training.models import DEFAULT_PROJECT, DatasetImage, DatasetVersion, Project, ProjectImage
from training.projects.access import class_names
from training.projects.images import counts_by_name, missing_for_training

if TYPE_CHECKING:
    from training.engine.data.labelled_images import LabelledImages

logger = logging.getLogger(__name__)


def has_images(project: str) -> bool:
    return ProjectImage.objects.filter(project=project).exists()


def missing(project: Project | str) -> str:
    """What a project lacks for training now, see ``missing_for_training``."""
    slug = project if isinstance(project, str) else project.pk
    return missing_for_training(slug, counts_by_name(slug))


def freeze(project: Project | str, *, by: Any = None) -> DatasetVersion:
    """Make a version of a project's classes and images as they are now; the same content gives the same
    version.

    Args:
        by: the person who asks for it, or None.

    Raises:
        DatasetError: there are too few classes or images; says what is missing.
    """
    slug = project if isinstance(project, str) else project.pk
    classes = class_names(slug)
    numbers = {name: number for number, name in enumerate(classes)}
    rows = ProjectImage.objects.filter(project=slug).order_by("sha256")
    images: list[list[Any]] = []
    sources: list[UUID] = []
    columns = ("sha256", "label__name", "split", "file", "photo")
    for sha256, label, split, file, photo in rows.values_list(*columns).iterator(chunk_size=10_000):
        # A class that was made since is not in this version, nor are its images.
        if label in numbers:
            images.append([sha256, numbers[label], split, file, *([str(photo)] if photo else [])])
            sources += [photo] if photo else []
    counts = Counter(row[1] for row in images)
    if lacking := missing_for_training(slug, {name: counts[number] for name, number in numbers.items()}):
        raise DatasetError(lacking)
    manifest = {"project": slug, "classes": classes, "images": images}
    canonical = json.dumps(manifest, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    sha256 = hashlib.sha256(canonical.encode()).hexdigest()
    called = f"{slug} {timezone.now():%Y-%m-%d %H:%M}"
    with transaction.atomic():
        version, created = DatasetVersion.objects.get_or_create(
            sha256=sha256,
            defaults={"project_id": slug, "name": called[:100], "manifest": manifest, "created_by": by},
        )
        if created:
            DatasetImage.objects.bulk_create(
                [DatasetImage(dataset=version, source=photo) for photo in dict.fromkeys(sources)],
                batch_size=500,
            )
    return version


def is_own(version: DatasetVersion) -> bool:
    """Was it frozen from a project's images? Others are CIFAR-10 and corrected photos."""
    if version.project_id != DEFAULT_PROJECT:
        return True
    # The database looks: a manifest may be long.
    return DatasetVersion.objects.filter(pk=version.pk, manifest__has_key="images").exists()


def standing(version: DatasetVersion) -> list[list[Any]]:
    """The manifest's rows that may still be used, in its order.

    Left out are images that were removed from the project since, and those made from photos that were
    withdrawn.
    """
    kept = set(ProjectImage.objects.filter(project=version.project_id).values_list("sha256", flat=True))
    withdrawn = version.images.exclude(withdrawn_at=None).values_list("source", flat=True)
    gone = {str(source) for source in withdrawn}
    rows = version.manifest["images"]
    return [row for row in rows if row[0] in kept and (len(row) < 5 or row[4] not in gone)]


def labelled_images(version: DatasetVersion) -> LabelledImages:
    """What a run on this version sees: the classes that were frozen and the images that still stand.

    Raises:
        DatasetError: too few are left of a class, or the version holds no images of a project. Reading one
            that is damaged or gone raises it, too.
    """
    from training.engine.data.labelled_images import LabelledImages

    if not is_own(version):
        raise DatasetError(f"'{version}' holds no images of a project: freeze a version of the project.")
    rows, classes = standing(version), version.manifest["classes"]
    left_out = len(version.manifest["images"]) - len(rows)
    sha256 = version.sha256
    if left_out:
        logger.warning("%d images of dataset '%s' were removed since: they are left out.", left_out, version)
        # What is kept of a report, such as its tiles, is found by this: other rows, another name.
        sha256 = hashlib.sha256("\n".join([sha256, *(row[0] for row in rows)]).encode()).hexdigest()
    counts = Counter(row[1] for row in rows)
    by_name = {name: counts[number] for number, name in enumerate(classes)}
    if lacking := missing_for_training(version.project_id, by_name):
        raise DatasetError(lacking)
    photos = {str(source): number for number, source in version.images.values_list("pk", "source")}
    files = [row[3] for row in rows]
    return LabelledImages(
        classes=tuple(classes),
        ids=[row[0] for row in rows],
        labels=np.array([row[1] for row in rows], np.int64),
        splits=np.array([row[2] for row in rows]),
        read=reader(files),
        project=version.project_id,
        dataset_sha256=sha256,
        photos=[photos.get(row[4], 0) if len(row) > 4 else 0 for row in rows] if photos else (),
        files=files,
    )


def reader(files: list[str]) -> Callable[[int], NDArray[np.uint8]]:
    """Reads image ``i`` of these files of the storage: uint8 [H, W, 3]."""

    def read(number: int) -> NDArray[np.uint8]:
        file = files[number]
        try:
            with default_storage.open(file, "rb") as opened, Image.open(opened) as image:
                return np.asarray(image.convert("RGB"), dtype=np.uint8)
        except StorageUnavailable:
            raise  # it passes: no file is at fault
        except (UnidentifiedImageError, OSError, SyntaxError) as error:
            raise DatasetError(
                f"The image {file} cannot be read ({error}): remove it from the project, then train again."
            ) from error

    return read
