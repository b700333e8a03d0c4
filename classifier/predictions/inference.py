"""From a pending row to an answer: claim a batch, run the model, store.

The database is the source of truth; messages are wake-up hints. See ``cifarsite.core.leases`` for the fence.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import numpy as np
import structlog
from django.conf import settings
from django.db import transaction
from django.utils import timezone
from PIL import Image

from cifarsite.core import leases, metrics
from cifarsite.core.storage import StorageUnavailable
from classifier.images.crops import input_from_display, stored_crop
from classifier.images.inputs import encode_input, read_input
from classifier.models import Photo, Prediction
from classifier.photos import daily_counts
from classifier.predictions.queue import claimable, wake_for
from training import workers
from training.engine.data.preprocessing import to_array
from training.models import DEFAULT_PROJECT, ModelVersion
from training.registry import model_store

if TYPE_CHECKING:
    from training.engine.inference.predictor import Predictor

logger = logging.getLogger(__name__)
log = structlog.get_logger(__name__)

Status = Prediction.Status
# Photos of batches in one go within so many seconds of a single photo.
BULK_BATCH = 8
LATELY_SECONDS = 30.0
# What an answer writes into its row.
ANSWER = (
    *("status", "model", "probabilities", "label", "confidence"),
    *("verdict", "provenance", "seconds", "finished_at"),
)
_interactive_at = -LATELY_SECONDS
# What each worker of this process last said is wrong with the model of each project.
_reported: dict[str, dict[str, str]] = {}


def predict_pending(worker: str, between: Callable[[], object] = lambda: None) -> int:
    """Answer pending predictions, interactive ones first, until none is left or the worker shall end.

    Each batch is of one project, that of the photo that comes first, and goes through its champion.

    Args:
        between: called before each batch.

    Returns:
        How many rows this call answered or failed.
    """
    answered = 0
    # Projects that cannot be answered now: their photos do not keep the others waiting.
    left_out: set[str] = set()
    while project := _next_project(left_out):
        between()
        if workers.is_shutting_down():
            # The message that brought us here is spent: the others need one of their own.
            wake_for(claimable())
            break
        # Loaded before the claim, so that loading does not eat into the lease.
        loaded = load_model(worker, project)
        rows = _claim(worker, project) if loaded else []
        if loaded is None or not rows:
            left_out.add(project)  # no model, or another worker got there first
            continue
        model, predictor = loaded
        try:
            _answer(rows, model, predictor)
        except StorageUnavailable as error:
            # No photo is at fault, and the next look would find the same: the sweeper asks again.
            Prediction.objects.held_with(rows[0]).release()
            logger.warning("%d photos stay queued until the file storage responds: %s", len(rows), error)
            break
        answered += len(rows)
    return answered


def _next_project(left_out: set[str]) -> str:
    """The project of the photo that comes first; empty where none waits but of those left out."""
    rows = claimable().exclude(project__in=left_out) if left_out else claimable()
    return rows.order_by("priority", "id").values_list("project", flat=True).first() or ""


def _claim(worker: str, project: str) -> list[Prediction]:
    """Photos that somebody waits for, by themselves; where there are none, photos of batches.

    Few of these at a time while people upload: whoever comes next waits for what is in hand.
    """
    global _interactive_at
    rows = claimable().filter(project=project)
    single = rows.filter(priority=Prediction.Priority.INTERACTIVE)
    if found := single.order_by("id").claim(worker=worker, limit=settings.PREDICTION_BATCH):
        _interactive_at = time.monotonic()
        return found
    lately = time.monotonic() - _interactive_at < LATELY_SECONDS
    limit = min(BULK_BATCH, settings.PREDICTION_BATCH) if lately else settings.PREDICTION_BATCH
    return rows.order_by("id").claim(worker=worker, limit=limit)


def load_model(worker: str, project: str = DEFAULT_PROJECT) -> tuple[ModelVersion, Predictor] | None:
    """A project's champion; where its file is damaged, the last one before it that is whole. None: no model.

    What is wrong stands in the log and on the worker's row until it is right again.
    """
    champion = model_store.champion(project)
    if champion is None:
        what = (
            "Run 'manage.py install_pretrained'." if project == DEFAULT_PROJECT else "Train and promote one."
        )
        logger.warning("Project '%s' has no model: its photos stay queued. %s", project, what)
        return None
    problem = ""
    for version in (champion, *_earlier(project)):
        try:
            predictor = model_store.predictor(version)
        except model_store.ModelFileError as error:
            problem = problem or str(error)
            continue
        except StorageUnavailable as error:
            logger.warning("The model cannot be fetched now, photos stay queued: %s", error)
            return None
        if problem:
            problem += f" Meanwhile '{version}' answers."
        break
    else:
        predictor = None
        problem += " Photos wait."
    said = _reported.setdefault(worker, {})
    if problem != said.get(project, ""):
        logger.log(logging.ERROR if problem else logging.INFO, problem or "The model is well again.")
        said[project] = problem
        workers.report(worker, " ".join(filter(None, said.values())))
    return (version, predictor) if predictor else None


def _earlier(project: str) -> Iterator[ModelVersion]:
    """Asked for only where it is needed."""
    yield from model_store.earlier_champions(project)


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
        except StorageUnavailable:
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
        row.label = champion.classes[best]
        row.confidence = float(probabilities[best])
        row.verdict = answers.verdicts[number]
        row.provenance = answers.provenance(number)
        row.seconds = seconds
        row.finished_at = now
    fields = [*ANSWER]
    if any(row.preprocessing != asked for row, asked in zip(readable, preprocessed, strict=True)):
        fields += ["input", "input_sha256", "preprocessing"]
    with transaction.atomic():
        written = leases.write(readable, fields, while_status=Status.RUNNING)
        _renew([row for row in readable if not row.is_current])
        daily_counts.mark((row.owner_id, row.project_id, row.photo_created_at) for row in readable)
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
        says = old.values_list("user_feedback", flat=True).first()
        # Nothing got updated: its owner asked at the same moment.
        if says is not None and mine.filter(pk=row.pk).exists() and old.update(is_current=False):
            mine.filter(pk=row.pk).update(is_current=True, user_feedback=says)


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
        with row.input.open("rb") as file:
            return read_input(file)
    return input_from_display(row.photo, stored_crop(row.crop), preprocessing)


def _fail(row: Prediction, code: str, detail: str) -> None:
    leases.owned(row).filter(status=Status.RUNNING).update(
        status=Status.FAILED, error_code=code, error_detail=detail, finished_at=timezone.now()
    )
    metrics.ANSWERS_FAILED.labels(code).inc()
    log.warning("not_answered", request_id=row.request_id, photo=str(row.photo_id), code=code)
