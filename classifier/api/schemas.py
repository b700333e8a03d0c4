"""What the API says about photos, as types: the OpenAPI schema is made of these."""

from __future__ import annotations

import re
from datetime import date, datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from django.http import HttpRequest
from django.urls import reverse
from django.utils.translation import gettext as _
from ninja import Schema
from pydantic import AfterValidator, ConfigDict, Field, WithJsonSchema

from cifarsite.core.api_problems import ErrorAnswer
from classifier.models import Prediction
from classifier.predictions.provenance import provenance_of
from training.models.projects import LONGEST_CLASS_NAME

Verdict = Literal["recognised", "unsure", "unknown"]
PhotoStatus = Literal["queued", "done", "failed"]
# An empty parameter is one that was not given, so that forms can be sent as they are.
Nothing = Literal[""]


# All that ``photo_answer`` reads, so that a query for it need not bring more.
SHOWN = (
    *("photo_id", "status", "user_feedback", "error_code", "error_detail"),
    *("label", "confidence", "verdict", "probabilities", "seconds"),
    *("provenance", "crop", "preprocessing", "input_sha256", "finished_at"),
    *("model__name", "model__sha256", "model__classes", "project_id"),
)
SHOWN_OF_PHOTO = ("photo__filename", "photo__created_at", "photo__damaged", "photo__project_id")


def as_day(text: str) -> str:
    if text and not re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", text):
        raise ValueError(_("Expected a day such as 2026-01-31"))
    try:
        return text and date.fromisoformat(text).isoformat()
    except ValueError as error:
        raise ValueError(_("There is no such day")) from error


Day = Annotated[
    str,
    AfterValidator(as_day),
    WithJsonSchema({"anyOf": [{"type": "string", "format": "date"}, {"type": "string", "const": ""}]}),
]


class PhotoModel(Schema):
    """The model that answered."""

    id: int = Field(examples=[1])
    name: str = Field(examples=["fast_cnn-shipped"])
    sha256: str = Field(description="Of the model's file.")


class CropShares(Schema):
    """A part of a photo, each figure a share of its width or height."""

    model_config = ConfigDict(extra="forbid")

    left: float = Field(ge=0, le=1, examples=[0.25])
    top: float = Field(ge=0, le=1, examples=[0.1])
    width: float = Field(gt=0, le=1, examples=[0.5])
    height: float = Field(gt=0, le=1, examples=[0.6])


class AskBody(Schema):
    """What to ask the model about."""

    model_config = ConfigDict(extra="forbid")

    crop: CropShares | None = Field(None, description="The part to classify; null: the whole photo.")


class Provenance(Schema):
    """What the answer was made with: the same input and model give the same answer."""

    model_sha256: str | None = Field(description="Of the model's file.")
    preprocessing: str = Field(
        description="The version of what makes the model's input.", examples=["squash128-v1"]
    )
    input_sha256: str = Field(description="Of the pixels that the model saw, and their size.")
    crop: CropShares | None = Field(description="The classified part; null: the whole photo.")
    calibration: dict[str, float] = Field(
        description="Logits are divided by `temperature`; `rise`, `fall` and `shift` then bend the highest.",
        examples=[{"temperature": 0.7, "rise": 1.0, "fall": 1.0, "shift": 0.0}],
    )
    thresholds: dict[str, Any] = Field(description="The verdict's settings.")
    score: float | None = Field(
        description="How much the photo is like what the model was trained on; higher is more."
    )
    labels: list[str] = Field(
        description="The prediction set: it contains the true label for 95 % of the photos."
    )
    seconds: float | None = Field(description="The model's share of time for this photo.")
    answered_at: datetime | None


class PredictionAnswer(Schema):
    """What the model says."""

    label: str = Field(description="The most probable of the model's classes.", examples=["cat"])
    confidence: float = Field(ge=0, le=1, description="Its probability, calibrated.", examples=[0.93])
    verdict: Verdict = Field(
        description="Whether to believe the label; `unknown`: the photo shows something else."
    )
    probabilities: dict[str, float] = Field(
        description="Of each class of the model that answered, by name, in the model's order.",
        examples=[{"cat": 0.93, "dog": 0.05, "fox": 0.02}],
    )
    model: PhotoModel | None
    seconds: float = Field(description="The model's share of time for this photo.", examples=[0.003])
    provenance: Provenance


class PhotoError(Schema):
    """Why there will be no answer."""

    code: str = Field(examples=["worker_lost"])
    detail: str


class PhotoAnswer(Schema):
    """A photo and what is known about it."""

    model_config = ConfigDict(title="Photo")

    id: UUID = Field(examples=["6d7a2e0c-8f0b-4f3c-9d1c-0f1f6a9f0c11"])
    project: str = Field(description="The slug of its project.", examples=["cifar10"])
    filename: str = Field(examples=["cat.jpg"])
    damaged: bool = Field(description="Part of the file was damaged: the picture shows less than there was.")
    status: PhotoStatus
    created_at: datetime
    image_url: str = Field(description="The photo as the site shows it; needs the same token.")
    input_url: str = Field(description="What the model saw; needs the same token.")
    prediction: PredictionAnswer | None = Field(description="Null until the status is `done`.")
    correction: str | None = Field(
        description="Your correction: the class that you chose, `unknown` or `not_sure`.", examples=["cat"]
    )
    error: PhotoError | None


class UploadAnswer(Schema):
    """What became of each file."""

    photos: list[PhotoAnswer] = Field(description="The accepted ones, in the order sent.")
    errors: list[ErrorAnswer] = Field(description="The refused ones.")


class PhotoPage(Schema):
    """One page of photos, newest first."""

    photos: list[PhotoAnswer]
    next_cursor: str | None = Field(
        description="Give it as `cursor` for older photos; null on the last page."
    )
    previous_cursor: str | None = Field(description="Give it as `cursor` for newer photos.")


class DeletionBody(Schema):
    """Which photos to delete."""

    model_config = ConfigDict(extra="forbid")

    ids: list[UUID] = Field(min_length=1, max_length=100, description="Ids of photos, 1 to 100 of them.")


class DeletionAnswer(Schema):
    """What became of each id."""

    deleted: list[UUID]
    not_found: list[UUID] = Field(description="No photos of yours, or deleted before.")


class CorrectionBody(Schema):
    """What is really in the photo."""

    model_config = ConfigDict(extra="forbid", strict=True)

    label: str = Field(
        max_length=LONGEST_CLASS_NAME,
        description="A class of the photo's project, `unknown` or `not_sure`.",
        examples=["cat"],
    )


def photo_answer(request: HttpRequest, prediction: Prediction) -> dict[str, Any]:
    """A photo as JSON; ``prediction`` with its photo, its model and its owner's corrections loaded."""
    photo = prediction.photo
    done, failed = (prediction.status == s for s in (Prediction.Status.DONE, Prediction.Status.FAILED))
    corrections = list(photo.corrections.all()) if prediction.user_feedback else []
    return {
        "id": str(photo.pk),
        "project": prediction.project_id,
        "filename": photo.filename,
        "damaged": photo.damaged,
        "status": "done" if done else "failed" if failed else "queued",
        "created_at": photo.created_at.isoformat(),
        "image_url": address(request, "photo-image", photo.pk),
        "input_url": address(request, "photo-input", photo.pk),
        "prediction": _prediction(prediction) if done else None,
        "correction": corrections[0].label if corrections else None,
        "error": {"code": prediction.error_code, "detail": prediction.error_detail} if failed else None,
    }


def address(request: HttpRequest, name: str, pk: UUID) -> str:
    return request.build_absolute_uri(reverse(f"api:{name}", args=[pk]))


def _prediction(prediction: Prediction) -> dict[str, Any]:
    model = prediction.model
    return {
        "label": prediction.label,
        "confidence": prediction.confidence,
        "verdict": prediction.verdict,
        "probabilities": dict(zip(prediction.classes, prediction.probabilities or (), strict=True)),
        "model": model and {"id": model.pk, "name": model.name, "sha256": model.sha256},
        "seconds": prediction.seconds,
        "provenance": provenance_of(prediction),
    }
