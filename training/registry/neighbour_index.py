"""The nearest training images of a model: collected once by a worker, kept as a file, found again.

CIFAR-10's own images are in it, or those that were imported into a project: a photo that somebody gave
for training is shown to nobody.
"""

from __future__ import annotations

import io
import logging
from collections.abc import Callable, Sequence
from datetime import timedelta
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from django.conf import settings
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.db import transaction
from django.utils import timezone
from numpy.typing import NDArray
from PIL import Image

from cifarsite.core import leases
from cifarsite.core.storage import StorageUnavailable
from cifarsite.core.wakeups import publish
from training.data import cifar10_copy, project_versions
from training.engine.data.cifar10 import (
    SPLIT_SEED,
    DatasetError,
    find_cifar10,
    read_training_images,
    stratified_split,
)
from training.engine.data.labelled_images import TRAINING
from training.engine.data.preprocessing import make_inputs
from training.models import DatasetVersion, EmbeddingIndex, ModelVersion, ProjectImage
from training.registry import model_store

if TYPE_CHECKING:
    from training.engine.evaluation.nearest_neighbours import Neighbours

logger = logging.getLogger(__name__)

Status = EmbeddingIndex.Status
# After a failure: sooner nothing will have changed.
TRY_AGAIN = timedelta(hours=1)
TASK = "classifier.tasks.collect_neighbours"
# Of a project's images at most so many, evenly spread: a model takes some 20 ms for each.
MOST_OWN_IMAGES = 5_000
# Of a training image that is shown, pixels.
SHOWN_SIDE = 96


class LostIndex(Exception):
    """Another worker has the row by now: this one stops."""


def training_images() -> Path | None:
    """Where CIFAR-10 lies on this host; None where it is not at hand."""
    return find_cifar10(cifar10_copy.folder())


def are_at_hand(version: ModelVersion) -> bool:
    """Can this host read what the model was trained on? A project's images lie in the storage."""
    return trained_on_own(version) or training_images() is not None


def trained_on_own(version: ModelVersion) -> bool:
    """Was the model trained on a project's images?"""
    return version.dataset is not None and project_versions.is_own(version.dataset)


def pictures(version: ModelVersion, rows: Sequence[int]) -> list[NDArray[np.uint8]] | None:
    """Training images by the row that ``Neighbours.nearest`` names, uint8 [S, S, 3] of one size.

    Returns:
        None where they are not at hand, or one of them was removed since.

    Raises:
        StorageUnavailable: the store of files does not answer.
    """
    try:
        if trained_on_own(version):
            assert version.dataset_id is not None
            known = _manifest_rows(version.dataset_id)
            read = project_versions.reader([known[row][3] for row in rows])
            sides = (SHOWN_SIDE, SHOWN_SIDE)
            whole = make_inputs([read(place) for place in range(len(rows))], version.preprocessing)
            return [np.asarray(Image.fromarray(image).resize(sides)) for image in whole]
        folder = training_images()
        return None if folder is None else list(read_training_images(folder, rows)[0])
    except DatasetError as error:
        logger.warning("The nearest training images cannot be shown: %s", error)
        return None


def some_inputs(version: ModelVersion, count: int) -> NDArray[np.uint8] | None:
    """Model inputs of training images that may be shown, evenly spread; None where they are not at hand."""
    try:
        images: Any
        if trained_on_own(version):
            images, _labels, rows = _own_images(version)
        else:
            folder = training_images()
            if folder is None:
                return None
            rows = np.arange(0, 50_000, 500)
            images = read_training_images(folder, rows.tolist())[0]
            rows = np.arange(len(images))
        chosen = rows[:: -(-len(rows) // count)] if len(rows) else rows
        return make_inputs(images[chosen], version.preprocessing) if len(chosen) else None
    except DatasetError as error:
        logger.warning("No training images of model %s: %s", version.pk, error)
        return None


@lru_cache(maxsize=2)
def _manifest_rows(dataset: int) -> list[list[Any]]:
    found: list[list[Any]] = DatasetVersion.objects.get(pk=dataset).manifest["images"]
    return found


def _own_images(version: ModelVersion) -> tuple[_Files, NDArray[np.int64], NDArray[np.int64]]:
    """What of a project's images may be shown and was trained on: to read, labels of all, rows."""
    assert version.dataset_id is not None
    known = _manifest_rows(version.dataset_id)
    kept = ProjectImage.objects.filter(project=version.project_id, photo=None)
    standing = set(kept.values_list("sha256", flat=True))
    rows = [number for number, row in enumerate(known) if row[2] == TRAINING and row[0] in standing]
    step = -(-len(rows) // MOST_OWN_IMAGES) if rows else 1
    labels = np.array([row[1] for row in known], np.int64)
    return _Files([row[3] for row in known]), labels, np.array(rows[::step], np.int64)


class _Files:
    """Images of the storage, read when some are asked for by an array of their numbers."""

    def __init__(self, files: list[str]) -> None:
        self._read = project_versions.reader(files)

    def __getitem__(self, rows: NDArray[np.int64]) -> list[NDArray[np.uint8]]:
        return [self._read(int(row)) for row in rows]


def request_index(version: ModelVersion) -> EmbeddingIndex:
    """The model's row; a worker is woken where there was none, or where it failed a while ago."""
    index, created = EmbeddingIndex.objects.get_or_create(model=version)
    failed = EmbeddingIndex.objects.filter(
        pk=index.pk, status=Status.FAILED, finished_at__lt=timezone.now() - TRY_AGAIN
    )
    if created or failed.update(status=Status.QUEUED, attempt=0, error_detail=""):
        transaction.on_commit(wake)
        index.refresh_from_db()
    return index


def wake() -> bool:
    return publish(TASK)


def _fail_exhausted() -> int:
    return EmbeddingIndex.objects.fail_exhausted(
        status=Status.FAILED,
        error_detail=f"The worker was lost {settings.MAX_ATTEMPTS} times while it collected.",
        finished_at=timezone.now(),
    )


QUEUE = leases.Queue(
    "neighbour_indexes",
    EmbeddingIndex.objects.claimable,
    _fail_exhausted,
    wake=lambda waiting: waiting.overdue().exists() and wake(),
)


def collect_pending(
    worker: str,
    meanwhile: Callable[[Callable[[], object]], object] = lambda renew: None,
) -> int:
    """Collect the training images of models that wait for it.

    Args:
        meanwhile: called several times a second, so that people need not wait for the end; it
            calls what it is given every few seconds, to keep the lease.

    Returns:
        How many indexes were made.
    """
    made = 0
    while True:
        folder = training_images()
        waiting = EmbeddingIndex.objects.claimable().order_by("id")
        if folder is None:
            # Another host's worker may have CIFAR-10.
            waiting = waiting.filter(pk__in=[row.pk for row in waiting if trained_on_own(row.model)])
        if not waiting.exists():
            break
        rows = waiting.claim(worker=worker)
        if not rows:
            break
        try:
            _collect(rows[0], folder, meanwhile)
        except LostIndex:
            logger.warning("Another worker collects for model %s by now.", rows[0].model_id)
        except StorageUnavailable as error:
            leases.owned(rows[0]).release()
            logger.warning("Training images stay queued until the file storage responds: %s", error)
            break
        except (DatasetError, model_store.ModelFileError, OSError) as error:
            logger.exception("The training images of model %s cannot be collected.", rows[0].model_id)
            leases.owned(rows[0]).update(
                status=Status.FAILED, error_detail=str(error), finished_at=timezone.now()
            )
        else:
            made += 1
    return made


def load(version: ModelVersion) -> Neighbours | None:
    """The model's training images, kept in this process; None where they are not collected.

    Raises:
        StorageUnavailable: the store of files does not answer.
    """
    index = EmbeddingIndex.objects.filter(model=version, status=Status.DONE).first()
    if index is None:
        return None
    try:
        return _loaded(index.file)
    except StorageUnavailable:
        raise
    except (OSError, ValueError, KeyError):
        # Lost or damaged: it is made anew.
        logger.exception("%s cannot be read: the training images are collected again.", index.file)
        index.delete()
        return None


def _collect(
    index: EmbeddingIndex, folder: Path | None, meanwhile: Callable[[Callable[[], object]], object]
) -> None:
    from training.engine.evaluation.nearest_neighbours import collect
    from training.engine.recipes import RECIPES

    version = index.model
    predictor = model_store.predictor(version)
    images: Any
    labels: NDArray[Any]
    if trained_on_own(version):
        images, labels, rows = _own_images(version)
    else:
        assert folder is not None
        images, labels = read_training_images(folder)
        recipe = RECIPES.get(version.recipe)
        fraction = recipe.validation_fraction if recipe else 0.05
        rows, _held_out = stratified_split(labels, fraction, SPLIT_SEED)
    if settings.NEIGHBOUR_IMAGES and len(rows):
        rows = rows[:: -(-len(rows) // settings.NEIGHBOUR_IMAGES)]
    if not len(rows):
        raise DatasetError("None of the images that the model was trained on may be shown.")

    def renew() -> None:
        if not leases.renew(index):
            raise LostIndex

    def step(done: int) -> None:
        renew()
        leases.owned(index).update(done=done, total=len(rows))
        meanwhile(renew)

    found = collect(predictor, images, labels, rows, version.preprocessing, step)
    content = io.BytesIO()
    found.save(content)
    name = default_storage.save(f"models/{version.sha256}.neighbours.npz", ContentFile(content.getvalue()))
    changed = leases.owned(index).update(
        status=Status.DONE, file=name, error_detail="", finished_at=timezone.now()
    )
    if not changed:
        default_storage.delete(name)
        raise LostIndex


@lru_cache(maxsize=2)
def _loaded(file: str) -> Neighbours:
    from training.engine.evaluation.nearest_neighbours import Neighbours

    with default_storage.open(file, "rb") as opened:
        return Neighbours.load(io.BytesIO(opened.read()))
