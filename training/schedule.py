"""Training that nobody asks for: by the calendar, or after so many accepted corrections."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from training import jobs
from training.engine.recipe import ParameterError
from training.models import DatasetVersion, Schedule, TrainingJob
from training.promotion import PromotionRefused, promote

# The admin's page offers this one row; a second one is never read.
THE_ROW = 1


def schedule() -> Schedule:
    """The one row; not saved yet, and switched off, before somebody keeps one."""
    return Schedule.objects.filter(pk=THE_ROW).first() or Schedule(pk=THE_ROW)


def run_schedule(
    accepted_since: Callable[[datetime | None], int] = lambda since: 0,
    freeze: Callable[[], DatasetVersion | None] = lambda: None,
) -> dict[str, int]:
    """One pass of the sweeper: promote what the last scheduled run made, and queue the next one.

    Args:
        accepted_since: how many corrections were accepted since a moment (None: ever).
        freeze: makes the dataset version with what was accepted so far; None: there is nothing
            beside CIFAR-10.
    """
    row = Schedule.objects.filter(pk=THE_ROW, enabled=True).select_related("last_job").first()
    if row is None:
        return {"jobs_scheduled": 0}
    if row.auto_promote and row.last_job:
        _promote_once(row.last_job)
    is_due = _is_due(row, accepted_since)
    return {"jobs_scheduled": int(is_due and _request(row, freeze))}


def _is_due(row: Schedule, accepted_since: Callable[[datetime | None], int]) -> bool:
    if row.last_job and not row.last_job.is_over:
        return False
    by_calendar = row.every_days and (
        row.last_run_at is None or row.last_run_at < timezone.now() - timedelta(days=row.every_days)
    )
    return bool(by_calendar) or bool(
        row.after_corrections and accepted_since(row.last_run_at) >= row.after_corrections
    )


def _request(row: Schedule, freeze: Callable[[], DatasetVersion | None]) -> bool:
    with transaction.atomic():
        # Of two sweepers only one finds the row as it was.
        seen = Q(last_run_at=row.last_run_at) if row.last_run_at else Q(last_run_at__isnull=True)
        if not Schedule.objects.filter(seen, pk=row.pk, enabled=True).update(last_run_at=timezone.now()):
            return False
        try:
            job = jobs.request_training(
                recipe=row.recipe,
                parameters=row.parameters,
                by=None,
                dataset=freeze(),
                detail="By the schedule.",
            )
        except ParameterError:
            # The recipe has changed since: switched off until somebody looks at it.
            Schedule.objects.filter(pk=row.pk).update(enabled=False)
            return False
        Schedule.objects.filter(pk=row.pk).update(last_job=job)
    return True


def _promote_once(job: TrainingJob) -> None:
    model = job.models.first()
    if model is None or job.events.filter(what__startswith="automatic promotion").exists():
        return
    try:
        promote(model, by=None, reason=f"Scheduled run, job #{job.pk}.")
        jobs.note(job, "automatic promotion")
    except PromotionRefused as error:
        jobs.note(job, "automatic promotion refused", error.detail)
