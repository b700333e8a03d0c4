"""What people do with training jobs: ask for one, steer it, see how it stands.

Each change is a conditional UPDATE. The database is the source of truth; messages are wake-up hints. What
workers write: ``training.jobs.ownership``.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from django.conf import settings
from django.contrib.auth.models import AbstractBaseUser
from django.db import IntegrityError, transaction
from django.db.models import Case, Count, OuterRef, Q, QuerySet, Subquery, When
from django.utils import timezone
from django.utils.translation import gettext as _

from cifarsite.core import webhooks
from cifarsite.core.wakeups import publish
from training.engine.recipes import RECIPES
from training.engine.training.recipe import ParameterError, Recipe
from training.jobs.trainable import check_trainable
from training.models import DEFAULT_PROJECT, DatasetVersion, JobEvent, Project, TrainingJob

State = TrainingJob.State
# Going on would end in the same way: the same numbers come again.
POINTLESS_TO_RESUME = ("diverged", "parameters")
UNOWNED: dict[str, Any] = {"claim": None, "lease_expires_at": None}
FRESH: dict[str, Any] = {
    **UNOWNED,
    "state": State.QUEUED,
    "worker": "",
    "attempt": 0,
    "cancel_requested": False,
    "stop_requested": False,
    "finished_at": None,
    "error_code": "",
    "error_detail": "",
    "traceback": "",
    **webhooks.UNSENT,
}


class InvalidTransition(Exception):
    """The job is past that; ``detail`` says so in a sentence."""

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


# --- What people ask for --------------------------------------------------------------------


def request_training(
    *,
    recipe: str,
    parameters: Mapping[str, Any],
    by: AbstractBaseUser | None,
    project: Project | str = DEFAULT_PROJECT,
    dataset: DatasetVersion | None = None,
    request_key: str | None = None,
    webhook: str = "",
    detail: str = "",
) -> TrainingJob:
    """Queue a training run and wake a worker on commit.

    Args:
        parameters: by name; what is missing takes the recipe's default.
        dataset: None: what the project's images are when the run begins, or plain CIFAR-10.
        request_key: made by the form; the same key of the same person is the same job, so a
            double click queues one.
        webhook: an address that is told when the job is over, see ``training.jobs.webhooks``.

    Raises:
        ParameterError: there is no such recipe, it does not train this project or dataset, or a
            parameter is unknown or out of range.
        DatasetError: the project has too few classes or images; says what is missing.
        WebhookRefused: the webhook's address cannot be used.
    """
    slug = project if isinstance(project, str) else project.pk
    chosen = find_recipe(recipe)
    values = chosen.clean(parameters)
    check_trainable(slug, chosen, dataset)
    if webhook:
        webhooks.read_address(webhook)
    key = f"{by.pk if by else ''}:{request_key}"[:64] if request_key else None
    if key and (known := TrainingJob.objects.filter(request_key=key).first()):
        return known
    try:
        with transaction.atomic():
            job = TrainingJob.objects.create(
                project_id=slug,
                recipe=recipe,
                parameters=values,
                dataset=dataset,
                requested_by=by,  # type: ignore[misc]
                request_key=key,
                webhook_url=webhook,
            )
            note(job, "requested", detail, by=by)
            transaction.on_commit(wake)
    except IntegrityError:
        # The other click of the double click got there first.
        return TrainingJob.objects.get(request_key=key)
    return job


def cancel(job: TrainingJob, *, by: AbstractBaseUser | None = None) -> None:
    """Give a job up and keep nothing of it. Cancelling twice is cancelling once.

    Raises:
        InvalidTransition: it is over.
    """
    rows = TrainingJob.objects.filter(pk=job.pk)
    with transaction.atomic():
        if rows.unowned().update(
            **UNOWNED, state=State.CANCELLED, cancel_requested=True, finished_at=timezone.now()
        ):
            note(job, "cancelled", by=by)
            transaction.on_commit(partial(forget_checkpoints, job))
        elif rows.filter(state=State.RUNNING, cancel_requested=False).update(cancel_requested=True):
            note(job, "cancel requested", by=by)
        elif not rows.filter(cancel_requested=True, state__in=(State.RUNNING, State.CANCELLED)).exists():
            raise _wrong(job, _("it can no longer be cancelled."))
    job.refresh_from_db()


def stop(job: TrainingJob, *, by: AbstractBaseUser | None = None) -> None:
    """End a running job early and keep its best epoch; the first epoch is always finished.

    Raises:
        InvalidTransition: it does not run, or is being cancelled.
    """
    rows = TrainingJob.objects.filter(pk=job.pk, state=State.RUNNING, cancel_requested=False)
    with transaction.atomic():
        if rows.filter(stop_requested=False).update(stop_requested=True):
            note(job, "stop requested", by=by)
        elif not rows.exists():
            raise _wrong(job, _("only a running job can be stopped."))
    job.refresh_from_db()


def resume(job: TrainingJob, *, by: AbstractBaseUser | None = None) -> None:
    """Queue a stopped or failed job again; it goes on after its last checkpoint.

    Raises:
        InvalidTransition: there is nothing to go on from, or it would fail in the same way.
    """
    job.refresh_from_db()
    if not is_resumable(job):
        raise _wrong(
            job, _("it has no checkpoint to resume from: clone the job, or try again from the start.")
        )
    rows = TrainingJob.objects.filter(pk=job.pk, state=job.state)
    with transaction.atomic():
        if not rows.update(**FRESH):
            raise _wrong(job, _("somebody else has already resumed it."))
        note(job, "resumed", by=by)
        transaction.on_commit(wake)
    job.refresh_from_db()


def retry(job: TrainingJob, *, by: AbstractBaseUser | None = None) -> TrainingJob:
    """Queue a new job with the same recipe and parameters; while that one goes on, a second click gives it.

    Raises:
        InvalidTransition: it is not over, or has succeeded.
    """
    job.refresh_from_db()
    if job.state not in (State.FAILED, State.CANCELLED, State.STOPPED):
        raise _wrong(job, _("only a failed, cancelled or stopped job can be tried again."))
    over = ~Q(state__in=(State.QUEUED, State.RUNNING))
    earlier = TrainingJob.objects.filter(
        over, request_key__startswith=f"{by.pk if by else ''}:retry-{job.pk}."
    )
    return request_training(
        recipe=job.recipe,
        parameters=job.parameters,
        by=by,
        project=job.project_id,
        dataset=job.dataset,
        request_key=f"retry-{job.pk}.{earlier.count()}",
        webhook=job.webhook_url,
        detail=f"Again from the start, after job #{job.pk}.",
    )


def clone_values(job: TrainingJob) -> dict[str, Any]:
    """The parameters of an earlier job for a new form; those its recipe has dropped are left out."""
    recipe = RECIPES.get(job.recipe)
    names = {p.name for p in recipe.parameters} if recipe else set()
    return {name: value for name, value in job.parameters.items() if name in names}


# --- What is known of a job -----------------------------------------------------------------


def find_recipe(name: str) -> Recipe:
    """The recipe of that name, or a ParameterError that names those there are."""
    if name not in RECIPES:
        raise ParameterError(f"There is no recipe '{name}': choose one of {', '.join(sorted(RECIPES))}.")
    return RECIPES[name]


def is_resumable(job: TrainingJob) -> bool:
    """It ended early, has something to go on from, and going on makes sense.

    That is a whole epoch, or where images are looked at once, those that were looked at.
    """
    if job.state not in (State.STOPPED, State.FAILED) or job.error_code in POINTLESS_TO_RESUME:
        return False
    if (recipe := RECIPES.get(job.recipe)) and recipe.own_classes:
        return job.state == State.FAILED
    done = job.epochs.count()
    return done > 0 and (job.state == State.FAILED or done < int(job.parameters.get("epochs", 0)))


def queue_position(job: TrainingJob) -> int | None:
    """1 for the next to be trained; None where it is not waiting."""
    if job.state != State.QUEUED:
        return None
    return TrainingJob.objects.filter(state=State.QUEUED, pk__lt=job.pk).count() + 1


def with_positions(rows: QuerySet[TrainingJob]) -> QuerySet[TrainingJob]:
    """Jobs with ``position``, which ``queue_position`` gives for one."""
    before = TrainingJob.objects.filter(state=State.QUEUED, pk__lte=OuterRef("pk")).order_by().values("state")
    count = Subquery(before.annotate(n=Count("pk")).values("n"))
    return rows.annotate(position=Case(When(state=State.QUEUED, then=count), default=None))


def run_folder(job: TrainingJob) -> Path:
    """Where a run keeps its log and checkpoints on the host that trains it."""
    folder: Path = settings.RUNS_DIR / str(job.pk)
    return folder


def forget_checkpoints(job: TrainingJob) -> None:
    shutil.rmtree(run_folder(job) / "checkpoints", ignore_errors=True)


def note(job: TrainingJob, what: str, detail: str = "", *, by: AbstractBaseUser | None = None) -> None:
    """Add a line to the job's record."""
    JobEvent.objects.create(job_id=job.pk, what=what, detail=detail, by=by)  # type: ignore[misc]


def wake() -> bool:
    """Tell a worker to look; a lost message is made good by the sweeper."""
    return publish("training.tasks.train")


def _wrong(job: TrainingJob, reason: str) -> InvalidTransition:
    job.refresh_from_db()
    return InvalidTransition(
        _("Job #%(id)s is %(state)s: %(reason)s")
        % {"id": job.pk, "state": job.get_state_display(), "reason": reason}
    )
