"""The life of a training job: every change of state is here, each a conditional UPDATE.

The row is the truth; the message only tells a worker to look. What an owner writes goes
through ``leases.owned``, so one that lost its claim changes nothing.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from django.conf import settings
from django.contrib.auth.models import AbstractBaseUser
from django.core.mail import send_mail
from django.db import IntegrityError, transaction
from django.db.models import F, Q, QuerySet, Value
from django.db.models.functions import Coalesce
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import override

from training import leases, webhooks
from training.engine.recipe import ParameterError, Recipe
from training.engine.recipes import RECIPES
from training.messages import publish
from training.models import DatasetVersion, JobEvent, TrainingJob, Worker

logger = logging.getLogger(__name__)

State = TrainingJob.State
QUEUE = "train"
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
    "webhook_state": TrainingJob.Webhook.WAITING,
    "webhook_tries": 0,
    "webhook_next_at": None,
    "webhook_said": "",
}


class WrongState(Exception):
    """The job is past that; ``detail`` says so in a sentence."""

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


class ClaimLost(Exception):
    """Somebody else has the job by now: this owner must write nothing more."""


# --- What people ask for --------------------------------------------------------------------


def request_training(
    *,
    recipe: str,
    parameters: Mapping[str, Any],
    by: AbstractBaseUser | None,
    dataset: DatasetVersion | None = None,
    request_key: str | None = None,
    webhook: str = "",
    detail: str = "",
) -> TrainingJob:
    """Queue a training run and wake a worker on commit.

    Args:
        parameters: by name; what is missing takes the recipe's default.
        request_key: made by the form; the same key of the same person is the same job, so a
            double click queues one.
        webhook: an address that is told when the job is over, see ``training.webhooks``.

    Raises:
        ParameterError: there is no such recipe, or a parameter is unknown or out of range.
        WebhookRefused: the webhook's address cannot be used.
    """
    values = find_recipe(recipe).clean(parameters)
    if webhook:
        webhooks.read_address(webhook)
    key = f"{by.pk if by else ''}:{request_key}"[:64] if request_key else None
    if key and (known := TrainingJob.objects.filter(request_key=key).first()):
        return known
    try:
        with transaction.atomic():
            job = TrainingJob.objects.create(
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
        WrongState: it is over.
    """
    rows = TrainingJob.objects.filter(pk=job.pk)
    nobody_works = Q(state=State.QUEUED) | Q(state=State.RUNNING) & leases.lease_expired()
    with transaction.atomic():
        if rows.filter(nobody_works).update(
            **UNOWNED, state=State.CANCELLED, cancel_requested=True, finished_at=timezone.now()
        ):
            note(job, "cancelled", by=by)
            transaction.on_commit(partial(forget_checkpoints, job))
        elif rows.filter(state=State.RUNNING, cancel_requested=False).update(cancel_requested=True):
            note(job, "cancel requested", by=by)
        elif not rows.filter(cancel_requested=True, state__in=(State.RUNNING, State.CANCELLED)).exists():
            raise _wrong(job, _("it cannot be cancelled any more."))
    job.refresh_from_db()


def stop(job: TrainingJob, *, by: AbstractBaseUser | None = None) -> None:
    """End a running job early and keep its best epoch; the first epoch is always finished.

    Raises:
        WrongState: it does not run, or is being cancelled.
    """
    rows = TrainingJob.objects.filter(pk=job.pk, state=State.RUNNING, cancel_requested=False)
    with transaction.atomic():
        if rows.filter(stop_requested=False).update(stop_requested=True):
            note(job, "stop requested", by=by)
        elif not rows.exists():
            raise _wrong(job, _("only a running one can be stopped."))
    job.refresh_from_db()


def resume(job: TrainingJob, *, by: AbstractBaseUser | None = None) -> None:
    """Queue a stopped or failed job again; it goes on after its last whole epoch.

    Raises:
        WrongState: there is nothing to go on from, or it would fail in the same way.
    """
    job.refresh_from_db()
    if not is_resumable(job):
        raise _wrong(job, _("there is nothing to go on from: clone it or try again from the start."))
    rows = TrainingJob.objects.filter(pk=job.pk, state=job.state)
    with transaction.atomic():
        if not rows.update(**FRESH):
            raise _wrong(job, _("somebody else has resumed it."))
        note(job, "resumed", by=by)
        transaction.on_commit(wake)
    job.refresh_from_db()


def retry(job: TrainingJob, *, by: AbstractBaseUser | None = None) -> TrainingJob:
    """Queue a new job with the same recipe and parameters; a second click gives the same one.

    Raises:
        WrongState: it is not over, or has succeeded.
    """
    job.refresh_from_db()
    if job.state not in (State.FAILED, State.CANCELLED, State.STOPPED):
        raise _wrong(job, _("only a failed, cancelled or stopped one can be tried again."))
    return request_training(
        recipe=job.recipe,
        parameters=job.parameters,
        by=by,
        dataset=job.dataset,
        request_key=f"retry-{job.pk}",
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
    """It ended early, has a whole epoch to go on from, and going on makes sense."""
    if job.state not in (State.STOPPED, State.FAILED) or job.error_code in POINTLESS_TO_RESUME:
        return False
    done = job.epochs.count()
    return done > 0 and (job.state == State.FAILED or done < int(job.parameters.get("epochs", 0)))


def queue_position(job: TrainingJob) -> int | None:
    """1 for the next to be trained; None where it is not waiting."""
    if job.state != State.QUEUED:
        return None
    return TrainingJob.objects.filter(state=State.QUEUED, pk__lt=job.pk).count() + 1


def run_folder(job: TrainingJob) -> Path:
    """Where a run keeps its log and checkpoints on the host that trains it."""
    folder: Path = settings.RUNS_DIR / str(job.pk)
    return folder


def forget_checkpoints(job: TrainingJob) -> None:
    shutil.rmtree(run_folder(job) / "checkpoints", ignore_errors=True)


def note(job: TrainingJob, what: str, detail: str = "", *, by: AbstractBaseUser | None = None) -> None:
    """Add a line to the job's record."""
    JobEvent.objects.create(job_id=job.pk, what=what, detail=detail, by=by)  # type: ignore[misc]


# --- What the owner of a job writes ---------------------------------------------------------


def claimable() -> QuerySet[TrainingJob]:
    """Waiting jobs and running ones whose owner is gone, first come first served."""
    return TrainingJob.objects.filter(
        Q(state=State.QUEUED) | Q(state=State.RUNNING) & leases.lease_expired(),
        attempt__lt=settings.MAX_ATTEMPTS,
        cancel_requested=False,
    ).order_by("id")


def claim_next(worker: str, rows: QuerySet[TrainingJob] | None = None) -> TrainingJob | None:
    """Take the next job, or one of ``rows``; None where there is none, or another was quicker."""
    now = timezone.now()
    found = leases.claim(
        claimable() if rows is None else rows,
        worker=worker,
        state=State.RUNNING,
        started_at=Coalesce(F("started_at"), Value(now)),
        live={},
    )
    if not found:
        return None
    note(found[0], "started", f"Attempt {found[0].attempt} by {worker}.")
    return found[0]


def own_new(
    recipe: str, parameters: Mapping[str, Any], *, worker: str, dataset: DatasetVersion | None = None
) -> TrainingJob:
    """A job that its maker trains at once: it never waits, so no worker takes it.

    Raises:
        ParameterError: see ``request_training``.
    """
    values = find_recipe(recipe).clean(parameters)
    with transaction.atomic():
        job = TrainingJob.objects.create(recipe=recipe, parameters=values, dataset=dataset)
        note(job, "requested", worker)
        mine = claim_next(worker, TrainingJob.objects.filter(pk=job.pk))
    assert mine is not None
    return mine


def own_again(job: TrainingJob, *, worker: str) -> TrainingJob:
    """Go on with a job in the process that asks: one that ended early, waits, or lost its owner.

    Raises:
        WrongState: another worker trains it, or there is nothing to go on from.
    """
    with transaction.atomic():
        if job.is_over:
            if not is_resumable(job):
                raise _wrong(job, _("there is nothing to go on from."))
            TrainingJob.objects.filter(pk=job.pk, state=job.state).update(**FRESH)
        mine = claim_next(worker, claimable().filter(pk=job.pk))
    if mine is None:
        raise _wrong(job, _("%(worker)s trains it.") % {"worker": job.worker})
    return mine


def owner_writes(job: TrainingJob, **fields: Any) -> None:
    """Write fields of a job that is mine.

    Raises:
        ClaimLost: it is not mine any more, or is over.
    """
    if leases.owned(job).filter(state=State.RUNNING).update(**fields) != 1:
        raise ClaimLost(f"Job #{job.pk} belongs to somebody else by now: nothing more is written.")


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


# --- The sweeper ----------------------------------------------------------------------------


def recover_jobs() -> dict[str, int]:
    """One pass: end what was lost too often or was being cancelled, wake workers for the rest."""
    lost = TrainingJob.objects.filter(leases.lease_expired(), state=State.RUNNING)
    ended = 0
    for job in lost.filter(Q(cancel_requested=True) | Q(attempt__gte=settings.MAX_ATTEMPTS)):
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
    waiting = claimable().filter(Q(state=State.RUNNING) | leases.has_waited()).exists()
    woken = int(waiting and _idle_worker() and wake())
    return {"jobs_ended": ended, "jobs_woken": woken}


def wake() -> bool:
    """Tell a worker to look; a lost message is made good by the sweeper."""
    return publish("training.tasks.train")


def tell_requester(job: TrainingJob) -> None:
    """Mail whoever asked for the run that it is over; a failure is logged."""
    job = TrainingJob.objects.select_related("requested_by").get(pk=job.pk)
    address = getattr(job.requested_by, "email", "")
    if not address or not job.is_over:
        return
    with override(getattr(job.requested_by, "language", "") or settings.LANGUAGE_CODE):
        subject = _("Training job #%(id)s: %(state)s") % {"id": job.pk, "state": job.get_state_display()}
        text = _mail(job)
    try:
        send_mail(subject, text, None, [address])
    except Exception as error:  # a mail server may fail in any way
        logger.warning("The mail about job #%s was not sent: %s", job.pk, error)


def _mail(job: TrainingJob) -> str:
    model = job.models.first()
    lines = [_("Training job #%(id)s (%(recipe)s) is over: %(state)s.")]
    if job.error_detail:
        lines.append("%(error)s")
    if model:
        lines.append(_("Model %(model)s has %(accuracy)s of the test images right.") + "\n%(model_page)s")
    lines.append(_("All about it: %(page)s"))
    return "\n\n".join(lines) % {
        "id": job.pk,
        "recipe": job.recipe,
        "state": job.get_state_display(),
        "error": job.error_detail,
        "model": model,
        "accuracy": f"{model.test_accuracy:.1%}" if model and model.test_accuracy is not None else "?",
        "model_page": settings.BASE_URL + model.get_absolute_url() if model else "",
        "page": settings.BASE_URL + job.get_absolute_url(),
    }


def _idle_worker() -> bool:
    """A training worker lives that has nothing to do: messages for busy ones would only pile up."""
    lately = Worker.objects.order_by("-seen_at")[:100]
    names = {worker.name for worker in lately if QUEUE in worker.queues and leases.lives(worker)}
    busy = TrainingJob.objects.filter(~leases.lease_expired(), state=State.RUNNING, worker__in=names)
    return len(names) > busy.count()


def _wrong(job: TrainingJob, reason: str) -> WrongState:
    job.refresh_from_db()
    return WrongState(
        _("Job #%(id)s is %(state)s: %(reason)s")
        % {"id": job.pk, "state": job.get_state_display(), "reason": reason}
    )
