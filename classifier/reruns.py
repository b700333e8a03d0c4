"""Everybody's photos asked about again with today's champion: bulk work, so nobody waits for it.

Each photo keeps the answer it has until the new one is there, and its older answers for good. Rows
are made some hundred at a time, so a million photos are no million rows at once.
"""

from __future__ import annotations

from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import Case, CharField, Count, F, Q, QuerySet, Value, When
from django.utils import timezone
from django.utils.translation import gettext as _

from classifier import predictions
from classifier.models import Prediction, Rerun, RerunItem, User
from training import model_store

Status = Prediction.Status
BULK = Prediction.Priority.BULK
# Rows that wait at a time, and how many are made in one pass.
OPEN_ROWS = 1_000
ROWS_A_PASS = 500


class RerunRefused(Exception):
    """There is nothing to do, or another one runs; the message says which."""


def start(*, by: User | None) -> Rerun:
    """Ask the champion about all photos that another model answered.

    Raises:
        RerunRefused: there is no champion, no such photo, or one runs.
    """
    champion = model_store.champion()
    if champion is None:
        raise RerunRefused(_("No model is installed yet."))
    newest = outdated().order_by("-pk").values_list("pk", flat=True).first()
    if newest is None:
        raise RerunRefused(_("Every photo was answered by %(model)s already.") % {"model": champion})
    try:
        with transaction.atomic():
            rerun = Rerun.objects.create(model=champion, started_by=by, last=newest)
    except IntegrityError as error:
        raise RerunRefused(_("Photos are being asked about again already: see below.")) from error
    feed()
    return rerun


def cancel(rerun: Rerun) -> bool:
    """Ask about no more photos; what is answered stays. False where it was over."""
    with transaction.atomic():
        over = Rerun.objects.filter(pk=rerun.pk, state=Rerun.State.RUNNING).update(
            state=Rerun.State.CANCELLED, finished_at=timezone.now()
        )
        if over:
            Prediction.objects.filter(rerun_item__rerun=rerun, status=Status.QUEUED).delete()
    return bool(over)


def outdated() -> QuerySet[Prediction]:
    """Present answers of another model than the champion, of photos that are not deleted."""
    return Prediction.objects.filter(
        is_current=True, status=Status.DONE, photo__deleted_at=None, model__is_champion=False
    )


# --- The work ---------------------------------------------------------------------------------


def feed() -> dict[str, int]:
    """The sweeper's part, and the bulk workers': note answers, make the next rows, end when all is done."""
    rerun = Rerun.objects.filter(state=Rerun.State.RUNNING).first()
    if rerun is None:
        return {"reruns_asked": 0}
    _settle(rerun)
    open_rows = Prediction.objects.filter(
        rerun_item__rerun=rerun, status__in=(Status.QUEUED, Status.RUNNING)
    ).count()
    asked = _ask(rerun) if open_rows < OPEN_ROWS - ROWS_A_PASS else 0
    if asked:
        predictions.wake(BULK)
    elif not open_rows:
        Rerun.objects.filter(pk=rerun.pk, state=Rerun.State.RUNNING, cursor=rerun.cursor).update(
            state=Rerun.State.DONE, finished_at=timezone.now()
        )
    return {"reruns_asked": asked}


def _ask(rerun: Rerun) -> int:
    """Make rows for the next photos. Returns how many."""
    rows = outdated().filter(pk__gt=rerun.cursor, pk__lte=rerun.last).order_by("pk")
    found = list(rows[:ROWS_A_PASS])
    if not found:
        return 0
    full = set(
        Prediction.objects.filter(photo__in=[row.photo_id for row in found])
        .order_by()
        .values_list("photo")
        .annotate(n=Count("pk"))
        .filter(n__gte=predictions.MOST_ANSWERS)
        .values_list("photo", flat=True)
    )
    with transaction.atomic():
        # Of two that feed at once only one finds the cursor where it was.
        moved = Rerun.objects.filter(pk=rerun.pk, state=Rerun.State.RUNNING, cursor=rerun.cursor)
        if not moved.update(cursor=found[-1].pk):
            return 0
        for old in found:
            if old.photo_id not in full:
                RerunItem.objects.create(rerun=rerun, prediction=_again(old), before=old.says)
    return len(found)


def _again(old: Prediction) -> Prediction:
    """The same question anew: the same part of the same photo. Not the present answer yet."""
    return Prediction.objects.create(
        photo_id=old.photo_id,
        owner_id=old.owner_id,
        photo_created_at=old.photo_created_at,
        is_current=False,
        priority=BULK,
        input=old.input.name,
        input_sha256=old.input_sha256,
        preprocessing=old.preprocessing,
        crop=old.crop,
    )


def _settle(rerun: Rerun) -> None:
    """Write the answers that came beside those before them."""
    foreign = Prediction.Verdict.NONE_OF_THE_TEN
    fresh = RerunItem.objects.filter(rerun=rerun, changed=None, prediction__status=Status.DONE)
    says = Case(
        When(prediction__verdict=foreign, then=Value(str(foreign))),
        default=F("prediction__label"),
        output_field=CharField(),
    )
    found = list(fresh.annotate(says=says)[: 2 * OPEN_ROWS])
    for item in found:
        item.after = item.says
        item.changed = item.after != item.before
    RerunItem.objects.bulk_update(found, ["after", "changed"], batch_size=500)


# --- What came of it --------------------------------------------------------------------------


def summary(rerun: Rerun) -> dict[str, Any]:
    """Counts of a rerun: ``asked``, ``answered``, ``changed``, and ``pairs`` of before, after, n."""
    counts = rerun.items.aggregate(
        asked=Count("pk"),
        answered=Count("pk", filter=Q(changed__isnull=False)),
        changed=Count("pk", filter=Q(changed=True)),
    )
    pairs = rerun.items.filter(changed=True).order_by().values("before", "after").annotate(n=Count("pk"))
    to_come = 0
    if rerun.state == Rerun.State.RUNNING:
        to_come = outdated().filter(pk__gt=rerun.cursor, pk__lte=rerun.last).count()
    return {**counts, "to_come": to_come, "pairs": list(pairs.order_by("-n", "before", "after"))}


def changes(rerun: Rerun, before: int = 0) -> QuerySet[RerunItem]:
    """Photos whose answer changed, newest first; ``before``: only those below this number."""
    rows = rerun.items.filter(changed=True).select_related("prediction__photo").order_by("-id")
    return rows.filter(pk__lt=before) if before else rows
