"""A person's own photos: look through them, delete, undo."""

from __future__ import annotations

import base64
import binascii
import uuid
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from django.db import transaction
from django.db.models import Q, QuerySet
from django.utils import timezone

from classifier import day_counts, names
from classifier.models import Photo, Prediction, User
from classifier.stored_files import remove_files
from training import datasets

PAGE_SIZE = 24
NEWER, OLDER = "n", "o"
# How long a deleted photo can be brought back.
UNDO = timedelta(minutes=10)
# How many photos are deleted at once where all that match are meant.
DELETED_AT_ONCE = 10_000
# So many photos are sorted where no index has them in order.
FEW_PHOTOS = 5_000


@dataclass(frozen=True)
class Order:
    """What photos are ordered by; the photo's id decides between equals."""

    field: str
    descending: bool
    read: Callable[[str], Any]

    def of(self, rows: QuerySet[Prediction]) -> QuerySet[Prediction]:
        sign = "-" if self.descending else ""
        return rows.order_by(f"{sign}{self.field}", f"{sign}photo_id")


def _read_time(text: str) -> datetime:
    """A time with its zone, in UTC: one at the edge of the calendar overflows here, not in the database."""
    at = datetime.fromisoformat(text)
    if timezone.is_naive(at):
        raise ValueError(text)
    return at.astimezone(UTC)


# By the name that stands in the address; those by confidence leave out what has no answer.
ORDERS = {
    "": Order("photo_created_at", True, _read_time),
    "oldest": Order("photo_created_at", False, _read_time),
    "surest": Order("confidence", True, float),
    "least_sure": Order("confidence", False, float),
}


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
    correction: str = "",
    search: str = "",
    sort: str = "",
) -> QuerySet[Prediction]:
    """The present answer to each of a person's photos, newest photo first.

    Args:
        label, status, verdict: exact values; empty: any.
        date_from, date_to: days in the present time zone, both included.
        correction: what the owner says, as in ``Prediction.OwnerSays``, or 'none'.
        search: beginnings of words of the file name.
        sort: a key of ``ORDERS``.
    """
    rows = (
        Prediction.objects.filter(owner=owner, is_current=True, photo__deleted_at=None)
        .select_related("photo", "model")
        .defer("model__card")  # long, and read for every photo otherwise
    )
    rows = ORDERS[sort].of(rows)
    if ORDERS[sort].field == "confidence":
        rows = rows.filter(confidence__isnull=False)
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
    if correction:
        rows = rows.filter(owner_says="" if correction == "none" else correction)
    by_confidence = ORDERS[sort].field == "confidence" and (date_from or date_to)
    # Few days are looked through; many days have a page of photos soon in the order.
    if by_confidence and day_counts.between(owner, date_from, date_to) <= FEW_PHOTOS:
        rows = names.sorted_anew(rows)
    if search:
        rows = names.search(rows, owner, search)
    return rows


def page(rows: QuerySet[Prediction], cursor: str = "", size: int = PAGE_SIZE, sort: str = "") -> Page:
    """One keyset page: its cost does not grow with how far one has paged.

    Args:
        rows: from ``history``.
        cursor: empty for the first page, or one that an earlier page gave.
        sort: the one that the rows have.

    Raises:
        BadCursor: the cursor is damaged.
    """
    backwards = False
    order = ORDERS[sort]
    if cursor:
        backwards, place = _decode(cursor, order)
        rows = _beyond(rows, order, place, before=backwards)
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
        next_cursor=_encode(OLDER, items[-1], order) if items and has_next else "",
        previous_cursor=_encode(NEWER, items[0], order) if items and has_previous else "",
    )


def delete_photos(owner: User, ids: Iterable[uuid.UUID]) -> int:
    """Hide a person's photos; they can be brought back for ten minutes. Returns how many."""
    return len(_hide(owner, list(ids), timezone.now()))


def delete_matching(owner: User, rows: QuerySet[Prediction]) -> tuple[int, datetime]:
    """Hide a person's photos of ``history``, at most 10,000. Returns how many, and when: to undo it."""
    now = timezone.now()
    ids = list(rows.values_list("photo_id", flat=True)[:DELETED_AT_ONCE])
    return sum(len(_hide(owner, piece, now)) for piece in _pieces(ids)), now


def restore_photos(owner: User, ids: Iterable[uuid.UUID]) -> int:
    """Undo ``delete_photos``. Returns how many photos came back."""
    return _show_again(owner, owner.photos.filter(pk__in=list(ids)))


def restore_deleted_at(owner: User, at: datetime) -> int:
    """Undo ``delete_matching``. Returns how many photos came back."""
    return _show_again(owner, owner.photos.filter(deleted_at=at))


def _hide(owner: User, ids: list[uuid.UUID], now: datetime) -> list[datetime]:
    with transaction.atomic():
        photos = owner.photos.filter(pk__in=ids, deleted_at=None)
        days = list(photos.order_by().values_list("created_at", flat=True))
        photos.update(deleted_at=now)
        day_counts.mark((owner.pk, day) for day in days)
    return days


def _show_again(owner: User, photos: QuerySet[Photo]) -> int:
    with transaction.atomic():
        hidden = photos.filter(deleted_at__isnull=False)
        days = list(hidden.order_by().values_list("created_at", flat=True))
        hidden.update(deleted_at=None)
        day_counts.mark((owner.pk, day) for day in days)
    return len(days)


def _pieces(ids: list[uuid.UUID], size: int = 1_000) -> Iterator[list[uuid.UUID]]:
    for start in range(0, len(ids), size):
        yield ids[start : start + size]


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
    rows, order = history(prediction.owner), ORDERS[""]
    here = prediction.photo_created_at, prediction.photo_id
    newer = _beyond(rows, order, here, before=True).reverse()
    older = _beyond(rows, order, here, before=False)
    return (
        newer.values_list("photo_id", flat=True).first(),
        older.values_list("photo_id", flat=True).first(),
    )


def _beyond(
    rows: QuerySet[Prediction], order: Order, place: tuple[Any, uuid.UUID], *, before: bool
) -> QuerySet[Prediction]:
    """The rows strictly before or strictly after a place in the order."""
    key, photo_id = place
    side = "gt" if before == order.descending else "lt"
    return rows.filter(
        # This one uses the index; the next only decides among photos with the same key.
        Q(**{f"{order.field}__{side}e": key}),
        Q(**{f"{order.field}__{side}": key}) | Q(**{f"photo_id__{side}": photo_id}),
    )


def _encode(direction: str, row: Prediction, order: Order) -> str:
    key = getattr(row, order.field)
    text = key.isoformat() if isinstance(key, datetime) else repr(key)
    text = f"{direction}{text}|{row.photo_id}"
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _decode(cursor: str, order: Order) -> tuple[bool, tuple[Any, uuid.UUID]]:
    try:
        text = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode()
        key, photo_id = text[1:].split("|")
        place = order.read(key), uuid.UUID(photo_id)
    except (ValueError, OverflowError, binascii.Error) as error:
        raise BadCursor("This page link is damaged: go back to the first page.") from error
    if text[0] not in (NEWER, OLDER) or place[0] != place[0]:
        raise BadCursor("This page link is damaged: go back to the first page.")
    return text[0] == NEWER, place


def _midnight(day: date) -> datetime:
    return timezone.make_aware(datetime.combine(day, time.min))
