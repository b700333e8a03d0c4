"""From a pending row to an answer: ask, claim a batch, run the model, store.

The row is the truth; a message only says 'look'. See ``training.leases`` for the fence.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import structlog
from django.conf import settings
from django.db import transaction
from django.db.models import Q, QuerySet
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from PIL import Image

from classifier import day_counts
from classifier.crops import Crop, input_from_display, stored_crop, to_store
from classifier.image_checks import encode_input
from classifier.models import Photo, Prediction
from training import heartbeat, leases, metrics, model_store
from training.engine.data import CLASS_NAMES
from training.engine.preprocessing import to_array
from training.messages import publish, publish_unless_one_waits
from training.models import ModelVersion
from training.storage import StorageAway

if TYPE_CHECKING:
    from training.engine.predictor import Predictor

logger = logging.getLogger(__name__)
log = structlog.get_logger(__name__)

Status = Prediction.Status
# Answers that one photo may have.
MOST_ANSWERS = 50
# Photos of batches in one go within so many seconds of a single photo; a size the model has compiled.
BULK_BATCH = 8
LATELY_SECONDS = 30.0
# What an answer writes into its row.
ANSWER = (
    *("status", "model", "probabilities", "label", "confidence"),
    *("verdict", "receipt", "seconds", "finished_at"),
)
_interactive_at = -LATELY_SECONDS
# What each worker of this process last said is wrong with it.
_reported: dict[str, str] = {}
# Written out: only a condition that it can read lets SQLite use the small index of open rows.
OPEN = "classifier_prediction.status IN ('queued', 'running')"
LOST = "The worker was lost %d times while it looked at this photo. Ask again, or try another photo."


class AskedTooOften(Exception):
    """The photo has as many answers as it may have; the message says what to do."""


def request_prediction(photo: Photo, prediction: Prediction) -> None:
    """Save a pending prediction as the photo's present one, and wake a worker on commit."""
    prediction.photo_created_at = photo.created_at
    with transaction.atomic(savepoint=False):
        former = photo.predictions.filter(is_current=True)
        prediction.owner_says = former.values_list("owner_says", flat=True).first() or ""
        former.update(is_current=False)
        prediction.photo = photo
        prediction.save()
        day_counts.mark([(prediction.owner_id, photo.created_at)])
        transaction.on_commit(partial(wake, prediction.priority))


def ask_again(photo: Photo, crop: Crop | None = None) -> Prediction:
    """Ask today's model about a photo, or a part of it, once more; earlier answers stay.

    While an answer is still under way nothing new is asked, so that a double click asks once.

    Returns:
        The photo's present prediction.

    Raises:
        AskedTooOften: the photo has ``MOST_ANSWERS`` answers.
        OSError, ValueError: the stored copy cannot be read.
    """
    present = photo.prediction
    if not present.is_over:
        return present
    if photo.predictions.count() >= MOST_ANSWERS:
        raise AskedTooOften(
            _("This photo was asked about %(count)d times, which is the limit. Upload it again to go on.")
            % {"count": MOST_ANSWERS}
        )
    preprocessing = model_store.live_preprocessing()
    asked = Prediction(owner=present.owner, preprocessing=preprocessing, crop=to_store(crop))
    # What was made from the photo itself is better than what can be made from its stored copy.
    alike = photo.predictions.filter(preprocessing=preprocessing).order_by("pk")
    made = next((row for row in alike if row.crop == asked.crop and row.input), None)
    if made:
        asked.input, asked.input_sha256 = made.input.name, made.input_sha256
    else:
        asked.photo = photo
        content, asked.input_sha256 = encode_input(input_from_display(photo, crop, preprocessing))
        asked.input.save("", content, save=False)
    request_prediction(photo, asked)
    return asked


def wake(priority: int = Prediction.Priority.INTERACTIVE) -> None:
    """Tell a worker to look; a lost message is made good by the sweeper."""
    if priority == Prediction.Priority.BULK:
        publish("classifier.tasks.predict_bulk")
    else:
        publish_unless_one_waits("classifier.tasks.predict", "predict")


def predict_pending(worker: str, between: Callable[[], object] = lambda: None) -> int:
    """Answer pending predictions, interactive ones first, until none is left or the worker shall end.

    Args:
        between: called before each batch.

    Returns:
        How many rows this call answered or failed.
    """
    answered = 0
    while claimable().exists():
        between()
        if heartbeat.is_ending():
            # The message that brought us here is spent: the others need one of their own.
            wake_for(claimable())
            break
        # Loaded before the claim, so that loading does not eat into the lease.
        loaded = load_model(worker)
        if loaded is None:
            break
        model, predictor = loaded
        rows = _claim(worker)
        if not rows:
            break
        try:
            _answer(rows, model, predictor)
        except StorageAway as error:
            # No photo is at fault, and the next look would find the same: the sweeper asks again.
            leases.release(_open_of(rows), status=Status.QUEUED)
            logger.warning("%d photos wait for the store of files: %s", len(rows), error)
            break
        answered += len(rows)
    return answered


def open_rows(priority: int) -> QuerySet[Prediction]:
    """Rows that wait or run, oldest first."""
    return Prediction.objects.extra(where=[OPEN]).filter(priority=priority).order_by("id")  # noqa: S610


def waiting(priority: int, most: int) -> int:
    """How many photos have no answer yet, counted up to ``most``."""
    return open_rows(priority)[:most].count()


def is_crowded(priority: int) -> bool:
    """As many photos wait as may."""
    most = settings.MAX_WAITING_PHOTOS
    return open_rows(priority)[most - 1 : most].exists()


def waiting_since(priority: int) -> datetime | None:
    """Since when the oldest of them waits."""
    return open_rows(priority).values_list("created_at", flat=True).first()


def _claim(worker: str) -> list[Prediction]:
    """Photos that somebody waits for, by themselves; where there are none, photos of batches.

    Few of these at a time while people upload: whoever comes next waits for what is in hand.
    """
    global _interactive_at
    single = claimable().filter(priority=Prediction.Priority.INTERACTIVE)
    if found := leases.claim(
        single.order_by("id"), worker=worker, limit=settings.PREDICTION_BATCH, status=Status.RUNNING
    ):
        _interactive_at = time.monotonic()
        return found
    lately = time.monotonic() - _interactive_at < LATELY_SECONDS
    limit = min(BULK_BATCH, settings.PREDICTION_BATCH) if lately else settings.PREDICTION_BATCH
    return leases.claim(claimable().order_by("id"), worker=worker, limit=limit, status=Status.RUNNING)


def load_model(worker: str) -> tuple[ModelVersion, Predictor] | None:
    """The champion; where its file is damaged, the last one before it that is whole. None: no model.

    What is wrong stands in the log and on the worker's row until it is right again.
    """
    champion = model_store.champion()
    if champion is None:
        logger.warning("No model is installed: photos wait. Run 'manage.py install_pretrained'.")
        return None
    problem = ""
    for version in (champion, *_earlier()):
        try:
            predictor = model_store.predictor(version)
        except model_store.ModelFileError as error:
            problem = problem or str(error)
            continue
        except StorageAway as error:
            logger.warning("The model cannot be fetched now, photos wait: %s", error)
            return None
        if problem:
            problem += f" Meanwhile '{version}' answers."
        break
    else:
        predictor = None
        problem += " Photos wait."
    if problem != _reported.get(worker, ""):
        logger.log(logging.ERROR if problem else logging.INFO, problem or "The model is well again.")
        leases.report(worker, problem)
        _reported[worker] = problem
    return (version, predictor) if predictor else None


def _earlier() -> Iterator[ModelVersion]:
    """Asked for only where it is needed."""
    yield from model_store.earlier_champions()


def claimable() -> QuerySet[Prediction]:
    """Waiting rows, and running ones whose owner is gone."""
    return Prediction.objects.extra(where=[OPEN]).filter(  # noqa: S610
        Q(status=Status.QUEUED) | Q(status=Status.RUNNING) & leases.lease_expired(),
        attempt__lt=settings.MAX_ATTEMPTS,
    )


def recover() -> dict[str, int]:
    """One pass of the sweeper: fail what was lost too often, wake workers for the rest."""
    lost = Prediction.objects.filter(
        leases.lease_expired(), status=Status.RUNNING, attempt__gte=settings.MAX_ATTEMPTS
    ).update(
        status=Status.FAILED,
        claim=None,
        error_code="worker_lost",
        error_detail=LOST % settings.MAX_ATTEMPTS,
        finished_at=timezone.now(),
    )
    waiting = claimable().filter(Q(status=Status.RUNNING) | leases.has_waited())
    return {"predictions_failed": lost, "predictions_woken": wake_for(waiting)}


def wake_for(rows: QuerySet[Prediction]) -> int:
    """Send a message for each priority that waits; returns how many."""
    waiting = [p for p in Prediction.Priority.values if rows.filter(priority=p).exists()]
    for priority in waiting:
        wake(priority)
    return len(waiting)


def _answer(rows: list[Prediction], champion: ModelVersion, predictor: Predictor) -> None:
    """Run claimed rows through the model together and store each answer if it is still ours."""
    wanted = champion.preprocessing
    photos = Photo.objects.in_bulk([row.photo_id for row in rows if row.preprocessing != wanted])
    started = time.perf_counter()
    arrays, readable, preprocessed = [], [], []
    for row in rows:
        asked = row.preprocessing
        try:
            if asked != wanted:
                row.photo = photos[row.photo_id]
            arrays.append(_input_array(row, wanted))
            readable.append(row)
            preprocessed.append(asked)
        except StorageAway:
            raise
        except (OSError, KeyError, ValueError) as error:
            logger.exception("The model input of prediction %s cannot be read.", row.pk)
            _fail(row, "input_unreadable", f"The stored photo cannot be read ({error}). Upload it again.")
    if not readable:
        return
    answers = predictor.predict(np.stack(arrays))
    seconds = (time.perf_counter() - started) / len(readable)
    now = timezone.now()
    for number, row in enumerate(readable):
        probabilities = answers.probabilities[number]
        best = int(probabilities.argmax())
        row.status = Status.DONE
        row.model = champion
        row.probabilities = [round(float(p), 6) for p in probabilities]
        row.label = CLASS_NAMES[best]
        row.confidence = float(probabilities[best])
        row.verdict = answers.verdicts[number]
        row.receipt = answers.receipt(number)
        row.seconds = seconds
        row.finished_at = now
    fields = [*ANSWER]
    if any(row.preprocessing != asked for row, asked in zip(readable, preprocessed, strict=True)):
        fields += ["input", "input_sha256", "preprocessing"]
    with transaction.atomic():
        written = leases.write(readable, fields, while_status=Status.RUNNING)
        _renew([row for row in readable if not row.is_current])
        day_counts.mark((row.owner_id, row.photo_created_at) for row in readable)
    if written == len(readable):  # else they are another worker's, who tells of them
        _tell(readable, rows[0].worker)


def _tell(rows: list[Prediction], worker: str) -> None:
    """A line a photo, under the id of the request that brought it, and the metrics."""
    metrics.BATCH_SIZE.observe(len(rows))
    metrics.MODEL_SECONDS.inc(sum(row.seconds or 0 for row in rows))
    for row in rows:
        waited = max((timezone.now() - row.created_at).total_seconds(), 0)
        metrics.ANSWERS.labels(row.verdict).inc()
        metrics.WAIT_SECONDS.labels(Prediction.Priority(row.priority).name.lower()).observe(waited)
        log.info(
            "answered",
            request_id=row.request_id,
            photo=str(row.photo_id),
            prediction=row.pk,
            attempt=row.attempt,
            model=row.model_id,
            batch=len(rows),
            waited_seconds=round(waited, 3),
            worker=worker,
        )


def _renew(rows: list[Prediction]) -> None:
    """Answers that stand in for older ones as soon as they are there; until then people see the old one.

    A photo that its owner asked about in between keeps that answer.
    """
    mine = Prediction.objects.filter(claim=rows[0].claim, status=Status.DONE) if rows else None
    for row in rows:
        assert mine is not None
        old = Prediction.objects.filter(photo=row.photo_id, is_current=True, pk__lt=row.pk)
        old = old.filter(status__in=(Status.DONE, Status.FAILED))
        says = old.values_list("owner_says", flat=True).first()
        # Nothing got updated: its owner asked at the same moment.
        if says is not None and mine.filter(pk=row.pk).exists() and old.update(is_current=False):
            mine.filter(pk=row.pk).update(is_current=True, owner_says=says)


def _open_of(rows: list[Prediction]) -> QuerySet[Prediction]:
    """Those of a claim that are still its owner's."""
    return Prediction.objects.filter(claim=rows[0].claim, status=Status.RUNNING)


def _input_array(row: Prediction, preprocessing: str) -> np.ndarray:
    """The stored model input; made anew and kept where the model wants another one."""
    made = model_input(row, preprocessing)
    if row.preprocessing != preprocessing:
        row.preprocessing = preprocessing
        content, row.input_sha256 = encode_input(made)
        row.input.save("", content, save=False)
    return to_array(made)


def model_input(row: Prediction, preprocessing: str) -> Image.Image:
    """What a model sees of a photo: the stored input, or one made from the display copy.

    Raises:
        OSError, ValueError: a stored file cannot be read.
    """
    if row.preprocessing == preprocessing:
        with row.input.open("rb") as file, Image.open(file, formats=["PNG"]) as image:
            return image.convert("RGB")
    return input_from_display(row.photo, stored_crop(row.crop), preprocessing)


def _fail(row: Prediction, code: str, detail: str) -> None:
    leases.owned(row).filter(status=Status.RUNNING).update(
        status=Status.FAILED, error_code=code, error_detail=detail, finished_at=timezone.now()
    )
    metrics.ANSWERS_FAILED.labels(code).inc()
    log.warning("not_answered", request_id=row.request_id, photo=str(row.photo_id), code=code)
