"""A person's photos as a whole: list and delete them, as the history's page does."""

from __future__ import annotations

from datetime import date
from typing import Any

from django.http import HttpRequest
from django.utils.translation import gettext as _

from cifarsite.core.api_problems import Problem, error_entry, problems
from cifarsite.core.keyset import BadCursor
from classifier.accounts import audit
from classifier.api.authentication import person_of
from classifier.api.batches import find as find_batch
from classifier.api.parameters import (
    Cursor,
    From,
    Limit,
    OfBatch,
    OfProject,
    Sort,
    To,
    WithCorrection,
    WithLabel,
    WithName,
    WithStatus,
    WithVerdict,
)
from classifier.api.photos import load_corrections, photos
from classifier.api.schemas import (
    SHOWN,
    SHOWN_OF_PHOTO,
    DeletionAnswer,
    DeletionBody,
    PhotoPage,
    photo_answer,
)
from classifier.models import Prediction, User
from classifier.photos import history, projects

__all__ = ["photos"]

STATUSES = {
    "queued": [Prediction.Status.QUEUED, Prediction.Status.RUNNING],
    "done": [Prediction.Status.DONE],
    "failed": [Prediction.Status.FAILED],
}


@photos.get(
    "/photos",
    response={200: PhotoPage, **problems(400, 404, 422)},
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
    project: OfProject = "",
    batch: OfBatch = "",
    correction: WithCorrection = "",
    search: WithName = "",
    sort: Sort = "",
) -> Any:
    """Your photos, newest first, in pages that cost the same however far you go. Scope `read`."""
    person = person_of(request, "read")
    if project:
        projects.find_known(person, project)
    if label and label not in known_labels(person, project):
        detail = _("None of your projects has this class.")
        raise Problem(422, "invalid", f"label: {detail}", errors=[error_entry("label", detail)])
    rows = history.history(
        person,
        project=project,
        label=label,
        verdict=verdict,
        batch=find_batch(person, batch) if batch else None,
        correction=correction,
        search=search,
        sort=sort,
        date_from=date.fromisoformat(date_from) if date_from else None,
        date_to=date.fromisoformat(date_to) if date_to else None,
    )
    if status:
        rows = rows.filter(status__in=STATUSES[status])
    try:
        page = history.page(rows.only(*SHOWN, *SHOWN_OF_PHOTO, "photo_created_at"), cursor, limit, sort)
    except BadCursor as error:
        raise Problem(400, "bad_cursor", _("This cursor is damaged: begin with the first page.")) from error
    load_corrections(page.items, person)
    return {
        "photos": [photo_answer(request, row) for row in page.items],
        "next_cursor": page.next_cursor or None,
        "previous_cursor": page.previous_cursor or None,
    }


@photos.post(
    "/photos/delete",
    response={200: DeletionAnswer, **problems(400, 422)},
    operation_id="deletePhotos",
    summary="Delete many photos",
)
def delete_photos(request: HttpRequest, body: DeletionBody) -> Any:
    """Delete photos and the answers to them; to do it again is harmless. Scope `predict`."""
    person = person_of(request, "predict")
    ids = list(dict.fromkeys(body.ids))
    deleted = set(history.delete_photos(person, ids))
    if deleted:
        audit.record("photos_deleted", by=person, detail=str(len(deleted)), request=request)
    return {
        "deleted": [pk for pk in ids if pk in deleted],
        "not_found": [pk for pk in ids if pk not in deleted],
    }


def known_labels(person: User, project: str) -> list[str]:
    slugs = [project] if project else projects.known(person).values_list("pk", flat=True)
    return projects.labels_known(list(slugs))
