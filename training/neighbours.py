"""The nearest training images of a model: collected once by a worker, kept as a file, found again.

Only CIFAR-10's own images are in it: a photo that somebody gave for training is shown to nobody.
"""

from __future__ import annotations

import io
import logging
from collections.abc import Callable
from datetime import timedelta
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from django.conf import settings
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.db import transaction
from django.db.models import Q, QuerySet
from django.utils import timezone

from training import leases, model_store
from training.engine.data import DatasetError, find_cifar10, read_training_images, stratified_split
from training.messages import publish
from training.models import ModelVersion, NeighbourIndex
from training.storage import StorageAway

if TYPE_CHECKING:
    from training.engine.neighbours import Neighbours

logger = logging.getLogger(__name__)

Status = NeighbourIndex.Status
# After a failure: sooner nothing will have changed.
TRY_AGAIN = timedelta(hours=1)
TASK = "classifier.tasks.collect_neighbours"


class LostIndex(Exception):
    """Another worker has the row by now: this one stops."""


def training_images() -> Path | None:
    """Where CIFAR-10 lies on this host; None where it is not at hand."""
    return find_cifar10(settings.CIFAR10_DIR or None)


def request_index(version: ModelVersion) -> NeighbourIndex:
    """The model's row; a worker is woken where there was none, or where it failed a while ago."""
    index, created = NeighbourIndex.objects.get_or_create(model=version)
    failed = NeighbourIndex.objects.filter(
        pk=index.pk, status=Status.FAILED, finished_at__lt=timezone.now() - TRY_AGAIN
    )
    if created or failed.update(status=Status.QUEUED, attempt=0, error_detail=""):
        transaction.on_commit(wake)
        index.refresh_from_db()
    return index


def wake() -> None:
    publish(TASK)


def claimable() -> QuerySet[NeighbourIndex]:
    return NeighbourIndex.objects.filter(
        Q(status=Status.QUEUED) | Q(status=Status.RUNNING) & leases.lease_expired(),
        attempt__lt=settings.MAX_ATTEMPTS,
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
    while claimable().exists():
        folder = training_images()
        if folder is None:
            break  # another host's worker may have them
        rows = leases.claim(claimable().order_by("id"), worker=worker, status=Status.RUNNING)
        if not rows:
            break
        try:
            _collect(rows[0], folder, meanwhile)
        except LostIndex:
            logger.warning("Another worker collects for model %s by now.", rows[0].model_id)
        except StorageAway as error:
            leases.release(leases.owned(rows[0]), status=Status.QUEUED)
            logger.warning("Training images wait for the store of files: %s", error)
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
        StorageAway: the store of files does not answer.
    """
    index = NeighbourIndex.objects.filter(model=version, status=Status.DONE).first()
    if index is None:
        return None
    try:
        return _loaded(index.file)
    except StorageAway:
        raise
    except (OSError, ValueError, KeyError):
        # Lost or damaged: it is made anew.
        logger.exception("%s cannot be read: the training images are collected again.", index.file)
        index.delete()
        return None


def recover() -> dict[str, int]:
    """One pass of the sweeper: fail what was lost too often, wake a worker for the rest."""
    lost = NeighbourIndex.objects.filter(
        leases.lease_expired(), status=Status.RUNNING, attempt__gte=settings.MAX_ATTEMPTS
    ).update(
        status=Status.FAILED,
        claim=None,
        error_detail=f"The worker was lost {settings.MAX_ATTEMPTS} times while it collected.",
        finished_at=timezone.now(),
    )
    if claimable().filter(Q(status=Status.RUNNING) | leases.has_waited()).exists():
        wake()
    return {"neighbour_indexes_failed": lost}


def _collect(
    index: NeighbourIndex, folder: Path, meanwhile: Callable[[Callable[[], object]], object]
) -> None:
    from training.engine.neighbours import collect
    from training.engine.package import SPLIT_SEED
    from training.engine.recipes import RECIPES

    version = index.model
    predictor = model_store.predictor(version)
    images, labels = read_training_images(folder)
    recipe = RECIPES.get(version.recipe)
    fraction = recipe.validation_fraction if recipe else 0.05
    rows, _held_out = stratified_split(labels, fraction, SPLIT_SEED)
    if settings.NEIGHBOUR_IMAGES:
        rows = rows[:: -(-len(rows) // settings.NEIGHBOUR_IMAGES)]

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
    from training.engine.neighbours import Neighbours

    with default_storage.open(file, "rb") as opened:
        return Neighbours.load(io.BytesIO(opened.read()))
