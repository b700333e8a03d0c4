"""The pages of training, for staff; each view calls the function that does the work."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.exceptions import PermissionDenied
from django.core.paginator import Paginator
from django.db.models import Count, OuterRef, Subquery
from django.db.models.functions import Coalesce
from django.http import HttpRequest, HttpResponse, HttpResponseBase, JsonResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from training import curves, jobs, leases
from training.engine.recipe import ParameterError
from training.engine.recipes import RECIPES
from training.forms import ScheduleForm, TrainingForm
from training.models import Epoch, TrainingJob
from training.schedule import schedule

# htmx stops to ask when it is answered with this.
STOP_POLLING = 286
JOBS_A_PAGE = 25
DEFAULT_RECIPE = "fast_cnn"
VERBS: dict[str, Callable[..., TrainingJob | None]] = {
    "cancel": jobs.cancel,
    "stop": jobs.stop,
    "resume": jobs.resume,
    "retry": jobs.retry,
}

View = Callable[..., HttpResponseBase]


def staff_only(view: View) -> View:
    """302 to the sign-in for strangers, 403 for people who are not staff."""

    @login_required
    @wraps(view)
    def checked(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        if not request.user.is_staff:
            raise PermissionDenied(_("Only staff may train models."))
        return view(request, *args, **kwargs)

    return checked


@staff_only
@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def jobs_page(request: HttpRequest) -> HttpResponse:
    """All jobs, the form for a new one, the schedule."""
    asked = request.POST if request.method == "POST" else request.GET
    earlier = _earlier(request)
    recipe = RECIPES.get(asked.get("recipe") or (earlier.recipe if earlier else DEFAULT_RECIPE))
    recipe = recipe or RECIPES[DEFAULT_RECIPE]
    form = TrainingForm(recipe, initial=jobs.clone_values(earlier) if earlier else {})
    if request.method == "POST":
        form = TrainingForm(recipe, request.POST)
        if form.is_valid():
            return _request(request, form)
    done = Epoch.objects.order_by().filter(job=OuterRef("pk")).values("job").annotate(count=Count("*"))
    rows = TrainingJob.objects.select_related("requested_by").defer("traceback", "live").order_by("-id")
    rows = rows.annotate(done=Coalesce(Subquery(done.values("count")), 0))
    page = Paginator(rows, JOBS_A_PAGE).get_page(request.GET.get("page"))
    context = {
        "page": page,
        "form": form,
        "recipes": RECIPES.values(),
        "earlier": earlier,
        "schedule": ScheduleForm(instance=schedule()),
        **worker_context(),
    }
    return render(request, "training/jobs.html", context, status=400 if form.errors else 200)


def _earlier(request: HttpRequest) -> TrainingJob | None:
    """The job to clone, if the address names one."""
    number = request.GET.get("clone", "")
    if not (number.isascii() and number.isdecimal() and len(number) < 19):
        return None
    return TrainingJob.objects.filter(pk=int(number)).first()


def _request(request: HttpRequest, form: TrainingForm) -> HttpResponse:
    try:
        job = jobs.request_training(
            recipe=form.chosen.name,
            parameters=form.parameters,
            dataset=form.cleaned_data["dataset"],
            by=request.user,  # type: ignore[arg-type]
            request_key=form.cleaned_data["request_key"],
            webhook=form.cleaned_data.get("webhook", ""),
        )
    except ParameterError as error:
        messages.error(request, str(error))
        return redirect("training:jobs")
    messages.success(request, _("Job #%(id)s is in the queue.") % {"id": job.pk})
    return redirect(job)


@staff_only
@never_cache
@require_safe
def job_page(request: HttpRequest, pk: int) -> HttpResponse:
    job = get_object_or_404(TrainingJob, pk=pk)
    context = {"curve": curves.of_job(job), "recipe": RECIPES.get(job.recipe), **job_context(job)}
    return render(request, "training/job.html", context)


@staff_only
@never_cache
@require_safe
def job_live(request: HttpRequest, pk: int) -> HttpResponse:
    """The part of a job's page that changes; 286 once the job is over."""
    job = get_object_or_404(TrainingJob, pk=pk)
    status = STOP_POLLING if job.is_over else 200
    return render(request, "training/_job_live.html", job_context(job), status=status)


@staff_only
@never_cache
@require_safe
def job_epochs(request: HttpRequest, pk: int) -> JsonResponse:
    """What the charts draw: at most 500 epochs of it."""
    return JsonResponse(curves.of_job(get_object_or_404(TrainingJob, pk=pk)))


@staff_only
@require_safe
def job_history(request: HttpRequest, pk: int) -> JsonResponse:
    """Every epoch, in the shape of ``keras.callbacks.History.history``."""
    job = get_object_or_404(TrainingJob, pk=pk)
    answer = JsonResponse(curves.history(job))
    answer["Content-Disposition"] = f'attachment; filename="job-{job.pk}-history.json"'
    return answer


@staff_only
@require_POST
def job_change(request: HttpRequest, pk: int, verb: str) -> HttpResponse:
    """Cancel, stop, resume or retry; a refusal is shown on the job's page."""
    job = get_object_or_404(TrainingJob, pk=pk)
    try:
        other = VERBS[verb](job, by=request.user)
    except jobs.WrongState as error:
        messages.error(request, error.detail)
        return redirect(job)
    except ParameterError as error:
        messages.error(request, str(error))
        return redirect(job)
    said = {
        "cancel": _("Job #%(id)s is being cancelled; nothing of it is kept."),
        "stop": _("Job #%(id)s is being stopped; its best epoch is kept."),
        "resume": _("Job #%(id)s is in the queue again and goes on after its last whole epoch."),
        "retry": _("Job #%(id)s starts again from the beginning, as a new job."),
    }[verb]
    messages.success(request, said % {"id": job.pk})
    return redirect(other or job)


@staff_only
@require_POST
def schedule_change(request: HttpRequest) -> HttpResponse:
    form = ScheduleForm(request.POST, instance=schedule())
    if form.is_valid():
        form.instance.parameters = {}
        row = form.save()
        messages.success(request, _("The schedule is on.") if row.enabled else _("The schedule is off."))
    else:
        messages.error(request, " ".join(str(text) for texts in form.errors.values() for text in texts))
    return redirect("training:jobs")


def worker_context() -> dict[str, Any]:
    """Is there a worker that trains, and when was the last one seen?"""
    seen_at = leases.last_seen(jobs.QUEUE)
    return {"worker_lives": bool(seen_at and leases.is_recent(seen_at)), "worker_seen_at": seen_at}


def job_context(job: TrainingJob) -> dict[str, Any]:
    return {
        "job": job,
        "progress": curves.progress(job),
        "position": jobs.queue_position(job),
        "is_resumable": jobs.is_resumable(job),
        "is_silent": bool(
            job.state == jobs.State.RUNNING and job.lease_expires_at and job.lease_expires_at < timezone.now()
        ),
        "events": job.events.select_related("by"),
        "made": job.models.defer("card"),
        **worker_context(),
    }
