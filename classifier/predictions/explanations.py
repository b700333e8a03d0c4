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
from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from PIL import Image

from cifarsite.core import leases
from cifarsite.core.storage import StorageUnavailable
from cifarsite.core.wakeups import publish
from classifier.images.inputs import read_input
from classifier.models import Explanation, Prediction
from training.engine.data.preprocessing import to_array
from training.models import DEFAULT_PROJECT, EmbeddingIndex, ModelVersion
from training.registry import model_store, neighbour_index

if TYPE_CHECKING:
    from training.engine.evaluation.nearest_neighbours import Neighbours
    from training.engine.inference.predictor import Predictor

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


def wake() -> bool:
    return publish(TASK)


def _fail_exhausted() -> int:
    return Explanation.objects.fail_exhausted(
        status=Status.FAILED, error_detail=str(_("The worker was lost. Try again."))
    )


QUEUE = leases.Queue(
    "explanations",
    Explanation.objects.claimable,
    _fail_exhausted,
    wake=lambda waiting: waiting.overdue().exists() and wake(),
)


def explain_pending(worker: str) -> int:
    """Make the explanations that people wait for, the oldest first. Returns how many."""
    made = 0
    while True:
        waiting = Explanation.objects.claimable().select_related("prediction__model").order_by("id").first()
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
        except StorageUnavailable as error:
            logger.warning("The model cannot be fetched now, explanations stay queued: %s", error)
            return made
        rows = Explanation.objects.claimable().filter(pk=waiting.pk).claim(worker=worker)
        if not rows:
            continue  # another worker got there first
        try:
            _explain(rows[0], version, predictor)
        except StorageUnavailable as error:
            # The sweeper asks again.
            leases.owned(rows[0]).release()
            logger.warning("An explanation stays queued until the file storage responds: %s", error)
            return made
        made += 1


def fill_in(version: ModelVersion) -> int:
    """Add the nearest training images to explanations that came before these were collected."""
    index = neighbour_index.load(version)
    predictor = model_store.predictor(version)
    waiting = Explanation.objects.filter(
        neighbours=Found.COLLECTING, prediction__model=version
    ).select_related("prediction")
    filled = 0
    for row in waiting.iterator(chunk_size=100):
        try:
            features = predictor.forward(_picture(row.prediction)[None])[0][0]
            found = _nearest(features, index, version)
        except StorageUnavailable:
            raise
        except OSError:
            continue  # its photo was just deleted
        filled += Explanation.objects.filter(pk=row.pk, neighbours=Found.COLLECTING).update(**found)
    return filled


def fill_in_left() -> int:
    """``fill_in`` for every model whose images are collected: what a lost worker left undone."""
    versions = ModelVersion.objects.filter(pk__in=_left().values("prediction__model"))
    return sum(fill_in(version) for version in versions)


def check_neighbours() -> dict[str, int]:
    """The sweeper's part: settle explanations whose nearest images could not be, or are, collected."""
    failed = EmbeddingIndex.objects.filter(status=EmbeddingIndex.Status.FAILED).values("model")
    without = Explanation.objects.filter(neighbours=Found.COLLECTING, prediction__model__in=failed).update(
        neighbours=Found.FAILED
    )
    if _left().exists():
        neighbour_index.wake()
    return {"explanations_without_neighbours": without}


def _left() -> QuerySet[Explanation]:
    """Explanations without the nearest images although these are collected."""
    ready = EmbeddingIndex.objects.filter(status=EmbeddingIndex.Status.DONE).values("model")
    return Explanation.objects.filter(neighbours=Found.COLLECTING, prediction__model__in=ready).order_by()


def _explain(row: Explanation, version: ModelVersion | None, predictor: Predictor | None) -> None:
    from training.engine.evaluation.occlusion import explain

    started = time.perf_counter()
    mine = leases.owned(row).filter(status=Status.RUNNING)
    prediction = Prediction.objects.get(pk=row.prediction_id)
    if version is None or predictor is None or prediction.status != Prediction.Status.DONE:
        mine.update(status=Status.FAILED, error_detail=str(_("There is no prediction to explain.")))
        return
    try:
        picture = _picture(prediction)
    except StorageUnavailable:
        raise
    except (OSError, ValueError) as error:
        logger.warning("The model input of prediction %s cannot be read: %s", prediction.pk, error)
        mine.update(
            status=Status.FAILED, error_detail=str(_("The stored photo cannot be read. Upload it again."))
        )
        return
    probabilities = np.asarray(prediction.probabilities)
    places = [int(place) for place in np.argsort(-probabilities, kind="stable")[:2]]
    names = [version.classes[place] for place in places]
    maps = explain(predictor, picture, places)
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
    with prediction.input.open("rb") as file:
        return to_array(read_input(file))


def _find_neighbours(version: ModelVersion, predictor: Predictor, picture: np.ndarray) -> dict[str, object]:
    if version.project_id != DEFAULT_PROJECT and not neighbour_index.trained_on_own(version):
        return {"neighbours": Found.ABSENT}  # nobody knows any more what it was trained on
    index = neighbour_index.load(version)
    if index is not None:
        return _nearest(predictor.forward(picture[None])[0][0], index, version)
    if not neighbour_index.are_at_hand(version):
        return {"neighbours": Found.ABSENT}
    asked = neighbour_index.request_index(version)
    failed = asked.status == EmbeddingIndex.Status.FAILED
    return {"neighbours": Found.FAILED if failed else Found.COLLECTING}


def _nearest(features: np.ndarray, index: Neighbours | None, version: ModelVersion) -> dict[str, object]:
    """The columns of a row that tell of the nearest training images."""
    if index is None:
        return {"neighbours": Found.FAILED}
    nearest = index.nearest(features, NEAREST)
    pictures = _pictures(version, [row for row, _label, _cosine in nearest])
    return {
        "neighbours": Found.FOUND,
        "nearest": [
            {"row": row, "label": version.classes[label], "cosine": round(cosine, DIGITS)}
            for row, label, cosine in nearest
        ],
        "typical": index.typical,
        "pictures": pictures,
        "has_pictures": pictures is not None,
    }


def _pictures(version: ModelVersion, rows: list[int]) -> bytes | None:
    """Training images side by side as a PNG; None where they are not at hand."""
    images = neighbour_index.pictures(version, rows)
    if not images:
        return None
    file = io.BytesIO()
    Image.fromarray(np.concatenate(images, axis=1)).save(file, "PNG")
    return file.getvalue()
