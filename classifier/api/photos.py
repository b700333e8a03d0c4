"""Photos: upload, look, correct, delete."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date
from functools import partial
from typing import Annotated, Any
from uuid import UUID

from django.db.models import Prefetch, prefetch_related_objects
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.utils.translation import gettext as _
from ninja import Router, Status
from ninja.files import UploadedFile
from ninja.params.functions import File, Header, Path, Query

from classifier import audit, history
from classifier.api.answers import (
    SHOWN,
    SHOWN_OF_PHOTO,
    AskBody,
    CorrectionBody,
    Day,
    Label,
    Nothing,
    PhotoAnswer,
    PhotoPage,
    PhotoStatus,
    UploadAnswer,
    Verdict,
    photo_answer,
)
from classifier.api.sign_in import person_of, spend_more
from classifier.api.waiting import wait_for_answers
from classifier.corrections import correct
from classifier.crops import CropRefused, read_crop
from classifier.idempotency import fingerprint, once
from classifier.image_checks import ImageRefused
from classifier.media import serve
from classifier.models import Correction, Photo, Prediction, User
from classifier.predictions import AskedTooOften, ask_again
from classifier.uploads import upload_photo
from training.problems import Problem, problems

photos = Router(tags=["Photos"])

# What stops every file is no fault of the file.
STATUS_OF = {"quota": 413, "busy": 503, "storage_full": 507}
EXAMPLE_ID = "6d7a2e0c-8f0b-4f3c-9d1c-0f1f6a9f0c11"
STATUSES = {
    "queued": [Prediction.Status.QUEUED, Prediction.Status.RUNNING],
    "done": [Prediction.Status.DONE],
    "failed": [Prediction.Status.FAILED],
}
PhotoId = Annotated[UUID, Path(examples=[EXAMPLE_ID])]
IdempotencyKey = Annotated[
    str,
    Header(
        alias="Idempotency-Key",
        max_length=255,
        description="Chosen by you: the same request with the same key is done once, for 24 hours.",
        examples=["3f1b6a52-upload-1"],
    ),
]
Files = Annotated[
    list[UploadedFile],
    File(min_length=1, max_length=100, description="JPEG, PNG, WebP, GIF, BMP or HEIC; 1 to 100 of them."),
]
Wait = Annotated[
    int,
    Query(ge=0, le=30, description="Seconds to wait for the answers: 200 when all are in before they end."),
]
Cursor = Annotated[
    str, Query(max_length=200, description="`next_cursor` or `previous_cursor` of another page.")
]
WithLabel = Annotated[Label | Nothing, Query(description="Only photos with this answer.", examples=["cat"])]
WithVerdict = Annotated[
    Verdict | Nothing, Query(description="Only photos with this verdict.", examples=["recognised"])
]
WithStatus = Annotated[
    PhotoStatus | Nothing, Query(description="Only photos with this status.", examples=["done"])
]
# The default stands here too: pydantic forgets one that ninja sets later.
From = Annotated[
    Day, Query("", alias="from", description="Uploaded on this day (UTC) or later.", examples=["2026-01-01"])
]
To = Annotated[
    Day, Query("", alias="to", description="Uploaded on this day (UTC) or earlier.", examples=["2026-12-31"])
]
Limit = Annotated[int, Query(ge=1, le=100, description="Photos a page.", examples=[24])]


def binary(*types: str) -> dict[str, Any]:
    """The documentation of an answer that is a file."""
    content = {kind: {"schema": {"type": "string", "format": "binary"}} for kind in types}
    headers = {"ETag": {"description": "Send it as If-None-Match.", "schema": {"type": "string"}}}
    return {"responses": {200: {"content": content, "headers": headers}}}


@photos.post(
    "/photos",
    response={200: UploadAnswer, 202: UploadAnswer, **problems(400, 409, 413, 422, 503, 507)},
    operation_id="uploadPhotos",
    summary="Upload photos",
)
def upload_photos(
    request: HttpRequest,
    response: HttpResponse,
    file: Files,
    wait: Wait = 0,
    idempotency_key: IdempotencyKey = "",
) -> Any:
    """Each file is taken by itself: a refused one is told in `errors` and does not stop the others.

    202: the accepted photos are stored and will be looked at. 400: no file was acceptable; 413 when
    that is because of your quota. Scope `predict`.
    """
    person = person_of(request, "predict")
    refuse_text(request, "file")
    spend_more(request, len(file) - 1)
    key = idempotency_key.strip()
    asked = fingerprint("uploadPhotos", file) if key else ""
    (status, answer), repeated = once(person, key, asked, partial(_upload, request, person, file, wait))
    if repeated:
        response.headers["Idempotency-Replayed"] = "true"
    return Status(status, answer)


@photos.get(
    "/photos",
    response={200: PhotoPage, **problems(400, 422)},
    operation_id="listPhotos",
    summary="List photos",
)
def list_photos(
    request: HttpRequest,
    cursor: Cursor = "",
    label: WithLabel = "",
    verdict: WithVerdict = "",
    status: WithStatus = "",
    date_from: From = "",
    date_to: To = "",
    limit: Limit = 24,
) -> Any:
    """Your photos, newest first, in pages that cost the same however far you go. Scope `read`."""
    person = person_of(request, "read")
    rows = history.history(
        person,
        label=label,
        verdict=verdict,
        date_from=date.fromisoformat(date_from) if date_from else None,
        date_to=date.fromisoformat(date_to) if date_to else None,
    )
    if status:
        rows = rows.filter(status__in=STATUSES[status])
    try:
        page = history.page(rows.only(*SHOWN, *SHOWN_OF_PHOTO, "photo_created_at"), cursor, limit)
    except history.BadCursor as error:
        raise Problem(400, "bad_cursor", _("This cursor is damaged: begin with the first page.")) from error
    load_corrections(page.items, person)
    return {
        "photos": [photo_answer(request, row) for row in page.items],
        "next_cursor": page.next_cursor or None,
        "previous_cursor": page.previous_cursor or None,
    }


@photos.get(
    "/photos/{uuid:photo_id}",
    response={200: PhotoAnswer, **problems(404)},
    operation_id="getPhoto",
    summary="Get a photo",
)
def get_photo(request: HttpRequest, photo_id: PhotoId) -> Any:
    """A photo and the answer to it. Scope `read`."""
    person = person_of(request, "read")
    return show(request, person, photo_id)


@photos.delete(
    "/photos/{uuid:photo_id}",
    response={204: None, **problems(404)},
    operation_id="deletePhoto",
    summary="Delete a photo",
)
def delete_photo(request: HttpRequest, photo_id: PhotoId) -> Any:
    """Delete a photo and the answer to it. Scope `predict`."""
    person = person_of(request, "predict")
    if not history.delete_photos(person, [photo_id]):
        raise no_photo()
    audit.record("photos_deleted", by=person, detail="1", request=request)
    return Status(204, None)


@photos.get(
    "/photos/{uuid:photo_id}/image",
    response={200: None, 304: None, **problems(404)},
    operation_id="getPhotoImage",
    summary="Get the photo itself",
    url_name="photo-image",
    openapi_extra=binary("image/jpeg"),
)
def get_photo_image(request: HttpRequest, photo_id: PhotoId) -> HttpResponseBase:
    """The photo as the site keeps it: upright, without metadata, at most 1,600 pixels. Scope `read`."""
    photo = find(person_of(request, "read"), photo_id).photo
    version = f"{photo.pixel_sha256}-display"
    return serve(request, photo.display, filename=photo.filename, version=version, max_age=3600)


@photos.get(
    "/photos/{uuid:photo_id}/input",
    response={200: None, 304: None, **problems(404)},
    operation_id="getPhotoInput",
    summary="Get what the model saw",
    url_name="photo-input",
    openapi_extra=binary("image/png"),
)
def get_photo_input(request: HttpRequest, photo_id: PhotoId) -> HttpResponseBase:
    """The model's input, to the pixel. Scope `read`."""
    prediction = find(person_of(request, "read"), photo_id)
    name = f"{prediction.photo.filename}-input"
    return serve(request, prediction.input, filename=name, version=prediction.input_sha256, max_age=0)


@photos.post(
    "/photos/{uuid:photo_id}/correction",
    response={200: PhotoAnswer, **problems(400, 404, 422)},
    operation_id="correctPhoto",
    summary="Say what is in a photo",
)
def correct_photo(request: HttpRequest, body: CorrectionBody, photo_id: PhotoId) -> Any:
    """Say what is really in it; a later correction replaces an earlier one. Scope `predict`."""
    person = person_of(request, "predict")
    correct(find(person, photo_id).photo, by=person, label=body.label)
    return show(request, person, photo_id)


@photos.post(
    "/photos/{uuid:photo_id}/predictions",
    response={202: PhotoAnswer, **problems(400, 404, 409, 422)},
    operation_id="askAgain",
    summary="Ask again, about the whole photo or a part",
)
def ask_about_photo(request: HttpRequest, body: AskBody, photo_id: PhotoId) -> Any:
    """Ask today's model once more; the new answer becomes the photo's, earlier ones are kept.

    While an answer is under way nothing new is asked. 409: the photo was asked about too often.
    Scope `predict`.
    """
    person = person_of(request, "predict")
    photo = find(person, photo_id).photo
    try:
        ask_again(photo, read_crop(body.crop.dict(), photo) if body.crop else None)
    except CropRefused as error:
        raise Problem(400, "bad_crop", error.detail) from error
    except AskedTooOften as error:
        raise Problem(409, "asked_too_often", str(error)) from error
    return Status(202, show(request, person, photo_id))


def load_corrections(rows: Iterable[Prediction], person: User) -> None:
    """Asked for only where the owner said something."""
    photos = [row.photo for row in rows if row.owner_says]
    mine = Correction.objects.filter(by=person)
    prefetch_related_objects(photos, Prefetch("corrections", queryset=mine))


def find(person: User, photo_id: UUID) -> Prediction:
    """The present answer to one of a person's own photos; a 404 otherwise."""
    found = history.history(person).filter(photo_id=photo_id).order_by().first()
    if found is None:
        raise no_photo()
    return found


def show(request: HttpRequest, person: User, photo_id: UUID) -> dict[str, Any]:
    """One of a person's own photos as JSON; a 404 where there is none."""
    rows = history.history(person).filter(photo_id=photo_id)
    found = rows.only(*SHOWN, *SHOWN_OF_PHOTO).order_by()[:1]
    if not found:
        raise no_photo()
    load_corrections(found, person)
    return photo_answer(request, found[0])


def refuse_text(request: HttpRequest, *names: str) -> None:
    """A file that was sent as text would be left out silently: say so."""
    for name in names:
        if name in request.POST:
            detail = _("%(name)s: send it as a file, with a file name; it came as text.") % {"name": name}
            raise Problem(422, "invalid", detail)


def no_photo() -> Problem:
    return Problem(404, "not_found", _("There is no such photo, or it is not yours."))


def _upload(
    request: HttpRequest, person: User, files: list[UploadedFile], wait: int
) -> tuple[int, dict[str, Any]]:
    """Take each file, wait if asked to, and say what became of each."""
    accepted: dict[UUID, Photo] = {}
    refused = []
    for file in files:
        try:
            photo = upload_photo(person, file)  # type: ignore[arg-type]
            accepted[photo.pk] = photo
        except ImageRefused as error:
            audit.record_refusal("upload_refused", by=person, detail=error.code, request=request)
            refused.append({"filename": file.name or "", "code": error.code, "detail": str(error.detail)})
    if not accepted:
        code, detail = refused[0]["code"], refused[0]["detail"]
        status = STATUS_OF.get(code, 400)
        headers = {"Retry-After": "60"} if status == 503 else None
        raise Problem(status, code, detail, headers=headers, photos=[], errors=refused)
    wait_for_answers(accepted, wait)
    rows = Prediction.objects.filter(photo_id__in=accepted, is_current=True, photo__deleted_at=None)
    found = {row.photo_id: row for row in rows.select_related("model").only(*SHOWN).order_by()}
    for row in found.values():
        row.photo = accepted[row.photo_id]
    shown = [found[pk] for pk in accepted if pk in found]
    load_corrections(shown, person)
    all_in = wait > 0 and all(row.is_over for row in shown)
    photos = [photo_answer(request, row) for row in shown]
    return (200 if all_in else 202), {"photos": photos, "errors": refused}
