"""Photos: upload, look, correct, delete; many of them at once: ``classifier.api.history``."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any
from uuid import UUID

from django.db.models import Prefetch, prefetch_related_objects
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.utils.translation import gettext as _
from ninja import Router, Status
from ninja.files import UploadedFile

from cifarsite.core.api_problems import Problem, error_entry, problems
from classifier.accounts import audit
from classifier.accounts.idempotency import fingerprint, once
from classifier.api.authentication import person_of, spend_more
from classifier.api.long_poll import wait_for_answers
from classifier.api.parameters import Files, IdempotencyKey, PhotoId, ToProject, Wait
from classifier.api.schemas import (
    SHOWN,
    SHOWN_OF_PHOTO,
    AskBody,
    CorrectionBody,
    PhotoAnswer,
    UploadAnswer,
    photo_answer,
)
from classifier.feedback.corrections import UnknownLabel, correct, take_back
from classifier.images.crops import CropRefused, read_crop
from classifier.images.errors import ImageRefused
from classifier.models import Correction, Prediction, User
from classifier.photos import history, projects
from classifier.photos.access import serve
from classifier.predictions.queue import PredictionLimitReached, ask_again
from classifier.uploads import admission
from classifier.uploads.photos import upload_photo
from training.models import Project

photos = Router(tags=["Photos"])


def binary(*types: str) -> dict[str, Any]:
    """The documentation of an answer that is a file."""
    content = {kind: {"schema": {"type": "string", "format": "binary"}} for kind in types}
    headers = {"ETag": {"description": "Send it as If-None-Match.", "schema": {"type": "string"}}}
    return {"responses": {200: {"content": content, "headers": headers}}}


@photos.post(
    "/photos",
    response={200: UploadAnswer, 202: UploadAnswer, **problems(400, 404, 409, 413, 422, 503, 507)},
    operation_id="uploadPhotos",
    summary="Upload photos",
)
def upload_photos(
    request: HttpRequest,
    response: HttpResponse,
    file: Files,
    wait: Wait = 0,
    project: ToProject = "",
    idempotency_key: IdempotencyKey = "",
) -> Any:
    """Each file is taken by itself: a refused one is told in `errors` and does not stop the others.

    202: the accepted photos are stored and will be looked at. 400: no file was acceptable; 413 when
    that is because of your quota. Scope `predict`.
    """
    person = person_of(request, "predict")
    refuse_text(request, "file")
    to = open_project(person, project)
    spend_more(request, len(file) - 1)
    key = idempotency_key.strip()
    asked = fingerprint(f"uploadPhotos{f' {project}' if project else ''}", file) if key else ""
    (_status, taken), repeated = once(person, key, asked, partial(_upload, request, person, file, to.pk))
    if repeated:
        response.headers["Idempotency-Replayed"] = "true"
    return show_uploaded(request, person, taken, wait)


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
    return serve(request, photo, photo.display, filename=photo.filename, version=version, max_age=3600)


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
    return serve(
        request, prediction.photo, prediction.input, filename=name, version=prediction.input_sha256, max_age=0
    )


@photos.post(
    "/photos/{uuid:photo_id}/correction",
    response={200: PhotoAnswer, **problems(400, 404, 422)},
    operation_id="correctPhoto",
    summary="Correct a prediction",
)
def correct_photo(request: HttpRequest, body: CorrectionBody, photo_id: PhotoId) -> Any:
    """Say what the photo really shows; a later correction replaces an earlier one. Scope `predict`."""
    person = person_of(request, "predict")
    try:
        correct(find(person, photo_id).photo, by=person, label=body.label)
    except UnknownLabel as error:
        raise Problem(422, "invalid", str(error), errors=[error_entry("label", str(error))]) from error
    return show(request, person, photo_id)


@photos.delete(
    "/photos/{uuid:photo_id}/correction",
    response={204: None, **problems(404)},
    operation_id="withdrawCorrection",
    summary="Withdraw a correction",
)
def withdraw_correction(request: HttpRequest, photo_id: PhotoId) -> Any:
    """Forget it; a label that a reviewer accepted stays. Harmless when repeated. Scope `predict`."""
    person = person_of(request, "predict")
    take_back(find(person, photo_id).photo, person)
    return Status(204, None)


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
    except PredictionLimitReached as error:
        raise Problem(409, "asked_too_often", str(error)) from error
    return Status(202, show(request, person, photo_id))


def load_corrections(rows: Iterable[Prediction], person: User) -> None:
    """Asked for only where the owner said something."""
    photos = [row.photo for row in rows if row.user_feedback]
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
            raise Problem(422, "invalid", detail, errors=[error_entry(name, detail)])


def no_photo() -> Problem:
    return Problem(404, "not_found", _("There is no such photo, or it is not yours."))


def open_project(person: User, slug: str) -> Project:
    """The project to upload to; a 404 where there is none for this person, a 409 where nothing answers."""
    try:
        return projects.project_for_upload(person, slug)
    except projects.NoModel as error:
        raise Problem(409, error.code, str(error)) from error


def _upload(
    request: HttpRequest, person: User, files: list[UploadedFile], project: str
) -> tuple[int, dict[str, Any]]:
    """Take each file, and note what became of each: the ids of the photos, and the refusals."""
    accepted: list[dict[str, str]] = []
    refused = []
    for number, file in enumerate(files):
        try:
            photo = upload_photo(person, file, project=project)  # type: ignore[arg-type]
            accepted.append({"id": str(photo.pk)})
        except ImageRefused as error:
            audit.record_refusal("upload_refused", by=person, detail=error.code, request=request)
            where, name = f"file.{number}", file.name or ""
            refused.append(error_entry(where, str(error.detail), code=error.code, filename=name))
    if not accepted:
        code, detail = refused[0]["code"], refused[0]["detail"]
        status = admission.STATUS_OF.get(code, 400)
        headers = {"Retry-After": "60"} if status == 503 else None
        raise Problem(status, code, detail, headers=headers, photos=[], errors=refused)
    return 202, {"photos": accepted, "errors": refused}


def show_uploaded(request: HttpRequest, person: User, taken: dict[str, Any], wait: int) -> Any:
    """The photos of an upload as they are now, after waiting if asked to; a 404 where all are deleted."""
    ids = [UUID(photo["id"]) for photo in taken["photos"]]
    wait_for_answers(ids, wait)
    rows = history.history(person).filter(photo_id__in=ids)
    found = {row.photo_id: row for row in rows.only(*SHOWN, *SHOWN_OF_PHOTO).order_by()}
    shown = [found[pk] for pk in ids if pk in found]
    if not shown:
        raise no_photo()
    load_corrections(shown, person)
    all_in = wait > 0 and all(row.is_over for row in shown)
    photos = [photo_answer(request, row) for row in shown]
    return Status(200 if all_in else 202, {"photos": photos, "errors": taken["errors"]})
