"""Why did the model answer so? Asked for by a person, made by a worker, kept with the answer.

The heat maps and the pictures of the nearest training images lie in the row itself: they go when
the answer goes.
"""

from __future__ import annotations

import io
import logging
import time
from typing import TYPE_CHECKING

import numpy as np
from django.conf import settings
from django.db import transaction
from django.db.models import Q, QuerySet
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from PIL import Image

from classifier.models import Explanation, Prediction
from training import leases, model_store, neighbours
from training.engine.data import CLASS_NAMES, DatasetError, read_training_images
from training.engine.preprocessing import to_array
from training.messages import publish
from training.models import ModelVersion, NeighbourIndex
from training.storage import StorageAway

if TYPE_CHECKING:
    from training.engine.neighbours import Neighbours
    from training.engine.predictor import Predictor

logger = logging.getLogger(__name__)

Status, Found = Explanation.Status, Explanation.Neighbours
TASK = "classifier.tasks.explain"
NEAREST = 12
DIGITS = 3


def request_explanation(prediction: Prediction) -> Explanation:
    """The explanation of a finished answer, asked for where there is none or where it failed."""
    with transaction.atomic():
        explanation, created = Explanation.objects.get_or_create(prediction=prediction)
        failed = Explanation.objects.filter(pk=explanation.pk, status=Status.FAILED)
        if created or failed.update(status=Status.QUEUED, attempt=0, error_detail=""):
            transaction.on_commit(wake)
    if not created:
        explanation.refresh_from_db()
    return explanation


def wake() -> None:
    publish(TASK)


def claimable() -> QuerySet[Explanation]:
    return Explanation.objects.filter(
        Q(status=Status.QUEUED) | Q(status=Status.RUNNING) & leases.lease_expired(),
        attempt__lt=settings.MAX_ATTEMPTS,
    )


def explain_pending(worker: str) -> int:
    """Make the explanations that people wait for, the oldest first. Returns how many."""
    made = 0
    while True:
        waiting = claimable().select_related("prediction__model").order_by("id").first()
        if waiting is None:
            return made
        version = waiting.prediction.model
        try:
            # Loaded before the claim, so that loading does not eat into the lease.
            predictor = model_store.predictor(version) if version else None
        except model_store.ModelFileError as error:
            logger.exception("The model of explanation %s cannot be loaded.", waiting.pk)
            Explanation.objects.filter(pk=waiting.pk).update(status=Status.FAILED, error_detail=str(error))
            continue
        except StorageAway as error:
            logger.warning("The model cannot be fetched now, explanations wait: %s", error)
            return made
        rows = leases.claim(
            claimable().filter(pk=waiting.pk).select_related(None), worker=worker, status=Status.RUNNING
        )
        if not rows:
            continue  # another worker got there first
        try:
            _explain(rows[0], version, predictor)
        except StorageAway as error:
            # The sweeper asks again.
            leases.release(leases.owned(rows[0]), status=Status.QUEUED)
            logger.warning("An explanation waits for the store of files: %s", error)
            return made
        made += 1


def fill_in(version: ModelVersion) -> int:
    """Add the nearest training images to explanations that came before these were collected."""
    index = neighbours.load(version)
    predictor = model_store.predictor(version)
    waiting = Explanation.objects.filter(
        neighbours=Found.COLLECTING, prediction__model=version
    ).select_related("prediction")
    filled = 0
    for row in waiting.iterator(chunk_size=100):
        try:
            found = _nearest(predictor.forward(_picture(row.prediction)[None])[0][0], index)
        except OSError:
            continue  # its photo was just deleted
        filled += Explanation.objects.filter(pk=row.pk, neighbours=Found.COLLECTING).update(**found)
    return filled


def fill_in_left() -> int:
    """``fill_in`` for every model whose images are collected: what a lost worker left undone."""
    versions = ModelVersion.objects.filter(pk__in=_left().values("prediction__model"))
    return sum(fill_in(version) for version in versions)


def recover() -> dict[str, int]:
    """One pass of the sweeper: fail what was lost too often, wake a worker for the rest."""
    lost = Explanation.objects.filter(
        leases.lease_expired(), status=Status.RUNNING, attempt__gte=settings.MAX_ATTEMPTS
    ).update(status=Status.FAILED, claim=None, error_detail=str(_("The worker was lost. Ask again.")))
    failed = NeighbourIndex.objects.filter(status=NeighbourIndex.Status.FAILED).values("model")
    Explanation.objects.filter(neighbours=Found.COLLECTING, prediction__model__in=failed).update(
        neighbours=Found.FAILED
    )
    if claimable().filter(Q(status=Status.RUNNING) | leases.has_waited()).exists():
        wake()
    if _left().exists():
        neighbours.wake()
    return {"explanations_failed": lost}


def _left() -> QuerySet[Explanation]:
    """Explanations without the nearest images although these are collected."""
    ready = NeighbourIndex.objects.filter(status=NeighbourIndex.Status.DONE).values("model")
    return Explanation.objects.filter(neighbours=Found.COLLECTING, prediction__model__in=ready).order_by()


def _explain(row: Explanation, version: ModelVersion | None, predictor: Predictor | None) -> None:
    from training.engine.explain import explain

    started = time.perf_counter()
    mine = leases.owned(row).filter(status=Status.RUNNING)
    prediction = Prediction.objects.get(pk=row.prediction_id)
    if version is None or predictor is None or prediction.status != Prediction.Status.DONE:
        mine.update(status=Status.FAILED, error_detail=str(_("There is no answer to explain.")))
        return
    try:
        picture = _picture(prediction)
    except StorageAway:
        raise
    except (OSError, ValueError) as error:
        logger.warning("The model input of prediction %s cannot be read: %s", prediction.pk, error)
        mine.update(
            status=Status.FAILED, error_detail=str(_("The stored photo cannot be read. Upload it again."))
        )
        return
    names = [name for name, _text, _probability in prediction.ranked[:2]]
    maps = explain(predictor, picture, [CLASS_NAMES.index(name) for name in names])
    found = _find_neighbours(version, predictor, picture)
    mine.update(
        status=Status.DONE,
        maps={name: np.round(one, DIGITS).tolist() for name, one in zip(names, maps, strict=True)},
        seconds=time.perf_counter() - started,
        finished_at=timezone.now(),
        **found,
    )


def _picture(prediction: Prediction) -> np.ndarray:
    """The model's input, to the pixel: uint8 [H, W, 3]."""
    with prediction.input.open("rb") as file, Image.open(file, formats=["PNG"]) as image:
        return to_array(image.convert("RGB"))


def _find_neighbours(version: ModelVersion, predictor: Predictor, picture: np.ndarray) -> dict[str, object]:
    index = neighbours.load(version)
    if index is not None:
        return _nearest(predictor.forward(picture[None])[0][0], index)
    if neighbours.training_images() is None:
        return {"neighbours": Found.ABSENT}
    asked = neighbours.request_index(version)
    failed = asked.status == NeighbourIndex.Status.FAILED
    return {"neighbours": Found.FAILED if failed else Found.COLLECTING}


def _nearest(features: np.ndarray, index: Neighbours | None) -> dict[str, object]:
    """The columns of a row that tell of the nearest training images."""
    if index is None:
        return {"neighbours": Found.FAILED}
    nearest = index.nearest(features, NEAREST)
    pictures = _pictures([row for row, _label, _cosine in nearest])
    return {
        "neighbours": Found.FOUND,
        "nearest": [
            {"row": row, "label": CLASS_NAMES[label], "cosine": round(cosine, DIGITS)}
            for row, label, cosine in nearest
        ],
        "typical": index.typical,
        "pictures": pictures,
        "has_pictures": pictures is not None,
    }


def _pictures(rows: list[int]) -> bytes | None:
    """Training images side by side as a PNG; None where they are not on this host."""
    folder = neighbours.training_images()
    if folder is None:
        return None
    try:
        images, _labels = read_training_images(folder, rows)
    except DatasetError as error:
        logger.warning("The nearest training images cannot be shown: %s", error)
        return None
    file = io.BytesIO()
    Image.fromarray(np.concatenate(list(images), axis=1)).save(file, "PNG")
    return file.getvalue()
