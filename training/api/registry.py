"""The API's models: list, champion, report, promote, roll back."""

from __future__ import annotations

from datetime import UTC
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.utils.cache import get_conditional_response
from django.utils.http import http_date
from django.utils.translation import gettext as _
from ninja import Router

from cifarsite.core.api_problems import Problem, problems
from training.api.asking import caller, find_model, find_project, page_of, trainer
from training.api.schemas import (
    Cursor,
    FileFormat,
    ModelAnswer,
    ModelId,
    ModelPage,
    ProjectSlug,
    PromotionAnswer,
    ReasonBody,
    ReportAnswer,
    RollBackBody,
)
from training.models import DEFAULT_PROJECT, ModelVersion
from training.projects.access import visible_projects
from training.registry import exports, model_store, promotion
from training.registry.exports import sent

# Compact rows for pairing two models, of no use to a reader.
NOT_SHOWN = ("truth", "predicted")

models = Router(tags=["Models"])


@models.get(
    "/models",
    response={200: ModelPage, **problems(400, 404, 422)},
    operation_id="listModels",
    summary="List models",
)
def list_models(request: HttpRequest, cursor: Cursor = "", slug: ProjectSlug = DEFAULT_PROJECT) -> Any:
    """A project's model versions, newest first, fifty a page. Scope `read`."""
    person = caller(request).needs("read")
    rows = ModelVersion.objects.filter(project=find_project(person, slug)).defer("card", "smoke_test")
    return page_of("models", rows, cursor)


@models.get(
    "/models/champion",
    response={200: ModelAnswer, **problems(404, 422)},
    operation_id="getChampion",
    summary="Get the champion",
)
def get_champion(request: HttpRequest, slug: ProjectSlug = DEFAULT_PROJECT) -> Any:
    """The model that answers for a project now. Scope `read`."""
    person = caller(request).needs("read")
    champion = model_store.champion(find_project(person, slug))
    if champion is None:
        if slug == DEFAULT_PROJECT:
            raise Problem(404, "not_found", _("No model is installed yet."))
        raise Problem(
            404,
            "not_found",
            _("The project '%(project)s' has no champion yet: train a model and promote it.")
            % {"project": slug},
        )
    return champion


@models.get(
    "/models/{int:model_id}/report",
    response={200: ReportAnswer, 304: None, **problems(404)},
    operation_id="getModelReport",
    summary="Get a model's report",
)
def get_model_report(request: HttpRequest, response: HttpResponse, model_id: ModelId) -> Any:
    """The figures on the project's own test images; ask again with If-None-Match. Scope `read`."""
    person = caller(request).needs("read")
    version = ModelVersion.objects.filter(pk=model_id, project__in=visible_projects(person)).first()
    report = version and (model_store.main_report(version) or version.reports.first())
    if not report:
        raise Problem(404, "not_found", _("There is no report on such a model."))
    # The champion's flag is in the answer, so it is in the tag.
    etag = f'"report-{report.pk}-{int(report.model.is_champion)}"'
    changed = int(report.created_at.timestamp())
    unchanged = get_conditional_response(request, etag=etag)
    if unchanged is not None:
        return unchanged
    response.headers["ETag"] = etag
    response.headers["Last-Modified"] = http_date(changed)
    response.headers["Cache-Control"] = "private, max-age=0"
    shown = {name: value for name, value in report.figures.items() if name not in NOT_SHOWN}
    return {
        "model": report.model,
        "dataset": report.dataset,
        "dataset_sha256": report.dataset_sha256,
        "n": report.n,
        "accuracy": report.accuracy,
        "figures": shown,
        "created_at": report.created_at.astimezone(UTC),
    }


@models.get(
    "/models/{int:model_id}/file",
    response={200: None, **problems(404, 409, 422)},
    operation_id="getModelFile",
    summary="Download a model",
    openapi_extra={
        "responses": {
            200: {"content": {"application/zip": {"schema": {"type": "string", "format": "binary"}}}}
        }
    },
)
def get_model_file(request: HttpRequest, model_id: ModelId, format: FileFormat = "keras") -> Any:
    """A ZIP with the model's file, its classes, its preprocessing and its card. Staff, scope `read`."""
    person = caller(request).needs("read", staff=True)
    version = find_model(person, model_id)
    try:
        return sent(version, format)
    except (exports.ExportFailed, model_store.ModelFileError) as error:
        raise Problem(409, "refused", str(error)) from error


@models.post(
    "/models/{int:model_id}/promote",
    response={200: PromotionAnswer, **problems(400, 404, 409, 422)},
    operation_id="promoteModel",
    summary="Promote a model",
)
def promote_model(request: HttpRequest, body: ReasonBody, model_id: ModelId) -> Any:
    """Make a model its project's champion, if the gate lets it. Staff, scope `train`.

    409 says why the gate refuses; nothing has changed then.
    """
    person = trainer(request)
    version = find_model(person, model_id)
    try:
        return promotion.promote(version, by=person, reason=body.reason)
    except promotion.PromotionRefused as refusal:
        raise Problem(409, "refused", refusal.detail) from refusal


@models.post(
    "/models/rollback",
    response={200: PromotionAnswer, **problems(400, 404, 409, 422)},
    operation_id="rollBackModel",
    summary="Roll back to the model before",
)
def roll_back_model(request: HttpRequest, body: RollBackBody) -> Any:
    """Make the model that was live in a project before the present one the champion again. Staff, scope
    `train`."""
    person = trainer(request)
    project = find_project(person, body.project)
    try:
        return promotion.roll_back(by=person, reason=body.reason, project=project)
    except promotion.PromotionRefused as refusal:
        raise Problem(409, "refused", refusal.detail) from refusal
