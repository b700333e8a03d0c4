"""A person's own photos: look through them, delete, undo."""

from __future__ import annotations

import base64
import binascii
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta

from django.db import transaction
from django.db.models import Q, QuerySet
from django.utils import timezone

from classifier.models import Photo, Prediction, User
from classifier.stored_files import remove_files
from training import datasets

PAGE_SIZE = 24
NEWER, OLDER = "n", "o"
# How long a deleted photo can be brought back.
UNDO = timedelta(minutes=10)


class BadCursor(ValueError):
    """The cursor is not one that this site gave out."""


@dataclass(frozen=True)
class Page:
    """One page of a history; a cursor is empty where there is no such page."""

    items: list[Prediction]
    next_cursor: str
    previous_cursor: str


def history(
    owner: User,
    *,
    label: str = "",
    status: str = "",
    verdict: str = "",
    date_from: date | None = None,
    date_to: date | None = None,
    search: str = "",
) -> QuerySet[Prediction]:
    """The present answer to each of a person's photos, newest photo first.

    Args:
        label, status, verdict: exact values; empty: any.
        date_from, date_to: days in the present time zone, both included.
        search: a part of the file name.
    """
    rows = (
        Prediction.objects.filter(owner=owner, is_current=True, photo__deleted_at=None)
        .select_related("photo", "model")
        .defer("model__card")  # long, and read for every photo otherwise
        .order_by("-photo_created_at", "-photo_id")
    )
    if label:
        rows = rows.filter(label=label)
    if status:
        rows = rows.filter(status=status)
    if verdict:
        rows = rows.filter(verdict=verdict)
    if date_from:
        rows = rows.filter(photo_created_at__gte=_midnight(date_from))
    if date_to and date_to < date.max:
        rows = rows.filter(photo_created_at__lt=_midnight(date_to + timedelta(days=1)))
    if search:
        rows = rows.filter(photo__filename__icontains=search)
    return rows


def page(rows: QuerySet[Prediction], cursor: str = "", size: int = PAGE_SIZE) -> Page:
    """One keyset page: its cost does not grow with how far one has paged.

    Args:
        rows: from ``history``.
        cursor: empty for the first page, or one that an earlier page gave.

    Raises:
        BadCursor: the cursor is damaged.
    """
    backwards = False
    if cursor:
        backwards, created_at, photo_id = _decode(cursor)
        rows = _beyond(rows, created_at, photo_id, newer=backwards)
    if backwards:
        rows = rows.reverse()
    found = list(rows[: size + 1])
    more = len(found) > size
    items = found[:size]
    if backwards:
        items.reverse()
    has_previous, has_next = (more, True) if backwards else (bool(cursor), more)
    return Page(
        items=items,
        next_cursor=_encode(OLDER, items[-1]) if items and has_next else "",
        previous_cursor=_encode(NEWER, items[0]) if items and has_previous else "",
    )


def delete_photos(owner: User, ids: Iterable[uuid.UUID]) -> int:
    """Hide a person's photos; they can be brought back for ten minutes. Returns how many."""
    photos = owner.photos.filter(pk__in=list(ids), deleted_at=None)
    return photos.update(deleted_at=timezone.now())


def restore_photos(owner: User, ids: Iterable[uuid.UUID]) -> int:
    """Undo ``delete_photos``. Returns how many photos came back."""
    return owner.photos.filter(pk__in=list(ids), deleted_at__isnull=False).update(deleted_at=None)


def purge_deleted(limit: int = 1_000) -> int:
    """Remove rows, then files, of photos whose time to undo is over. Returns how many."""
    over = Photo.objects.filter(deleted_at__lt=timezone.now() - UNDO)
    return remove_photos(over[:limit])


def remove_photos(photos: QuerySet[Photo]) -> int:
    """Remove rows, then files, for good; dataset versions that hold them are marked."""
    doomed = list(photos.select_related("example").prefetch_related("predictions"))
    for photo in doomed:
        names = [photo.display.name, photo.thumbnail.name]
        names += [prediction.input.name for prediction in photo.predictions.all()]
        with transaction.atomic():
            if hasattr(photo, "example"):
                names.append(photo.example.image.name)
                datasets.withdraw([photo.pk])
            photo.delete()
        remove_files(names)
    return len(doomed)


def neighbours(prediction: Prediction) -> tuple[uuid.UUID | None, uuid.UUID | None]:
    """Ids of the next newer and the next older photo of the same person, or None."""
    rows = history(prediction.owner)
    here = prediction.photo_created_at, prediction.photo_id
    newer = _beyond(rows, *here, newer=True).reverse()
    older = _beyond(rows, *here, newer=False)
    return (
        newer.values_list("photo_id", flat=True).first(),
        older.values_list("photo_id", flat=True).first(),
    )


def _beyond(
    rows: QuerySet[Prediction], created_at: datetime, photo_id: uuid.UUID, *, newer: bool
) -> QuerySet[Prediction]:
    """The rows strictly newer or strictly older than a place in the order."""
    side = "gt" if newer else "lt"
    return rows.filter(
        # This one uses the index; the next only decides among photos of the same instant.
        Q(**{f"photo_created_at__{side}e": created_at}),
        Q(**{f"photo_created_at__{side}": created_at}) | Q(**{f"photo_id__{side}": photo_id}),
    )


def _encode(direction: str, row: Prediction) -> str:
    text = f"{direction}{row.photo_created_at.isoformat()}|{row.photo_id}"
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _decode(cursor: str) -> tuple[bool, datetime, uuid.UUID]:
    try:
        text = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode()
        created_at, photo_id = text[1:].split("|")
        place = datetime.fromisoformat(created_at), uuid.UUID(photo_id)
    except (ValueError, binascii.Error) as error:
        raise BadCursor("This page link is damaged: go back to the first page.") from error
    if text[0] not in (NEWER, OLDER) or timezone.is_naive(place[0]):
        raise BadCursor("This page link is damaged: go back to the first page.")
    return text[0] == NEWER, *place


def _midnight(day: date) -> datetime:
    return timezone.make_aware(datetime.combine(day, time.min))
