"""Batches: thousands of photos in one ZIP archive."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import Annotated, Any, Literal
from uuid import UUID

from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.utils.translation import gettext as _
from ninja import Router, Schema, Status
from ninja.files import UploadedFile
from ninja.params.functions import File, Form, Path, Query
from pydantic import ConfigDict, Field

from cifarsite.core.api_problems import Problem, problems
from cifarsite.core.keyset import BadCursor
from classifier.accounts import audit
from classifier.accounts.idempotency import fingerprint, once
from classifier.accounts.rate_limits import download_cost
from classifier.api.authentication import person_of, spend_more
from classifier.api.parameters import EXAMPLE_ID, Cursor, IdempotencyKey, OfProject
from classifier.api.photos import open_project, refuse_text
from classifier.api.schemas import address
from classifier.models import Batch, User
from classifier.photos import export, projects
from classifier.uploads import admission
from classifier.uploads.batch_results import Progress, results, score, totals
from classifier.uploads.batches import cancel, create_batch, page
from classifier.uploads.errors import Rejected
from training.api.schemas import WebhookAnswer, webhook_answer

batches = Router(tags=["Batches"])

BatchId = Annotated[UUID, Path(examples=[EXAMPLE_ID])]
Archive = Annotated[UploadedFile, File(description="A ZIP archive of photos.")]
Truth = Annotated[
    UploadedFile | None,
    File(
        description="A CSV of `filename,label`: what the photos really show, to count the right answers. "
        "Separated by comma, semicolon or tab, in UTF-8, UTF-16 or CP1252; names are matched by path, then "
        "without regard to case, then by the end of the path where only one file ends so."
    ),
]


InProject = Annotated[
    str,
    Form(
        max_length=50,
        description="The slug of the project whose model answers; without it `cifar10`.",
        examples=["cifar10"],
    ),
]
Limit = Annotated[int, Query(ge=1, le=100, description="Batches a page.", examples=[24])]


class TruthAnswer(Schema):
    """What became of the table of true labels."""

    lines: int = Field(description="Lines with a label.", examples=[100])
    matched: int = Field(
        description="Lines that name a file of the archive. 0: the names of folders count instead.",
        examples=[98],
    )
    first_unmatched: str | None = Field(
        description="The name in the first line that names none.", examples=["IMG_0007.jpg"]
    )


class BatchAnswer(Schema):
    """A batch and how far it is: `done`, `failed` and what is left make up `total`."""

    model_config = ConfigDict(title="Batch")

    id: UUID = Field(examples=[EXAMPLE_ID])
    project: str = Field(description="The slug of its project.", examples=["cifar10"])
    filename: str = Field(examples=["photos.zip"])
    state: Literal["running", "paused", "cancelled", "done"]
    total: int = Field(description="Files in the archive.", examples=[1000])
    done: int = Field(description="Answered.", examples=[995])
    failed: int = Field(
        description="Rejected, failed or cancelled; the results give the reason.", examples=[5]
    )
    labelled: int | None = Field(
        description="Files whose true label is known, by table or folder; null: none.", examples=[98]
    )
    accuracy: float | None = Field(
        ge=0, le=1, description="Accuracy on these photos; null until all have a prediction.", examples=[0.91]
    )
    truth: TruthAnswer | None = Field(description="Null where no table of true labels was sent.")
    webhook: WebhookAnswer | None = Field(description="Null where your account had no webhook address.")
    created_at: datetime
    finished_at: datetime | None
    results_csv_url: str
    results_jsonl_url: str


class BatchLine(Schema):
    """A batch in a list: its counts, without what has to be compared."""

    id: UUID = Field(examples=[EXAMPLE_ID])
    project: str = Field(examples=["cifar10"])
    filename: str = Field(examples=["photos.zip"])
    state: Literal["running", "paused", "cancelled", "done"]
    total: int = Field(examples=[1000])
    done: int = Field(examples=[995])
    failed: int = Field(examples=[5])
    created_at: datetime
    finished_at: datetime | None


class BatchPage(Schema):
    """One page of batches, newest first."""

    batches: list[BatchLine]
    next_cursor: str | None = Field(
        description="Give it as `cursor` for older batches; null on the last page."
    )


@batches.get(
    "/batches",
    response={200: BatchPage, **problems(400, 404, 422)},
    operation_id="listBatches",
    summary="List batches",
)
def list_batches(
    request: HttpRequest, cursor: Cursor = "", limit: Limit = 24, project: OfProject = ""
) -> Any:
    """Your batches, newest first. Scope `read`."""
    person = person_of(request, "read")
    if project:
        projects.find_known(person, project)
    try:
        found = page(person, cursor, limit, project)
    except BadCursor as error:
        raise Problem(400, "bad_cursor", _("This cursor is damaged: begin with the first page.")) from error
    return {"batches": [batch_line(row) for row in found.items], "next_cursor": found.next_cursor or None}


def batch_line(batch: Batch) -> dict[str, Any]:
    counts = totals(batch)
    return {
        **_told(batch),
        "total": counts.total,
        "done": counts.done,
        "failed": counts.failed,
    }


def _told(batch: Batch) -> dict[str, Any]:
    """What every answer about a batch has."""
    return {
        "id": str(batch.pk),
        "project": batch.project_id,
        "filename": batch.filename,
        "state": str(batch.state),
        "created_at": batch.created_at.isoformat(),
        "finished_at": batch.finished_at and batch.finished_at.isoformat(),
    }


@batches.post(
    "/batches",
    response={202: BatchAnswer, **problems(400, 404, 409, 413, 422, 507)},
    operation_id="createBatch",
    summary="Upload an archive",
)
def upload_batch(
    request: HttpRequest,
    response: HttpResponse,
    archive: Archive,
    truth: Truth = None,
    project: InProject = "",
    idempotency_key: IdempotencyKey = "",
) -> Any:
    """Every file of the archive becomes a photo; one that fails never fails the batch. Scope `predict`."""
    person = person_of(request, "predict")
    refuse_text(request, "archive", "truth")
    to = open_project(person, project).pk
    key = idempotency_key.strip()
    what = f"createBatch{f' {project}' if project else ''}"
    asked = fingerprint(what, [file for file in (archive, truth) if file]) if key else ""
    create = partial(_create, request, person, archive, truth, to)
    (status, made), repeated = once(person, key, asked, create)
    if repeated:
        response.headers["Idempotency-Replayed"] = "true"
    response.headers["Location"] = f"{request.path}/{made['id']}"
    return Status(status, batch_answer(request, find(person, made["id"])))


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
        raise Problem(409, "wrong_state", _("This batch has already finished and cannot be cancelled."))
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
    person = person_of(request, "read")
    classes = export.classes_of([find(person, batch_id).project_id])
    return send_results(request, batch_id, partial(export.as_csv, classes=classes), "csv")


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
    return send_results(request, batch_id, export.as_json_lines, "jsonl")


def send_results(
    request: HttpRequest, batch_id: UUID, write: Callable[..., HttpResponseBase], ending: str
) -> HttpResponseBase:
    batch = find(person_of(request, "read"), batch_id)
    spend_more(request, download_cost() - 1)
    return write(results(batch), f"batch-{batch.pk}.{ending}")


def find(person: User, batch_id: UUID | str) -> Batch:
    """One of a person's own batches; a 404 otherwise."""
    found = person.batches.filter(pk=batch_id).first()
    if found is None:
        raise Problem(404, "not_found", _("There is no such batch, or it is not yours."))
    return found


def batch_answer(request: HttpRequest, batch: Batch) -> dict[str, Any]:
    progress = Progress(batch)
    labelled = batch.items.exclude(truth="").count()
    scored = score(batch) if labelled and progress.is_over else None
    return {
        **_told(batch),
        "total": progress.total,
        "done": progress.done,
        "failed": progress.failed,
        "labelled": labelled or None,
        "accuracy": scored and scored.accuracy,
        "truth": batch.truth,
        "webhook": webhook_answer(batch),
        "results_csv_url": address(request, "batch-csv", batch.pk),
        "results_jsonl_url": address(request, "batch-jsonl", batch.pk),
    }


def _create(
    request: HttpRequest, person: User, archive: UploadedFile, truth: UploadedFile | None, project: str
) -> tuple[int, dict[str, Any]]:
    try:
        batch = create_batch(
            person,
            archive.file,  # type: ignore[arg-type]
            filename=archive.name or "",
            truth=truth.file if truth else None,  # type: ignore[arg-type]
            project=project,
        )
    except Rejected as error:
        audit.record_refusal("upload_refused", by=person, detail=error.code, request=request)
        raise Problem(admission.STATUS_OF.get(error.code, 400), error.code, error.detail) from error
    return 202, {"id": str(batch.pk)}
