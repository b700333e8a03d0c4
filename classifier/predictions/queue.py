"""Ask for predictions, and see what waits; ``classifier.predictions.inference`` answers."""

from __future__ import annotations

from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING

from django.conf import settings
from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from cifarsite.core import leases
from cifarsite.core.leases import LeasedQuerySet
from cifarsite.core.storage import remove_files
from cifarsite.core.wakeups import notify_once, publish
from classifier.images.crops import Crop, input_from_display, to_store
from classifier.images.inputs import encode_input
from classifier.models import Photo, Prediction
from classifier.photos import daily_counts
from training.registry import model_store

if TYPE_CHECKING:
    pass

Status = Prediction.Status
# Answers that one photo may have.
MAX_PREDICTIONS_PER_PHOTO = 50
# Written out: only a condition that it can read lets SQLite use the small index of open rows.
OPEN = "classifier_prediction.status IN ('queued', 'running')"
LOST = "The worker was lost %d times while it looked at this photo. Ask again, or try another photo."


class PredictionLimitReached(Exception):
    """The photo has as many answers as it may have; the message says what to do."""


def request_prediction(photo: Photo, prediction: Prediction) -> None:
    """Save a pending prediction as the photo's present one, and wake a worker on commit."""
    prediction.photo_created_at, prediction.project_id = photo.created_at, photo.project_id
    with transaction.atomic(savepoint=False):
        former = photo.predictions.filter(is_current=True)
        prediction.user_feedback = former.values_list("user_feedback", flat=True).first() or ""
        former.update(is_current=False)
        prediction.photo = photo
        prediction.save()
        daily_counts.mark([(prediction.owner_id, prediction.project_id, photo.created_at)])
        transaction.on_commit(partial(wake, prediction.priority))


def ask_again(photo: Photo, crop: Crop | None = None) -> Prediction:
    """Ask today's model about a photo, or a part of it, once more; earlier answers stay.

    While an answer is still under way nothing new is asked, so that a double click asks once.

    Returns:
        The photo's present prediction.

    Raises:
        PredictionLimitReached: the photo has ``MAX_PREDICTIONS_PER_PHOTO`` answers.
        OSError, ValueError: the stored copy cannot be read.
    """
    if present := _under_way(photo):
        return present
    preprocessing = model_store.live_preprocessing(photo.project_id)
    asked = Prediction(owner_id=photo.owner_id, preprocessing=preprocessing, crop=to_store(crop))
    # What was made from the photo itself is better than what can be made from its stored copy.
    alike = photo.predictions.filter(preprocessing=preprocessing).order_by("pk")
    made = next((row for row in alike if row.crop == asked.crop and row.input), None)
    if made:
        asked.input, asked.input_sha256 = made.input.name, made.input_sha256
    else:
        asked.photo = photo
        content, asked.input_sha256 = encode_input(input_from_display(photo, crop, preprocessing))
        asked.input.save("", content, save=False)
    try:
        with transaction.atomic():
            # Those who ask at the same moment wait here, and then see each other's question.
            Photo.objects.select_for_update(no_key=True).get(pk=photo.pk)
            if present := _under_way(photo):
                return present
            request_prediction(photo, asked)
            return asked
    finally:
        if made is None and asked._state.adding:
            remove_files([asked.input.name])


def _under_way(photo: Photo) -> Prediction | None:
    """The answer that is still under way; None where one may ask again.

    Raises:
        PredictionLimitReached: nobody may any more.
    """
    present = photo.prediction
    if not present.is_over:
        return present
    if photo.predictions.count() >= MAX_PREDICTIONS_PER_PHOTO:
        raise PredictionLimitReached(
            _("This photo has %(count)d predictions, which is the limit. Upload it again to continue.")
            % {"count": MAX_PREDICTIONS_PER_PHOTO}
        )
    return None


def wake(priority: int = Prediction.Priority.INTERACTIVE) -> None:
    """Tell a worker to look; a lost message is made good by the sweeper."""
    if priority == Prediction.Priority.BULK:
        publish("classifier.tasks.predict_bulk")
    else:
        notify_once("classifier.tasks.predict", "predict")


def _open_rows() -> LeasedQuerySet[Prediction]:
    return Prediction.objects.extra(where=[OPEN])  # noqa: S610


def open_rows(priority: int) -> LeasedQuerySet[Prediction]:
    """Rows that wait or run, oldest first."""
    return _open_rows().filter(priority=priority).order_by("id")


def waiting(priority: int, most: int) -> int:
    """How many photos have no answer yet, counted up to ``most``."""
    return open_rows(priority)[:most].count()


def is_crowded() -> bool:
    """As many photos wait for an answer at once as may."""
    most = settings.MAX_WAITING_PHOTOS
    return open_rows(Prediction.Priority.INTERACTIVE)[most - 1 : most].exists()


def waiting_since(priority: int) -> datetime | None:
    """Since when the oldest of them waits."""
    return open_rows(priority).values_list("created_at", flat=True).first()


def claimable() -> LeasedQuerySet[Prediction]:
    """Rows that a worker may claim now; see ``LeasedQuerySet.claimable``."""
    return _open_rows().claimable()


def _fail_exhausted() -> int:
    return Prediction.objects.fail_exhausted(
        status=Status.FAILED,
        error_code="worker_lost",
        error_detail=LOST % settings.MAX_ATTEMPTS,
        finished_at=timezone.now(),
    )


def wake_for(rows: LeasedQuerySet[Prediction]) -> int:
    """Send a message for each priority that waits; returns how many."""
    waiting = [p for p in Prediction.Priority.values if rows.filter(priority=p).exists()]
    for priority in waiting:
        wake(priority)
    return len(waiting)


QUEUE = leases.Queue(
    "predictions", claimable, _fail_exhausted, wake=lambda waiting: wake_for(waiting.overdue())
)
