"""Training that nobody asks for: by the calendar, or after so many accepted corrections; a schedule a
project."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial

from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from cifarsite.core.wakeups import publish
from training.engine.data.cifar10 import DatasetError
from training.engine.training.recipe import ParameterError
from training.jobs import lifecycle
from training.jobs.trainable import default_recipe
from training.models import DEFAULT_PROJECT, DatasetVersion, ModelVersion, ProjectImage, Schedule, TrainingJob
from training.registry import model_store, smoke_test
from training.registry.promotion import PromotionRefused, promote
from training.registry.promotion_gate import examine

ASKED, ASK_AGAIN = "smoke test asked for", timedelta(minutes=5)


def schedule(project: str = DEFAULT_PROJECT) -> Schedule:
    """A project's row; not saved yet, and switched off, before somebody keeps one."""
    found = Schedule.objects.filter(project=project).first()
    return found or Schedule(project_id=project, recipe=default_recipe(project))


def run_schedule(
    accepted_since: Callable[[datetime | None], int] = lambda since: 0,
    freeze: Callable[[], DatasetVersion | None] = lambda: None,
) -> dict[str, int]:
    """One pass of the sweeper: promote what each project's last scheduled run made, and queue the next one.

    In a project of one's own, accepted corrections are images of the project, and the run freezes them.

    Args:
        accepted_since: how many corrections of CIFAR-10 were accepted since a moment (None: ever).
        freeze: makes CIFAR-10's dataset version with what was accepted so far; None: there is nothing
            beside CIFAR-10.
    """
    scheduled = 0
    for row in Schedule.objects.filter(enabled=True).select_related("last_job").order_by("pk"):
        if row.auto_promote and row.last_job:
            _promote_once(row.last_job)
        if row.project_id == DEFAULT_PROJECT:
            scheduled += _is_due(row, accepted_since) and _request(row, freeze)
        else:
            images_since = partial(_images_since, str(row.project_id))
            scheduled += _is_due(row, images_since) and _request(row, lambda: None)
    return {"jobs_scheduled": scheduled}


def _images_since(project: str, since: datetime | None) -> int:
    """How many photos that people corrected became images of a project since a moment."""
    rows = ProjectImage.objects.filter(project=project, photo__isnull=False)
    return (rows.filter(created_at__gt=since) if since else rows).count()


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
            job = lifecycle.request_training(
                recipe=row.recipe,
                parameters=row.parameters,
                by=None,
                project=str(row.project_id),
                dataset=freeze(),
                detail="By the schedule.",
            )
        except (ParameterError, DatasetError):
            # The recipe or the images have changed since: switched off until somebody looks at it.
            Schedule.objects.filter(pk=row.pk).update(enabled=False)
            return False
        Schedule.objects.filter(pk=row.pk).update(last_job=job)
    return True


def _promote_once(job: TrainingJob) -> None:
    model = job.models.first()
    if model is None or job.events.filter(what__startswith="automatic promotion").exists():
        return
    if not examine(model)["refusals"] and not _is_tried(job, model):
        return
    try:
        promote(model, by=None, reason=f"Scheduled run, job #{job.pk}.")
        lifecycle.note(job, "automatic promotion")
    except PromotionRefused as error:
        lifecycle.note(job, "automatic promotion refused", error.detail)


def _is_tried(job: TrainingJob, model: ModelVersion) -> bool:
    """Was the model loaded and timed beside the champion? If not, a worker is asked, and a later pass looks.

    Not here: that takes up to minutes, and the sweeper has other work.
    """
    champion = model_store.champion(model.project_id)
    if smoke_test.is_valid(model, champion):
        return True
    asked = job.events.filter(what=ASKED).order_by("-id").first()
    if asked and "error" in model.smoke_test and model.smoke_test["at"] > asked.at.isoformat():
        lifecycle.note(job, "automatic promotion refused", str(model.smoke_test["error"]))
    elif not asked or asked.at < timezone.now() - ASK_AGAIN:
        publish(smoke_test.TASK, model.pk, champion.pk if champion else None)
        lifecycle.note(job, ASKED, "A worker loads the model and times it beside the champion.")
    return False
