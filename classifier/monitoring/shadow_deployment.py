"""Shadow deployments: a challenger classifies live photos after the champion, unseen by their owners.

Rows like all work: one for each live answer, claimed when no photo waits for anything else, a few at
a time, so that an upload never waits for more than a handful of photos.
"""

from __future__ import annotations

import logging
import threading
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from django.db import IntegrityError, connection, transaction
from django.db.models import Count, F, Q, QuerySet
from django.utils import timezone
from django.utils.translation import gettext as _

from cifarsite.core import leases
from cifarsite.core.leases import LeasedQuerySet
from cifarsite.core.storage import StorageUnavailable
from cifarsite.core.wakeups import publish
from classifier.models import Prediction, Shadow, ShadowAnswer, User
from classifier.predictions import inference, queue
from training.engine.data.preprocessing import to_array
from training.engine.inference.calibration import wilson_interval
from training.models import ModelVersion
from training.registry import model_store

if TYPE_CHECKING:
    from training.engine.inference.predictor import Predictor

logger = logging.getLogger(__name__)

Status = ShadowAnswer.Status
TASK = "classifier.tasks.shadow"
# At a time: an upload that comes meanwhile waits for these.
AT_A_TIME = 8
# Live answers that become rows in one pass, and in all: then the shadow ends by itself.
ROWS_A_PASS = 500
MOST = 5_000
# A prediction this young may still be under way in a transaction with a smaller number.
SETTLED = timedelta(seconds=5)

# The challenger that this process holds, and the thread that loads one.
_held: tuple[int, Predictor] | None = None
_loader: threading.Thread | None = None


class ShadowRefused(Exception):
    """It cannot be started; the message says why."""


def start(version: ModelVersion, *, by: User | None) -> Shadow:
    """Begin to ask a challenger about each photo of its project that comes in from now on.

    Raises:
        ShadowRefused: it is the champion, or another one runs.
    """
    if version.is_champion:
        raise ShadowRefused(
            _("%(model)s is already the champion: it classifies every photo.") % {"model": version}
        )
    newest = Prediction.objects.order_by("-pk").values_list("pk", flat=True).first() or 0
    try:
        with transaction.atomic():
            return Shadow.objects.create(model=version, started_by=by, cursor=newest)
    except IntegrityError as error:
        other = running()
        raise ShadowRefused(
            _("%(model)s already runs as a shadow deployment: end that deployment first.")
            % {"model": other and other.model}
        ) from error


def end(shadow: Shadow) -> bool:
    """Ask no more; what was answered stays. False where it was over before."""
    with transaction.atomic():
        over = Shadow.objects.filter(pk=shadow.pk, ended_at=None).update(ended_at=timezone.now())
        shadow.answers.filter(status__in=(Status.QUEUED, Status.RUNNING)).delete()
    return bool(over)


def running() -> Shadow | None:
    """The one that runs, if any."""
    return Shadow.objects.filter(ended_at=None).select_related("model").defer("model__card").first()


# --- The work ---------------------------------------------------------------------------------


def feed() -> dict[str, int]:
    """The sweeper's part: make rows of new live answers, end what has seen enough."""
    shadow = running()
    if shadow is None:
        return {"shadows_asked": 0}
    if shadow.model.is_champion or shadow.answers.filter(status=Status.DONE).count() >= MOST:
        end(shadow)
        return {"shadows_asked": 0}
    return {"shadows_asked": _make_rows(shadow)}


def _make_rows(shadow: Shadow) -> int:
    new = Prediction.objects.filter(
        project=shadow.model.project_id,
        pk__gt=shadow.cursor,
        created_at__lt=timezone.now() - SETTLED,
        reclassification_item=None,
    )
    ids = list(new.order_by("pk").values_list("pk", flat=True)[:ROWS_A_PASS])
    if not ids:
        return 0
    with transaction.atomic():
        # Of two sweepers only one finds the cursor where it was.
        moved = Shadow.objects.filter(pk=shadow.pk, cursor=shadow.cursor, ended_at=None)
        if not moved.update(cursor=ids[-1]):
            return 0
        ShadowAnswer.objects.bulk_create(
            [ShadowAnswer(shadow=shadow, prediction_id=pk) for pk in ids], ignore_conflicts=True
        )
    return len(ids)


def claimable(shadow: Shadow) -> LeasedQuerySet[ShadowAnswer]:
    """Rows that a worker may claim now: those whose live answer is there."""
    return ShadowAnswer.objects.claimable().filter(shadow=shadow, prediction__status=Prediction.Status.DONE)


def _claimable() -> LeasedQuerySet[ShadowAnswer]:
    shadow = running()
    return claimable(shadow) if shadow else ShadowAnswer.objects.none()


QUEUE = leases.Queue(
    "shadows",
    _claimable,
    partial(ShadowAnswer.objects.fail_exhausted, status=Status.FAILED),
    wake=lambda waiting: waiting.exists() and publish(TASK),
)


def work(worker: str) -> int:
    """Ask the challenger about a few photos after the other, as long as nobody else waits.

    Returns:
        How many rows this call answered or failed.
    """
    shadow, done = running(), 0
    if shadow is None or not claimable(shadow).exists():
        return 0
    predictor = _challenger(shadow.model)
    if predictor is None:
        return 0
    # A look at what waits before each handful: answers to people come first.
    while not queue.claimable().exists():
        rows = claimable(shadow).order_by("id").claim(worker=worker, limit=AT_A_TIME)
        if not rows:
            break
        try:
            _answer(rows, shadow.model, predictor)
        except StorageUnavailable as error:
            # No photo is at fault, and the next look would find the same: the sweeper asks again.
            ShadowAnswer.objects.held_with(rows[0]).release()
            logger.warning(
                "%d photos for the challenger stay queued until the file storage responds: %s",
                len(rows),
                error,
            )
            break
        done += len(rows)
    return done


def _challenger(version: ModelVersion) -> Predictor | None:
    """The model where this process holds it; otherwise a thread loads it, while photos are answered."""
    global _loader
    if _held and _held[0] == version.pk:
        return _held[1]
    if _loader is None or not _loader.is_alive():
        version.refresh_from_db(fields=["card"])
        _loader = threading.Thread(target=_load, args=(version,), daemon=True)
        _loader.start()
    return None


def _load(version: ModelVersion) -> None:
    global _held
    try:
        _held = version.pk, model_store.load(version)
    except (model_store.ModelFileError, StorageUnavailable) as error:
        logger.error("The challenger cannot be loaded: %s", error)
    else:
        publish(TASK)
    finally:
        connection.close()


def _answer(rows: list[ShadowAnswer], version: ModelVersion, predictor: Predictor) -> None:
    live = Prediction.objects.select_related("photo").in_bulk([row.prediction_id for row in rows])
    arrays, readable = [], []
    for row in rows:
        try:
            arrays.append(to_array(inference.model_input(live[row.prediction_id], version.preprocessing)))
            readable.append(row)
        except StorageUnavailable:
            raise
        except (OSError, KeyError, ValueError):
            leases.owned(row).update(status=Status.FAILED, finished_at=timezone.now())
    if not readable:
        return
    answers = predictor.predict(np.stack(arrays))
    for number, row in enumerate(readable):
        chances, verdict = answers.probabilities[number], answers.verdicts[number]
        foreign = verdict == Prediction.Verdict.UNKNOWN
        row.said = verdict if foreign else version.classes[int(chances.argmax())]
        row.live = live[row.prediction_id].outcome
        row.agrees = row.said == row.live
        row.confidence = float(chances.max())
        row.status, row.finished_at = Status.DONE, timezone.now()
    fields = ["said", "live", "agrees", "confidence", "status", "finished_at"]
    ShadowAnswer.objects.held_with(rows[0]).bulk_update(readable, fields)


# --- What came of it --------------------------------------------------------------------------


def agreement(shadow: Shadow) -> dict[str, Any]:
    """Shares and counts: how many were asked, how many agree, and what people say of the rest.

    Returns:
        ``n``, ``agree``, ``share`` and its ``interval`` (None where n is 0); ``waiting``; ``pairs``:
        rows of ``live``, ``said``, ``n``, most frequent first; ``people``: corrections of photos in dispute
        that side with the ``challenger``, the ``champion``, or neither.
    """
    counts = shadow.answers.aggregate(
        n=Count("pk", filter=Q(status=Status.DONE)),
        agree=Count("pk", filter=Q(agrees=True)),
        waiting=Count("pk", filter=Q(status__in=(Status.QUEUED, Status.RUNNING))),
    )
    n, agree = counts["n"], counts["agree"]
    disputed = shadow.answers.filter(agrees=False)
    pairs = disputed.order_by().values("live", "said").annotate(n=Count("pk")).order_by("-n", "live", "said")
    label = F("prediction__photo__corrections__label")
    people = disputed.aggregate(
        challenger=Count("pk", filter=Q(said=label)),
        champion=Count("pk", filter=Q(live=label)),
        all=Count("prediction__photo__corrections"),
    )
    return {
        **counts,
        "share": agree / n if n else None,
        "interval": wilson_interval(agree, n) if n else None,
        "pairs": list(pairs),
        "people": {**people, "neither": people["all"] - people["challenger"] - people["champion"]},
    }


def disagreements(shadow: Shadow, before: int = 0) -> QuerySet[ShadowAnswer]:
    """Photos on which the two differ, newest first; ``before``: only those below this number."""
    rows = shadow.answers.filter(agrees=False).select_related("prediction__photo").order_by("-id")
    return rows.filter(pk__lt=before) if before else rows
