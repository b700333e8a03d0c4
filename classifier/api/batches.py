"""Batches: thousands of photos in one ZIP archive."""

from __future__ import annotations

from datetime import datetime
from functools import partial
from typing import Annotated, Any, Literal
from uuid import UUID

from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.utils.translation import gettext as _
from ninja import Router, Schema, Status
from ninja.files import UploadedFile
from ninja.params.functions import File, Path
from pydantic import ConfigDict, Field

from classifier import audit, exports
from classifier.api.answers import address
from classifier.api.photos import EXAMPLE_ID, IdempotencyKey, refuse_text
from classifier.api.sign_in import person_of
from classifier.archives import Refused
from classifier.batches import Progress, cancel, create_batch, results
from classifier.idempotency import fingerprint, once
from classifier.models import Batch, User
from training.problems import Problem, problems

batches = Router(tags=["Batches"])

BatchId = Annotated[UUID, Path(examples=[EXAMPLE_ID])]
Archive = Annotated[UploadedFile, File(description="A ZIP archive of photos.")]
Truth = Annotated[
    UploadedFile | None,
    File(description="A CSV of `filename,label`: what the photos really show, to count the right answers."),
]
STATUS_OF = {"archive_too_large": 413, "storage_full": 507}


class BatchAnswer(Schema):
    """A batch and how far it is: `done`, `failed` and what is left make up `total`."""

    model_config = ConfigDict(title="Batch")

    id: UUID = Field(examples=[EXAMPLE_ID])
    filename: str = Field(examples=["photos.zip"])
    state: Literal["running", "paused", "cancelled", "done"]
    total: int = Field(description="Files in the archive.", examples=[1000])
    done: int = Field(description="Answered.", examples=[995])
    failed: int = Field(description="Refused, not answered or cancelled; the results say why.", examples=[5])
    created_at: datetime
    finished_at: datetime | None
    results_csv_url: str
    results_jsonl_url: str


@batches.post(
    "/batches",
    response={202: BatchAnswer, **problems(400, 409, 413, 422, 507)},
    operation_id="createBatch",
    summary="Upload an archive",
)
def upload_batch(
    request: HttpRequest,
    response: HttpResponse,
    archive: Archive,
    truth: Truth = None,
    idempotency_key: IdempotencyKey = "",
) -> Any:
    """Every file of the archive becomes a photo; one that fails never fails the batch. Scope `predict`."""
    person = person_of(request, "predict")
    refuse_text(request, "archive", "truth")
    key = idempotency_key.strip()
    asked = fingerprint("createBatch", [file for file in (archive, truth) if file]) if key else ""
    (status, answer), repeated = once(person, key, asked, partial(_create, request, person, archive, truth))
    if repeated:
        response.headers["Idempotency-Replayed"] = "true"
    response.headers["Location"] = f"{request.path}/{answer['id']}"
    return Status(status, answer)


@batches.get(
    "/batches/{uuid:batch_id}",
    response={200: BatchAnswer, **problems(404)},
    operation_id="getBatch",
    summary="Get a batch",
)
def get_batch(request: HttpRequest, batch_id: BatchId) -> Any:
    """How far it is. Scope `read`."""
    return batch_answer(request, find(person_of(request, "read"), batch_id))


@batches.post(
    "/batches/{uuid:batch_id}/cancel",
    response={202: BatchAnswer, **problems(404, 409)},
    operation_id="cancelBatch",
    summary="Cancel a batch",
)
def cancel_batch(request: HttpRequest, batch_id: BatchId) -> Any:
    """Look at nothing more; the answers so far stay. Scope `predict`."""
    batch = find(person_of(request, "predict"), batch_id)
    if not cancel(batch) and batch.state != Batch.State.CANCELLED:
        raise Problem(409, "wrong_state", _("This batch is over already: it cannot be cancelled."))
    return Status(202, batch_answer(request, batch))


def download(kind: str) -> dict[str, Any]:
    return {"responses": {200: {"content": {kind: {"schema": {"type": "string"}}}}}}


@batches.get(
    "/batches/{uuid:batch_id}/results.csv",
    response={200: None, **problems(404)},
    operation_id="getBatchResultsCsv",
    summary="Get the results as CSV",
    url_name="batch-csv",
    openapi_extra=download("text/csv"),
)
def get_batch_csv(request: HttpRequest, batch_id: BatchId) -> HttpResponseBase:
    """A line a file, in the archive's order; those not answered yet are `queued`. Scope `read`."""
    batch = find(person_of(request, "read"), batch_id)
    return exports.as_csv(results(batch), f"batch-{batch.pk}.csv")


@batches.get(
    "/batches/{uuid:batch_id}/results.jsonl",
    response={200: None, **problems(404)},
    operation_id="getBatchResultsJsonl",
    summary="Get the results as JSON lines",
    url_name="batch-jsonl",
    openapi_extra=download("application/jsonl"),
)
def get_batch_jsonl(request: HttpRequest, batch_id: BatchId) -> HttpResponseBase:
    """A JSON object a line for each file, in the archive's order. Scope `read`."""
    batch = find(person_of(request, "read"), batch_id)
    return exports.as_json_lines(results(batch), f"batch-{batch.pk}.jsonl")


def find(person: User, batch_id: UUID) -> Batch:
    """One of a person's own batches; a 404 otherwise."""
    found = person.batches.filter(pk=batch_id).first()
    if found is None:
        raise Problem(404, "not_found", _("There is no such batch, or it is not yours."))
    return found


def batch_answer(request: HttpRequest, batch: Batch) -> dict[str, Any]:
    progress = Progress(batch)
    return {
        "id": str(batch.pk),
        "filename": batch.filename,
        "state": str(batch.state),
        "total": progress.total,
        "done": progress.done,
        "failed": progress.failed,
        "created_at": batch.created_at.isoformat(),
        "finished_at": batch.finished_at and batch.finished_at.isoformat(),
        "results_csv_url": address(request, "batch-csv", batch.pk),
        "results_jsonl_url": address(request, "batch-jsonl", batch.pk),
    }


def _create(
    request: HttpRequest, person: User, archive: UploadedFile, truth: UploadedFile | None
) -> tuple[int, dict[str, Any]]:
    try:
        batch = create_batch(
            person,
            archive.file,  # type: ignore[arg-type]
            filename=archive.name or "",
            truth=truth.file if truth else None,  # type: ignore[arg-type]
        )
    except Refused as error:
        audit.record_refusal("upload_refused", by=person, detail=error.code, request=request)
        raise Problem(STATUS_OF.get(error.code, 400), error.code, error.detail) from error
    return 202, batch_answer(request, batch)
