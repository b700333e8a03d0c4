"""The pages of training, for staff; each view calls the function that does the work."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.contrib import messages
from django.core.paginator import Paginator
from django.db.models import Count, OuterRef, QuerySet, Subquery
from django.db.models.functions import Coalesce
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from cifarsite.core.pages import STOP_POLLING, staff_only, whole_number
from training import workers
from training.data import cifar10_copy, project_versions
from training.engine.data.cifar10 import DatasetError
from training.engine.recipes import RECIPES
from training.engine.training.recipe import ParameterError
from training.jobs import learning_curves, lifecycle, ownership
from training.jobs.run_folders import log_tail
from training.jobs.schedule import schedule
from training.jobs.trainable import default_recipe, recipes_for
from training.models import DEFAULT_PROJECT, Epoch, TrainingJob
from training.pages.forms import ScheduleForm, TrainingForm
from training.pages.visible import chosen_project, find_job, project_context, shown_projects, trainers_change
from training.projects.access import visible_projects
from training.reports.fine_tuning import fine_tuning

JOBS_A_PAGE = 25
# What a run on a project's images does.
PHASES = {
    "features": gettext_lazy("Computing the features of the images"),
    "head": gettext_lazy("Fitting the classifier"),
    "activations": gettext_lazy("Preparing the images for fine-tuning"),
    "finetune": gettext_lazy("Fine-tuning"),
    "judge": gettext_lazy("Calibrating the probabilities"),
    "learning_curve": gettext_lazy("Checking whether more images would help"),
    "report": gettext_lazy("Measuring the model for its report"),
}
VERBS: dict[str, Callable[..., TrainingJob | None]] = {
    "cancel": lifecycle.cancel,
    "stop": lifecycle.stop,
    "resume": lifecycle.resume,
    "retry": lifecycle.retry,
}


@trainers_change
@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def jobs_page(request: HttpRequest) -> HttpResponse:
    """Jobs of all projects or of one, the form for a new one, the schedule."""
    asked = request.POST if request.method == "POST" else request.GET
    project, earlier = chosen_project(request), _earlier(request)
    slug = project.pk if project else earlier.project_id if earlier else DEFAULT_PROJECT
    fitting = {recipe.name: recipe for recipe in recipes_for(slug)}
    recipe = fitting.get(asked.get("recipe") or (earlier.recipe if earlier else ""))
    recipe = recipe or fitting[default_recipe(slug)]
    form = TrainingForm(recipe, project=slug, initial=lifecycle.clone_values(earlier) if earlier else {})
    if request.method == "POST":
        form = TrainingForm(recipe, request.POST, project=slug)
        if form.is_valid():
            return _request(request, form)
    done = Epoch.objects.order_by().filter(job=OuterRef("pk")).values("job").annotate(count=Count("*"))
    shown = shown_projects(request, project)
    rows: QuerySet[TrainingJob] = TrainingJob.objects.filter(project__in=shown).order_by("-id")
    rows = rows.select_related("requested_by", "project").defer("traceback", "live")
    rows = rows.annotate(done=Coalesce(Subquery(done.values("count")), 0))
    page = Paginator(rows, JOBS_A_PAGE).get_page(request.GET.get("page"))
    context = {
        **project_context(request, project),
        "page": page,
        "form": form,
        "form_project": slug,
        "lacking": project_versions.missing(slug) if recipe.own_classes else "",
        "recipes": fitting.values(),
        "earlier": earlier,
        "schedule": ScheduleForm(list(fitting.values()), instance=schedule(slug)),
        "cifar10_is_missing": slug == DEFAULT_PROJECT and cifar10_copy.is_missing(),
        **worker_context(),
    }
    return render(request, "training/jobs/jobs.html", context, status=400 if form.errors else 200)


def _earlier(request: HttpRequest) -> TrainingJob | None:
    """The job to clone, if the address names one."""
    number = whole_number(request.GET.get("clone", ""))
    if number is None:
        return None
    return TrainingJob.objects.filter(pk=number, project__in=visible_projects(request.user)).first()


def _request(request: HttpRequest, form: TrainingForm) -> HttpResponse:
    try:
        job = lifecycle.request_training(
            recipe=form.chosen.name,
            parameters=form.parameters,
            project=form.slug,
            dataset=form.cleaned_data["dataset"],
            by=request.user,  # type: ignore[arg-type]
            request_key=form.cleaned_data["request_key"],
            webhook=form.cleaned_data.get("webhook", ""),
        )
    except (ParameterError, DatasetError) as error:
        messages.error(request, str(error))
        return redirect(jobs_address(form.slug))
    messages.success(request, _("Job #%(id)s is queued.") % {"id": job.pk})
    return redirect(job)


@staff_only
@never_cache
@require_safe
def job_page(request: HttpRequest, pk: int) -> HttpResponse:
    job = find_job(request, pk)
    context = {"curve": learning_curves.of_job(job), "recipe": RECIPES.get(job.recipe), **job_context(job)}
    return render(request, "training/jobs/job.html", context)


@staff_only
@never_cache
@require_safe
def job_live(request: HttpRequest, pk: int) -> HttpResponse:
    """The part of a job's page that changes; 286 once the job is over."""
    job = find_job(request, pk)
    status = STOP_POLLING if job.is_over else 200
    return render(request, "training/jobs/_job_live.html", job_context(job), status=status)


@staff_only
@never_cache
@require_safe
def job_epochs(request: HttpRequest, pk: int) -> JsonResponse:
    """What the charts draw: at most 500 epochs of it."""
    return JsonResponse(learning_curves.of_job(find_job(request, pk)))


@staff_only
@require_safe
def job_history(request: HttpRequest, pk: int) -> JsonResponse:
    """Every epoch, in the shape of ``keras.callbacks.History.history``."""
    job = find_job(request, pk)
    answer = JsonResponse(learning_curves.history(job))
    answer["Content-Disposition"] = f'attachment; filename="job-{job.pk}-history.json"'
    return answer


@trainers_change
@require_POST
def job_change(request: HttpRequest, pk: int, verb: str) -> HttpResponse:
    """Cancel, stop, resume or retry; a refusal is shown on the job's page.

    Cancelling a run asks first where it throws epochs away.
    """
    job = find_job(request, pk)
    epochs = job.epochs.count() if verb == "cancel" and not job.is_over else 0
    if epochs and "confirmed" not in request.POST:
        return render(request, "training/jobs/cancel.html", {"job": job, "epochs": epochs})
    try:
        other = VERBS[verb](job, by=request.user)
    except lifecycle.InvalidTransition as error:
        messages.error(request, error.detail)
        return redirect(job)
    except (ParameterError, DatasetError) as error:
        messages.error(request, str(error))
        return redirect(job)
    said = {
        "cancel": _("Job #%(id)s is being cancelled; nothing of it is kept."),
        "stop": _("Job #%(id)s is being stopped; its best epoch is kept."),
        "resume": _("Job #%(id)s is queued again and continues after its last whole epoch."),
        "retry": _("Job #%(id)s starts again from the beginning, as a new job."),
    }[verb]
    messages.success(request, said % {"id": job.pk})
    return redirect(other or job)


@trainers_change
@require_POST
def schedule_change(request: HttpRequest) -> HttpResponse:
    project = chosen_project(request)
    slug = project.pk if project else DEFAULT_PROJECT
    form = ScheduleForm(recipes_for(slug), request.POST, instance=schedule(slug))
    if form.is_valid():
        if "recipe" in form.changed_data:
            # They were those of another recipe.
            form.instance.parameters = {}
        row = form.save()
        messages.success(request, _("The schedule is on.") if row.enabled else _("The schedule is off."))
    else:
        messages.error(request, " ".join(str(text) for texts in form.errors.values() for text in texts))
    return redirect(jobs_address(slug))


def jobs_address(project: str) -> str:
    """The page of a project's jobs; the default one's is that of all."""
    return reverse("training:jobs") + ("" if project == DEFAULT_PROJECT else f"?project={project}")


def worker_context() -> dict[str, Any]:
    """Is there a worker that trains, and when was the last one seen?"""
    seen_at = workers.last_seen(ownership.CELERY_QUEUE)
    return {"worker_lives": bool(seen_at and workers.is_recent(seen_at)), "worker_seen_at": seen_at}


def job_context(job: TrainingJob) -> dict[str, Any]:
    progress, tuned = learning_curves.progress(job), job.live.get("fine_tuning")
    is_own = bool((recipe := RECIPES.get(job.recipe)) and recipe.own_classes)
    may_tune = bool(job.parameters.get("epochs")) and not job.is_over and not tuned
    return {
        "job": job,
        "progress": progress,
        "fine_tuning": fine_tuning(tuned),
        "has_curves": not is_own or progress.done > 0 or may_tune,
        "phase": PHASES.get(job.live.get("phase", ""), ""),
        "position": lifecycle.queue_position(job),
        "is_own": is_own,
        "is_resumable": lifecycle.is_resumable(job),
        "is_silent": bool(
            job.state == lifecycle.State.RUNNING
            and job.lease_expires_at
            and job.lease_expires_at < timezone.now()
        ),
        "log": log_tail(job),
        "events": job.events.select_related("by"),
        "made": job.made().defer("card"),
        **worker_context(),
    }
