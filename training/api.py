"""The REST API's models and training jobs; who asks is settled by whoever mounts these routers."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Literal, cast

from django.http import HttpRequest, HttpResponse
from django.utils.cache import get_conditional_response
from django.utils.http import http_date
from django.utils.translation import gettext as _
from ninja import Router, Schema, Status
from ninja.params.functions import Path, Query
from pydantic import ConfigDict, Field

from training import jobs, model_store, promotion
from training.engine.recipe import ParameterError
from training.models import DatasetVersion, EvaluationReport, ModelVersion, Promotion, TrainingJob
from training.problems import Caller, Problem, problems
from training.webhooks import WebhookRefused

PAGE_SIZE = 50
# Compact rows for pairing two models, of no use to a reader.
NOT_SHOWN = ("truth", "predicted")

ModelId = Annotated[int, Path(examples=[1])]
JobId = Annotated[int, Path(examples=[7])]
Cursor = Annotated[str, Query(max_length=200, description="`next_cursor` of the page before.")]

models = Router(tags=["Models"])
training_jobs = Router(tags=["Training jobs"])


class Body(Schema):
    """A JSON body: members that are not known, or of another type, are refused."""

    model_config = ConfigDict(extra="forbid", strict=True)


class ModelAnswer(Schema):
    """A model version."""

    model_config = ConfigDict(title="Model")

    id: int = Field(examples=[1])
    name: str = Field(examples=["fast_cnn-shipped"])
    recipe: str = Field(examples=["fast_cnn"])
    sha256: str = Field(description="Of the model's file.", examples=["9f86d081884c7d65" * 4])
    size: int = Field(description="Of the file, in bytes.", examples=[8000000])
    preprocessing: str = Field(examples=["squash32-v1"])
    validation_accuracy: float | None = Field(description="From 0 to 1.", examples=[0.91])
    test_accuracy: float | None = Field(description="On CIFAR-10's test images, from 0 to 1.", examples=[0.9])
    is_champion: bool = Field(description="Whether this model answers now.")
    created_at: datetime

    @staticmethod
    def resolve_validation_accuracy(obj: ModelVersion) -> float | None:
        return obj.val_accuracy


class ModelPage(Schema):
    """Model versions, newest first."""

    models: list[ModelAnswer]
    next_cursor: str | None = Field(description="Give it as `cursor` for the next page; null on the last.")


class ReportAnswer(Schema):
    """How a model did on a set of images."""

    model_config = ConfigDict(title="Report")

    model: ModelAnswer
    dataset: str = Field(examples=["CIFAR-10 test"])
    dataset_sha256: str
    n: int = Field(description="Number of images.", examples=[10000])
    accuracy: float = Field(description="From 0 to 1.", examples=[0.9])
    figures: dict[str, Any] = Field(
        description="Confusion matrix, per-class precision and recall, calibration and more."
    )
    created_at: datetime


class PromotionAnswer(Schema):
    """A line of the ledger of what was live when."""

    model_config = ConfigDict(title="Promotion")

    id: int
    action: Literal["install", "promote", "rollback"]
    model: ModelAnswer = Field(description="The model that answers from now on.")
    previous: ModelAnswer | None
    reason: str
    overridden: bool = Field(description="Whether the gate had refused.")
    created_at: datetime

    @staticmethod
    def resolve_model(obj: Promotion) -> ModelVersion:
        return obj.promoted


class ReasonBody(Body):
    """Why."""

    reason: str = Field(
        min_length=1,
        max_length=2_000,
        pattern=r"\S",
        description="A sentence that is kept with the promotion.",
        examples=["More accurate on our own photos."],
    )


class EpochAnswer(Schema):
    """What one epoch measured; loss in nats, accuracy from 0 to 1."""

    model_config = ConfigDict(title="Epoch")

    number: int
    loss: float
    accuracy: float
    val_loss: float
    val_accuracy: float
    seconds: float


class DatasetAnswer(Schema):
    """What a model is trained on: CIFAR-10, or a frozen version with corrected photos."""

    model_config = ConfigDict(title="Dataset")

    id: int = Field(examples=[3])
    name: str = Field(examples=["CIFAR-10 and corrections"])
    sha256: str = Field(description="Of the manifest.")


class WebhookAnswer(Schema):
    """Whom a job tells when it is over, and how that went."""

    model_config = ConfigDict(title="Webhook")

    url: str = Field(examples=["https://example.org/hook"])
    state: Literal["waiting", "delivered", "failed"]
    tries: int
    said: str = Field(description="What the last try brought.", examples=["204 No Content"])


class JobAnswer(Schema):
    """A training job."""

    model_config = ConfigDict(title="TrainingJob")

    id: int = Field(examples=[7])
    recipe: str = Field(examples=["fast_cnn"])
    parameters: dict[str, int | float] = Field(examples=[{"epochs": 8, "seed": 0}])
    dataset: DatasetAnswer | None = Field(description="Null: plain CIFAR-10, not loaded yet.")
    state: Literal["queued", "running", "succeeded", "failed", "cancelled", "stopped"]
    queue_position: int | None = Field(description="1 for the next to be trained; null unless queued.")
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    epochs: list[EpochAnswer] = Field(description="The epochs that are over.")
    model: ModelAnswer | None = Field(description="What came of it.")
    error: JobError | None
    webhook: WebhookAnswer | None

    @staticmethod
    def resolve_webhook(obj: TrainingJob) -> dict[str, Any] | None:
        if not obj.webhook_url:
            return None
        return {
            "url": obj.webhook_url,
            "state": obj.webhook_state,
            "tries": obj.webhook_tries,
            "said": obj.webhook_said,
        }

    @staticmethod
    def resolve_queue_position(obj: TrainingJob) -> int | None:
        return jobs.queue_position(obj)

    @staticmethod
    def resolve_epochs(obj: TrainingJob) -> list[Any]:
        return list(obj.epochs.all())

    @staticmethod
    def resolve_model(obj: TrainingJob) -> ModelVersion | None:
        return obj.models.first()

    @staticmethod
    def resolve_error(obj: TrainingJob) -> dict[str, str] | None:
        return {"code": obj.error_code, "detail": obj.error_detail} if obj.error_code else None


class JobError(Schema):
    """Why a job failed."""

    code: str = Field(examples=["diverged"])
    detail: str


class JobBody(Body):
    """What to train. What is left out takes the recipe's default."""

    recipe: str = Field(min_length=1, max_length=50, examples=["fast_cnn"])
    epochs: int | None = Field(None, ge=1, le=1_000, examples=[8])
    seed: int | None = Field(None, ge=0, le=2**31 - 1, examples=[0])
    dataset: int | None = Field(
        None, ge=1, le=2**31 - 1, description="Number of a dataset version; left out: plain CIFAR-10."
    )
    webhook: str | None = Field(
        None,
        max_length=500,
        description="An https address that gets a signed POST when the job is over; see docs/webhooks.md.",
    )


JobAnswer.model_rebuild()


@models.get(
    "/models",
    response={200: ModelPage, **problems(400, 422)},
    operation_id="listModels",
    summary="List models",
)
def list_models(request: HttpRequest, cursor: Cursor = "") -> Any:
    """Model versions, newest first, fifty a page. Scope `read`."""
    caller(request).needs("read")
    rows = ModelVersion.objects.order_by("-id")
    if cursor:
        if not (cursor.isascii() and cursor.isdecimal()):
            raise Problem(400, "bad_cursor", _("This cursor is damaged: begin with the first page."))
        rows = rows.filter(pk__lt=int(cursor))
    found = list(rows[: PAGE_SIZE + 1])
    more = len(found) > PAGE_SIZE
    return {"models": found[:PAGE_SIZE], "next_cursor": str(found[PAGE_SIZE - 1].pk) if more else None}


@models.get(
    "/models/champion",
    response={200: ModelAnswer, **problems(404)},
    operation_id="getChampion",
    summary="Get the champion",
)
def get_champion(request: HttpRequest) -> Any:
    """The model that answers now. Scope `read`."""
    caller(request).needs("read")
    champion = model_store.champion()
    if champion is None:
        raise Problem(404, "not_found", _("No model is installed yet."))
    return champion


@models.get(
    "/models/{int:model_id}/report",
    response={200: ReportAnswer, 304: None, **problems(404)},
    operation_id="getModelReport",
    summary="Get a model's report",
)
def get_model_report(request: HttpRequest, response: HttpResponse, model_id: ModelId) -> Any:
    """The figures on CIFAR-10's test images. It never changes: ask again with If-None-Match. Scope `read`."""
    caller(request).needs("read")
    # Through the model: a number too large for a foreign key is an error of the database.
    reports = EvaluationReport.objects.select_related("model").filter(
        model__in=ModelVersion.objects.filter(pk=model_id)
    )
    report = reports.filter(dataset=model_store.TEST_SET).first() or reports.first()
    if report is None:
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


@models.post(
    "/models/{int:model_id}/promote",
    response={200: PromotionAnswer, **problems(400, 404, 409, 422)},
    operation_id="promoteModel",
    summary="Promote a model",
)
def promote_model(request: HttpRequest, body: ReasonBody, model_id: ModelId) -> Any:
    """Make a model the champion, if the gate lets it. Staff, scope `train`.

    409 says why the gate refuses; nothing has changed then.
    """
    person = caller(request).needs("train", staff=True)
    version = ModelVersion.objects.filter(pk=model_id).first()
    if version is None:
        raise Problem(404, "not_found", _("There is no such model."))
    try:
        return promotion.promote(version, by=person, reason=body.reason)
    except promotion.PromotionRefused as refusal:
        raise Problem(409, "refused", refusal.detail) from refusal


@models.post(
    "/models/rollback",
    response={200: PromotionAnswer, **problems(400, 409, 422)},
    operation_id="rollBackModel",
    summary="Roll back to the model before",
)
def roll_back_model(request: HttpRequest, body: ReasonBody) -> Any:
    """Make the model that was live before the present one the champion again. Staff, scope `train`."""
    person = caller(request).needs("train", staff=True)
    try:
        return promotion.roll_back(by=person, reason=body.reason)
    except promotion.PromotionRefused as refusal:
        raise Problem(409, "refused", refusal.detail) from refusal


@training_jobs.post(
    "/training-jobs",
    response={202: JobAnswer, **problems(400, 422)},
    operation_id="createTrainingJob",
    summary="Request a training run",
)
def create_training_job(request: HttpRequest, response: HttpResponse, body: JobBody) -> Any:
    """Queue a training run. Staff, scope `train`."""
    person = caller(request).needs("train", staff=True)
    chosen = {"epochs": body.epochs, "seed": body.seed}
    given = {name: value for name, value in chosen.items() if value is not None}
    dataset = DatasetVersion.objects.filter(pk=body.dataset).first() if body.dataset else None
    if body.dataset and dataset is None:
        raise Problem(422, "dataset", _("There is no dataset version %(id)s.") % {"id": body.dataset})
    try:
        job = jobs.request_training(
            recipe=body.recipe, parameters=given, by=person, dataset=dataset, webhook=body.webhook or ""
        )
    except ParameterError as error:
        raise Problem(422, "parameter", str(error)) from error
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


@training_jobs.post(
    "/training-jobs/{int:job_id}/cancel",
    response={202: JobAnswer, **problems(404, 409)},
    operation_id="cancelTrainingJob",
    summary="Cancel a training job",
)
def cancel_training_job(request: HttpRequest, job_id: JobId) -> Any:
    """Give the job up and keep nothing of it. Staff, scope `train`."""
    return change(request, job_id, jobs.cancel)


@training_jobs.post(
    "/training-jobs/{int:job_id}/stop",
    response={202: JobAnswer, **problems(404, 409)},
    operation_id="stopTrainingJob",
    summary="Stop a training job",
)
def stop_training_job(request: HttpRequest, job_id: JobId) -> Any:
    """End a running job early and keep its best epoch. Staff, scope `train`."""
    return change(request, job_id, jobs.stop)


@training_jobs.post(
    "/training-jobs/{int:job_id}/resume",
    response={202: JobAnswer, **problems(404, 409)},
    operation_id="resumeTrainingJob",
    summary="Resume a training job",
)
def resume_training_job(request: HttpRequest, job_id: JobId) -> Any:
    """Go on with a stopped or failed job after its last whole epoch. Staff, scope `train`."""
    return change(request, job_id, jobs.resume)


def caller(request: HttpRequest) -> Caller:
    """Who asks; set by the API's authentication."""
    return cast(Caller, request.auth)  # type: ignore[attr-defined]


def find_job(request: HttpRequest, job_id: int) -> tuple[TrainingJob, Any]:
    person = caller(request).needs("train", staff=True)
    job = TrainingJob.objects.filter(pk=job_id).first()
    if job is None:
        raise Problem(404, "not_found", _("There is no such training job."))
    return job, person


def change(request: HttpRequest, job_id: int, verb: Any) -> Any:
    """Do something to a job; 409 where its state does not allow it."""
    job, person = find_job(request, job_id)
    try:
        verb(job, by=person)
    except jobs.WrongState as error:
        raise Problem(409, "wrong_state", error.detail) from error
    return Status(202, job)
