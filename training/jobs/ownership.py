"""What the owner of a training job writes, and what becomes of jobs whose owner is gone.

It goes through ``leases.owned``, so an owner that lost its claim changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import F, Q, Value
from django.db.models.functions import Coalesce
from django.utils import timezone
from django.utils.translation import gettext as _

from cifarsite.core import leases
from cifarsite.core.leases import LeasedQuerySet
from training import workers
from training.jobs.lifecycle import (
    FRESH,
    UNOWNED,
    _wrong,
    find_recipe,
    forget_checkpoints,
    is_resumable,
    note,
    wake,
)
from training.jobs.notifications import tell_requester
from training.jobs.trainable import check_trainable
from training.models import DEFAULT_PROJECT, DatasetVersion, TrainingJob, Worker

State = TrainingJob.State
CELERY_QUEUE = "train"


class ClaimLost(Exception):
    """Somebody else has the job by now: this owner must write nothing more."""


def claimable() -> LeasedQuerySet[TrainingJob]:
    """Jobs that a worker may claim now, first come first served."""
    return TrainingJob.objects.claimable().filter(cancel_requested=False).order_by("id")


def claim_next(worker: str, rows: LeasedQuerySet[TrainingJob] | None = None) -> TrainingJob | None:
    """Take the next job, or one of ``rows``; None where there is none, or another was quicker."""
    rows = claimable() if rows is None else rows
    started_at = Coalesce(F("started_at"), Value(timezone.now()))
    found = rows.claim(worker=worker, started_at=started_at, live={})
    if not found:
        return None
    note(found[0], "started", f"Attempt {found[0].attempt} by {worker}.")
    return found[0]


def own_new(
    recipe: str,
    parameters: Mapping[str, Any],
    *,
    worker: str,
    project: str = DEFAULT_PROJECT,
    dataset: DatasetVersion | None = None,
) -> TrainingJob:
    """A job that its maker trains at once: it never waits, so no worker takes it.

    Raises:
        ParameterError, DatasetError: see ``request_training``.
    """
    chosen = find_recipe(recipe)
    values = chosen.clean(parameters)
    check_trainable(project, chosen, dataset)
    with transaction.atomic():
        job = TrainingJob.objects.create(
            project_id=project, recipe=recipe, parameters=values, dataset=dataset
        )
        note(job, "requested", worker)
        mine = claim_next(worker, TrainingJob.objects.filter(pk=job.pk))
    assert mine is not None
    return mine


def own_again(job: TrainingJob, *, worker: str) -> TrainingJob:
    """Go on with a job in the process that asks: one that ended early, waits, or lost its owner.

    Raises:
        InvalidTransition: another worker trains it, or there is nothing to go on from.
    """
    with transaction.atomic():
        if job.is_over:
            if not is_resumable(job):
                raise _wrong(job, _("it has no checkpoint to resume from."))
            TrainingJob.objects.filter(pk=job.pk, state=job.state).update(**FRESH)
        mine = claim_next(worker, claimable().filter(pk=job.pk))
    if mine is None:
        raise _wrong(job, _("%(worker)s is training it.") % {"worker": job.worker})
    return mine


def owner_writes(job: TrainingJob, **fields: Any) -> None:
    """Write fields of a job that is mine.

    Raises:
        ClaimLost: it is not mine any more, or is over.
    """
    if leases.owned(job).filter(state=State.RUNNING).update(**fields) != 1:
        raise ClaimLost(f"Job #{job.pk} was claimed by another worker: nothing more is written.")


def finish(job: TrainingJob, state: TrainingJob.State, detail: str = "") -> None:
    """The run is over with a model (``succeeded``, ``stopped``), or is ``cancelled``.

    Raises:
        ClaimLost: it is not mine any more.
    """
    with transaction.atomic():
        owner_writes(job, **UNOWNED, state=state, finished_at=timezone.now(), step=0)
        note(job, str(state.value), detail)
    if state != State.STOPPED:
        transaction.on_commit(partial(forget_checkpoints, job))


def fail(job: TrainingJob, code: str, detail: str, traceback: str = "") -> None:
    """The run is over without a model; the reason stays on the row.

    Raises:
        ClaimLost: it is not mine any more.
    """
    with transaction.atomic():
        owner_writes(
            job,
            **UNOWNED,
            state=State.FAILED,
            finished_at=timezone.now(),
            error_code=code,
            error_detail=detail,
            traceback=traceback[-20_000:],
        )
        note(job, "failed", detail)


def release(job: TrainingJob, detail: str) -> None:
    """Put a job back that its worker politely left; the attempt is not charged.

    Raises:
        ClaimLost: it is not mine any more.
    """
    with transaction.atomic():
        owner_writes(job, **UNOWNED, state=State.QUEUED, attempt=F("attempt") - 1)
        note(job, "put back", detail)
        transaction.on_commit(wake)


def crashed(job: TrainingJob, detail: str, traceback: str = "") -> None:
    """The process died: queue the job again, or fail it after three attempts without a new epoch.

    Raises:
        ClaimLost: it is not mine any more.
    """
    # The run itself sets it back to 1 with each whole epoch.
    job.refresh_from_db(fields=["attempt"])
    if job.attempt >= settings.MAX_ATTEMPTS:
        fail(job, "crashed", f"{detail} That was attempt {job.attempt}, the last one.", traceback)
        return
    with transaction.atomic():
        owner_writes(job, **UNOWNED, state=State.QUEUED, traceback=traceback[-20_000:])
        note(job, "crashed", detail)
        transaction.on_commit(wake)


def _end_lost() -> int:
    """End what was lost too often or was being cancelled; returns how many jobs it was."""
    ended = 0
    for job in TrainingJob.objects.lost().filter(
        Q(cancel_requested=True) | Q(attempt__gte=settings.MAX_ATTEMPTS)
    ):
        try:
            if job.cancel_requested:
                finish(job, State.CANCELLED, "Its worker was gone.")
            else:
                fail(
                    job,
                    "worker_lost",
                    f"The worker was lost in each of {job.attempt} attempts. Resume the job once the "
                    "workers are well.",
                )
            ended += 1
            tell_requester(job)
        except ClaimLost:
            continue
    return ended


QUEUE = leases.Queue(
    "jobs",
    claimable,
    _end_lost,
    wake=lambda waiting: waiting.overdue().exists() and _idle_worker() and wake(),
)


def _idle_worker() -> bool:
    """A training worker lives that has nothing to do: messages for busy ones would only pile up."""
    lately = Worker.objects.order_by("-seen_at")[:100]
    names = {worker.name for worker in lately if CELERY_QUEUE in worker.queues and workers.lives(worker)}
    busy = TrainingJob.objects.filter(~leases.lease_expired(), state=State.RUNNING, worker__in=names)
    return len(names) > busy.count()
