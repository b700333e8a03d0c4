"""The API's training jobs, and what one needs to ask for one: recipes and datasets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.db.models import Prefetch
from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext as _
from ninja import Router, Status

from cifarsite.core.api_problems import Problem, problems
from cifarsite.core.webhooks import WebhookRefused
from training.api.asking import caller, find_project, page_of, projects_of, trainer
from training.api.schemas import (
    Cursor,
    DatasetPage,
    EventPage,
    JobAnswer,
    JobBody,
    JobId,
    JobPage,
    Lines,
    ProjectFilter,
    RecipePage,
    StateFilter,
)
from training.engine.data.cifar10 import DatasetError
from training.engine.recipes import RECIPES
from training.engine.training.recipe import ParameterError
from training.jobs import lifecycle
from training.jobs.run_folders import LOG_LINES, log_tail
from training.models import DatasetVersion, ModelVersion, TrainingJob
from training.projects.access import visible_projects

training_jobs = Router(tags=["Training jobs"])


@training_jobs.get(
    "/training-jobs",
    response={200: JobPage, **problems(400, 404, 422)},
    operation_id="listTrainingJobs",
    summary="List training jobs",
)
def list_training_jobs(
    request: HttpRequest, cursor: Cursor = "", slug: ProjectFilter = "", state: StateFilter = None
) -> Any:
    """Training jobs without their epochs, newest first, fifty a page. Staff, scope `train`."""
    person = caller(request).needs("train", staff=True)
    rows = lifecycle.with_positions(TrainingJob.objects.filter(project__in=projects_of(person, slug)))
    rows = rows.select_related("dataset").defer("dataset__manifest", "traceback")
    rows = rows.prefetch_related(Prefetch("models", ModelVersion.objects.defer("card")))
    return page_of("training_jobs", rows.filter(state=state) if state else rows, cursor)


@training_jobs.post(
    "/training-jobs",
    response={202: JobAnswer, **problems(400, 404, 422)},
    operation_id="createTrainingJob",
    summary="Request a training run",
)
def create_training_job(request: HttpRequest, response: HttpResponse, body: JobBody) -> Any:
    """Queue a training run on CIFAR-10 or on a project's images. Staff, scope `train`."""
    person = trainer(request)
    project = find_project(person, body.project)
    rows = DatasetVersion.objects.filter(pk=body.dataset or 0, project=project).defer("manifest")
    dataset = rows.first()
    if body.dataset and dataset is None:
        raise Problem(422, "dataset", _("There is no dataset version %(id)s.") % {"id": body.dataset})
    try:
        job = lifecycle.request_training(
            recipe=body.recipe,
            parameters=given_parameters(body),
            by=person,
            project=project,
            dataset=dataset,
            webhook=body.webhook or "",
        )
    except ParameterError as error:
        raise Problem(422, "parameter", str(error)) from error
    except DatasetError as error:
        raise Problem(422, "dataset", str(error)) from error
    except WebhookRefused as error:
        raise Problem(422, "webhook", str(error)) from error
    response.headers["Location"] = f"{request.path}/{job.pk}"
    return Status(202, job)


@training_jobs.get(
    "/training-jobs/{int:job_id}",
    response={200: JobAnswer, **problems(404)},
    operation_id="getTrainingJob",
    summary="Get a training job",
)
def get_training_job(request: HttpRequest, job_id: JobId) -> Any:
    """State, epochs so far and, at the end, the model. Staff, scope `train`."""
    return find_job(request, job_id)[0]


@training_jobs.get(
    "/training-jobs/{int:job_id}/events",
    response={200: EventPage, **problems(400, 404, 422)},
    operation_id="listTrainingJobEvents",
    summary="List what happened to a training job",
)
def list_events(request: HttpRequest, job_id: JobId, cursor: Cursor = "") -> Any:
    """What happened, when and by whom, newest first, fifty a page. Staff, scope `train`."""
    job, _person = find_job(request, job_id)
    return page_of("events", job.events.select_related("by"), cursor)


@training_jobs.get(
    "/training-jobs/{int:job_id}/log",
    response={200: None, **problems(404, 422)},
    operation_id="getTrainingJobLog",
    summary="Get the end of a training job's log",
    openapi_extra={"responses": {200: {"content": {"text/plain": {"schema": {"type": "string"}}}}}},
)
def get_log(request: HttpRequest, job_id: JobId, lines: Lines = LOG_LINES) -> HttpResponse:
    """As text, oldest line first; where the site runs on several machines, 20 lines at most. Staff, scope
    `train`."""
    job, _person = find_job(request, job_id)
    text = "".join(f"{line}\n" for line in log_tail(job, lines))
    return HttpResponse(text, content_type="text/plain; charset=utf-8")


def change_of_job(verb: str, summary: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Declares the address that does this to a job."""
    return training_jobs.post(
        f"/training-jobs/{{int:job_id}}/{verb}",
        response={202: JobAnswer, **problems(404, 409)},
        operation_id=f"{verb}TrainingJob",
        summary=summary,
    )


@change_of_job("cancel", summary="Cancel a training job")
def cancel_training_job(request: HttpRequest, job_id: JobId) -> Any:
    """Give the job up and keep nothing of it. Staff, scope `train`."""
    return change(request, job_id, lifecycle.cancel)


@change_of_job("stop", summary="Stop a training job")
def stop_training_job(request: HttpRequest, job_id: JobId) -> Any:
    """End a running job early and keep its best epoch. Staff, scope `train`."""
    return change(request, job_id, lifecycle.stop)


@change_of_job("resume", summary="Resume a training job")
def resume_training_job(request: HttpRequest, job_id: JobId) -> Any:
    """Go on with a stopped or failed job after its last whole epoch. Staff, scope `train`."""
    return change(request, job_id, lifecycle.resume)


@training_jobs.get(
    "/recipes",
    response={200: RecipePage, **problems()},
    operation_id="listRecipes",
    summary="List recipes",
)
def list_recipes(request: HttpRequest) -> Any:
    """The recipes with their parameters. Scope `read`."""
    caller(request).needs("read")
    return {"recipes": list(RECIPES.values()), "next_cursor": None}


@training_jobs.get(
    "/datasets",
    response={200: DatasetPage, **problems(400, 404, 422)},
    operation_id="listDatasets",
    summary="List dataset versions",
)
def list_datasets(request: HttpRequest, cursor: Cursor = "", slug: ProjectFilter = "") -> Any:
    """Frozen dataset versions, newest first, fifty a page. Staff, scope `train`."""
    person = caller(request).needs("train", staff=True)
    rows = DatasetVersion.objects.filter(project__in=projects_of(person, slug)).defer("manifest")
    return page_of("datasets", rows, cursor)


def find_job(request: HttpRequest, job_id: int) -> tuple[TrainingJob, Any]:
    person = caller(request).needs("train", staff=True)
    rows = TrainingJob.objects.filter(pk=job_id, project__in=visible_projects(person))
    job = rows.select_related("dataset").defer("dataset__manifest").first()
    if job is None:
        raise Problem(404, "not_found", _("There is no such training job."))
    return job, person


def change(request: HttpRequest, job_id: int, verb: Any) -> Any:
    """Do something to a job; 409 where its state does not allow it."""
    trainer(request)
    job, person = find_job(request, job_id)
    try:
        verb(job, by=person)
    except lifecycle.InvalidTransition as error:
        raise Problem(409, "wrong_state", error.detail) from error
    return Status(202, job)


def given_parameters(body: JobBody) -> dict[str, Any]:
    """The recipe's parameters that a body names, each once."""
    chosen = {"epochs": body.epochs, "seed": body.seed}
    given = {name: value for name, value in chosen.items() if value is not None}
    further = body.hyperparameters or {}
    if twice := sorted(given.keys() & further.keys()):
        raise Problem(
            422,
            "parameter",
            _("'%(name)s' is given twice: leave it out of hyperparameters.") % {"name": twice[0]},
        )
    return {**given, **further}
