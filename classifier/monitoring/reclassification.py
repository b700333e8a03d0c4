"""Everybody's photos asked about again with today's champion: bulk work, so nobody waits for it.

Each photo keeps the answer it has until the new one is there, and its older answers for good. Rows
are made some hundred at a time, so a million photos are no million rows at once.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import Case, CharField, Count, F, Q, QuerySet, Value, When
from django.utils import timezone
from django.utils.translation import gettext as _

from classifier.models import Prediction, Reclassification, ReclassificationItem, User
from classifier.predictions import queue
from training.models import DEFAULT_PROJECT
from training.registry import model_store

Status = Prediction.Status
BULK = Prediction.Priority.BULK
# Rows that wait at a time, and how many are made in one pass.
OPEN_ROWS = 1_000
# For so long after its end answers may still come that were under way.
STRAGGLERS = timedelta(days=1)
ROWS_A_PASS = 500


class ReclassificationRefused(Exception):
    """There is nothing to do, or another one runs; the message says which."""


def start(*, by: User | None, project: str = DEFAULT_PROJECT) -> Reclassification:
    """Ask a project's champion about all its photos that another model answered.

    Raises:
        ReclassificationRefused: there is no champion, no such photo, or one runs.
    """
    champion = model_store.champion(project)
    if champion is None:
        raise ReclassificationRefused(_("No model is installed yet."))
    newest = outdated(project).order_by("-pk").values_list("pk", flat=True).first()
    if newest is None:
        raise ReclassificationRefused(
            _("%(model)s has already classified every photo.") % {"model": champion}
        )
    try:
        with transaction.atomic():
            run = Reclassification.objects.create(model=champion, started_by=by, last=newest)
    except IntegrityError as error:
        raise ReclassificationRefused(_("A reclassification is already running: see below.")) from error
    feed()
    return run


def cancel(run: Reclassification) -> bool:
    """Cancel a reclassification; predictions made so far stay. False if it had already finished."""
    with transaction.atomic():
        over = Reclassification.objects.filter(pk=run.pk, state=Reclassification.State.RUNNING).update(
            state=Reclassification.State.CANCELLED, finished_at=timezone.now()
        )
        if over:
            Prediction.objects.filter(
                reclassification_item__reclassification=run, status=Status.QUEUED
            ).delete()
    return bool(over)


def outdated(project: str) -> QuerySet[Prediction]:
    """Present answers of another model than the project's champion, of photos that are not deleted."""
    return Prediction.objects.filter(
        project=project, is_current=True, status=Status.DONE, photo__deleted_at=None, model__is_champion=False
    )


# --- The work ---------------------------------------------------------------------------------


def feed() -> dict[str, int]:
    """The sweeper's part, and the bulk workers': note answers, make the next rows, end when all is done."""
    # Of one that was cancelled, too: what was in hand then is answered later.
    ended = Reclassification.objects.filter(finished_at__gt=timezone.now() - STRAGGLERS)
    for one in ended.exclude(state=Reclassification.State.RUNNING):
        _settle(one)
    run = Reclassification.objects.filter(state=Reclassification.State.RUNNING).first()
    if run is None:
        return {"reclassifications_asked": 0}
    # Counted first: an answer that comes between the two is settled, and none is left out at the end.
    open_rows = Prediction.objects.filter(
        reclassification_item__reclassification=run, status__in=(Status.QUEUED, Status.RUNNING)
    ).count()
    _settle(run)
    asked = _ask(run) if open_rows < OPEN_ROWS - ROWS_A_PASS else 0
    if asked:
        queue.wake(BULK)
    elif not open_rows:
        Reclassification.objects.filter(
            pk=run.pk, state=Reclassification.State.RUNNING, cursor=run.cursor
        ).update(state=Reclassification.State.DONE, finished_at=timezone.now())
    return {"reclassifications_asked": asked}


def _ask(run: Reclassification) -> int:
    """Make rows for the next photos. Returns how many."""
    rows = outdated(run.model.project_id).filter(pk__gt=run.cursor, pk__lte=run.last).order_by("pk")
    found = list(rows[:ROWS_A_PASS])
    if not found:
        return 0
    full = set(
        Prediction.objects.filter(photo__in=[row.photo_id for row in found])
        .order_by()
        .values_list("photo")
        .annotate(n=Count("pk"))
        .filter(n__gte=queue.MAX_PREDICTIONS_PER_PHOTO)
        .values_list("photo", flat=True)
    )
    with transaction.atomic():
        # Of two that feed at once only one finds the cursor where it was.
        moved = Reclassification.objects.filter(
            pk=run.pk, state=Reclassification.State.RUNNING, cursor=run.cursor
        )
        if not moved.update(cursor=found[-1].pk):
            return 0
        for old in found:
            if old.photo_id not in full:
                ReclassificationItem.objects.create(
                    reclassification=run, prediction=_again(old), before=old.outcome
                )
    return len(found)


def _again(old: Prediction) -> Prediction:
    """The same question anew: the same part of the same photo. Not the present answer yet."""
    return Prediction.objects.create(
        photo_id=old.photo_id,
        owner_id=old.owner_id,
        project_id=old.project_id,
        photo_created_at=old.photo_created_at,
        is_current=False,
        priority=BULK,
        input=old.input.name,
        input_sha256=old.input_sha256,
        preprocessing=old.preprocessing,
        crop=old.crop,
    )


def _settle(run: Reclassification) -> None:
    """Write the answers that came beside those before them."""
    foreign = Prediction.Verdict.UNKNOWN
    fresh = ReclassificationItem.objects.filter(
        reclassification=run, changed=None, prediction__status=Status.DONE
    )
    outcome = Case(
        When(prediction__verdict=foreign, then=Value(str(foreign))),
        default=F("prediction__label"),
        output_field=CharField(),
    )
    while found := list(fresh.annotate(outcome=outcome)[:OPEN_ROWS]):
        for item in found:
            item.after = item.outcome
            item.changed = item.after != item.before
        ReclassificationItem.objects.bulk_update(found, ["after", "changed"], batch_size=500)


# --- What came of it --------------------------------------------------------------------------


def summary(run: Reclassification) -> dict[str, Any]:
    """Its counts: ``asked``, ``answered``, ``changed``, and ``pairs`` of before, after, n."""
    counts = run.items.aggregate(
        asked=Count("pk"),
        answered=Count("pk", filter=Q(changed__isnull=False)),
        changed=Count("pk", filter=Q(changed=True)),
    )
    pairs = run.items.filter(changed=True).order_by().values("before", "after").annotate(n=Count("pk"))
    to_come = 0
    if run.state == Reclassification.State.RUNNING:
        to_come = outdated(run.model.project_id).filter(pk__gt=run.cursor, pk__lte=run.last).count()
    return {**counts, "to_come": to_come, "pairs": list(pairs.order_by("-n", "before", "after"))}


def changes(run: Reclassification, before: int = 0) -> QuerySet[ReclassificationItem]:
    """Photos whose answer changed, newest first; ``before``: only those below this number."""
    rows = run.items.filter(changed=True).select_related("prediction__photo").order_by("-id")
    return rows.filter(pk__lt=before) if before else rows
