"""What goes in and out of the API's models, training jobs, recipes and datasets."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from ninja import Schema
from ninja.params.functions import Path, Query
from pydantic import ConfigDict, Field

from cifarsite.core.webhooks import WithWebhook
from training.jobs import lifecycle
from training.jobs.run_folders import LOG_LINES, MOST_LOG_LINES
from training.models import DEFAULT_PROJECT, DatasetVersion, JobEvent, ModelVersion, Promotion, TrainingJob

ModelId = Annotated[int, Path(examples=[1])]
JobId = Annotated[int, Path(examples=[7])]
Cursor = Annotated[str, Query(max_length=200, description="`next_cursor` of the page before.")]
ProjectSlug = Annotated[
    str, Query(alias="project", max_length=50, description="A project's slug; left out: `cifar10`.")
]
ProjectFilter = Annotated[
    str, Query(alias="project", max_length=50, description="A project's slug; left out: all of them.")
]
FileFormat = Annotated[
    Literal["keras", "tflite"],
    Query(description="Keras' own file, or TensorFlow Lite's in three precisions."),
]
JobState = Literal["queued", "running", "succeeded", "failed", "cancelled", "stopped"]
StateFilter = Annotated[JobState | None, Query(description="Jobs in this state alone; left out: in any.")]

Lines = Annotated[
    int, Query(ge=1, le=MOST_LOG_LINES, description="So many of the last lines.", examples=[LOG_LINES])
]


class Body(Schema):
    """A JSON body: members that are not known, or of another type, are refused."""

    model_config = ConfigDict(extra="forbid", strict=True)


class OfProject(Schema):
    """A row that belongs to a project."""

    @staticmethod
    def resolve_project(obj: ModelVersion | DatasetVersion | TrainingJob) -> str:
        return obj.project_id


class ModelAnswer(OfProject):
    """A model version."""

    model_config = ConfigDict(title="Model")

    id: int = Field(examples=[1])
    project: str = Field(examples=["cifar10"])
    name: str = Field(examples=["fast_cnn-shipped"])
    classes: list[str] = Field(description="In the order of its outputs.", examples=[["cat", "dog"]])
    recipe: str = Field(examples=["fast_cnn"])
    sha256: str = Field(description="Of the model's file.", examples=["9f86d081884c7d65" * 4])
    size: int = Field(description="Of the file, in bytes.", examples=[8000000])
    preprocessing: str = Field(examples=["squash32-v1"])
    validation_accuracy: float | None = Field(description="From 0 to 1.", examples=[0.91])
    test_accuracy: float | None = Field(
        description="On the project's own test images, from 0 to 1.", examples=[0.9]
    )
    is_champion: bool = Field(description="Whether this model is its project's champion.")
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
    """A line of the promotion history."""

    model_config = ConfigDict(title="Promotion")

    id: int
    action: Literal["install", "promote", "rollback"]
    model: ModelAnswer = Field(description="The new champion.")
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
        description="The reason for the promotion, in a sentence.",
        examples=["More accurate on our own photos."],
    )


class RollBackBody(ReasonBody):
    """Why, and in which project."""

    project: str = Field(
        DEFAULT_PROJECT, min_length=1, max_length=50, description="A project's slug.", examples=["cifar10"]
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


class DatasetAnswer(OfProject):
    """What a model is trained on: CIFAR-10, a frozen version with corrected photos, or the frozen images
    of a project."""

    model_config = ConfigDict(title="Dataset")

    id: int = Field(examples=[3])
    project: str = Field(examples=["cifar10"])
    name: str = Field(examples=["CIFAR-10 and corrections"])
    sha256: str = Field(description="Of the manifest.")
    created_at: datetime


class DatasetPage(Schema):
    """Dataset versions, newest first."""

    datasets: list[DatasetAnswer]
    next_cursor: str | None = Field(description="Give it as `cursor` for the next page; null on the last.")


class ParameterAnswer(Schema):
    """A parameter of a recipe: a member of a job's `hyperparameters`."""

    model_config = ConfigDict(title="Parameter")

    name: str = Field(examples=["epochs"])
    default: int | float = Field(examples=[8])
    minimum: int | float = Field(examples=[1])
    maximum: int | float = Field(examples=[1000])
    help: str


class RecipeAnswer(Schema):
    """A way to train."""

    model_config = ConfigDict(title="Recipe")

    name: str = Field(examples=["transfer"])
    title: str
    description: str
    own_classes: bool = Field(
        description="Whether it trains on the images of any project; otherwise on CIFAR-10 alone."
    )
    preprocessing: str = Field(examples=["centre224-v1"])
    parameters: list[ParameterAnswer]


class RecipePage(Schema):
    """The recipes of this site."""

    recipes: list[RecipeAnswer]
    next_cursor: str | None = Field(description="Always null: there are few recipes.")


class WebhookAnswer(Schema):
    """Whom a job or a batch tells when it is over, and how that went."""

    model_config = ConfigDict(title="Webhook")

    url: str = Field(examples=["https://example.org/hook"])
    state: Literal["waiting", "delivered", "failed"]
    tries: int
    said: str = Field(description="What the last try brought.", examples=["204 No Content"])


def webhook_answer(row: WithWebhook) -> dict[str, Any] | None:
    if not row.webhook_url:
        return None
    return {
        "url": row.webhook_url,
        "state": row.webhook_state,
        "tries": row.webhook_tries,
        "said": row.webhook_said,
    }


class ProgressAnswer(Schema):
    """How far a running job is."""

    model_config = ConfigDict(title="Progress")

    phase: str = Field(
        description="What it does, such as `data`, `training` or `measuring`; on a project's images "
        "`features`, `head`, `activations`, `finetune`, `judge`, `learning_curve` or `report`.",
        examples=["features"],
    )
    done: int = Field(description="Steps of the epoch, or images of the phase.", examples=[120])
    total: int = Field(description="0 where it is not known.", examples=[1000])
    seconds_left: float | None = Field(description="An estimate.")


class JobError(Schema):
    """Why a job failed."""

    code: str = Field(examples=["diverged"])
    detail: str


class JobSummary(OfProject):
    """A training job, without its epochs."""

    model_config = ConfigDict(title="TrainingJobSummary")

    id: int = Field(examples=[7])
    project: str = Field(examples=["cifar10"])
    recipe: str = Field(examples=["fast_cnn"])
    parameters: dict[str, int | float] = Field(examples=[{"epochs": 8, "seed": 0}])
    dataset: DatasetAnswer | None = Field(
        description="Null: plain CIFAR-10 or the project's images, not loaded or frozen yet."
    )
    state: JobState
    progress: ProgressAnswer | None = Field(description="How far it is; null unless it is running.")
    queue_position: int | None = Field(description="1 for the next to be trained; null unless queued.")
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    model: ModelAnswer | None = Field(description="What came of it.")
    error: JobError | None
    webhook: WebhookAnswer | None

    @staticmethod
    def resolve_progress(obj: TrainingJob) -> dict[str, Any] | None:
        if obj.state != TrainingJob.State.RUNNING:
            return None
        told = obj.live
        phase, left = told.get("phase", "data"), told.get("seconds_left")
        return {"phase": phase, "done": obj.step, "total": obj.steps, "seconds_left": left}

    @staticmethod
    def resolve_webhook(obj: TrainingJob) -> dict[str, Any] | None:
        return webhook_answer(obj)

    @staticmethod
    def resolve_queue_position(obj: TrainingJob) -> int | None:
        return obj.position if hasattr(obj, "position") else lifecycle.queue_position(obj)

    @staticmethod
    def resolve_model(obj: TrainingJob) -> ModelVersion | None:
        # The run of an earlier request with the same file has none of its own; that is rare.
        own = next(iter(obj.models.all()), None)
        return own or (obj.made().first() if obj.state == TrainingJob.State.SUCCEEDED else None)

    @staticmethod
    def resolve_error(obj: TrainingJob) -> dict[str, str] | None:
        return {"code": obj.error_code, "detail": obj.error_detail} if obj.error_code else None


class JobAnswer(JobSummary):
    """A training job."""

    model_config = ConfigDict(title="TrainingJob")

    epochs: list[EpochAnswer] = Field(description="The epochs that are over.")

    @staticmethod
    def resolve_epochs(obj: TrainingJob) -> list[Any]:
        return list(obj.epochs.all())


class JobPage(Schema):
    """Training jobs, newest first."""

    training_jobs: list[JobSummary]
    next_cursor: str | None = Field(description="Give it as `cursor` for the next page; null on the last.")


class EventAnswer(Schema):
    """A step in the life of a job."""

    model_config = ConfigDict(title="TrainingJobEvent")

    id: int = Field(examples=[12])
    what: str = Field(description="Such as `requested`, `started` or `succeeded`.", examples=["requested"])
    detail: str = Field(examples=["Model fast_cnn-7, test accuracy 90.17%."])
    by: str | None = Field(description="Who did it; null: the site itself.", examples=["charlie"])
    at: datetime

    @staticmethod
    def resolve_by(obj: JobEvent) -> str | None:
        return obj.by.get_username() if obj.by else None


class EventPage(Schema):
    """Steps in the life of a job, newest first."""

    events: list[EventAnswer]
    next_cursor: str | None = Field(description="Give it as `cursor` for the next page; null on the last.")


class JobBody(Body):
    """What to train. What is left out takes the recipe's default."""

    project: str = Field(
        DEFAULT_PROJECT, min_length=1, max_length=50, description="A project's slug.", examples=["cifar10"]
    )
    recipe: str = Field(min_length=1, max_length=50, examples=["fast_cnn"])
    epochs: int | None = Field(None, ge=0, le=1_000, examples=[8])
    seed: int | None = Field(None, ge=0, le=2**31 - 1, examples=[0])
    hyperparameters: dict[Annotated[str, Field(max_length=50)], int | float] | None = Field(
        None,
        max_length=50,
        description="Further parameters of the recipe by name; `GET recipes` lists them.",
        examples=[{"learning_rate": 0.001}],
    )
    dataset: int | None = Field(
        None,
        ge=1,
        le=2**31 - 1,
        description="Number of a dataset version; left out: plain CIFAR-10, or the project's images as "
        "they are when the job begins.",
    )
    webhook: str | None = Field(
        None,
        max_length=500,
        description="An https address that gets a signed POST when the job is over; see docs/webhooks.md.",
    )
