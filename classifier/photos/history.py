"""A person's own photos: list, delete, undo."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime, time, timedelta

from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone

from cifarsite.core import keyset
from cifarsite.core.keyset import Order, Page, read_time
from cifarsite.core.storage import remove_files
from classifier.models import Batch, Example, Photo, Prediction, User
from classifier.photos import daily_counts
from classifier.photos import search as names
from training.data import withdrawals
from training.projects import images

PAGE_SIZE = 24
# How long a deleted photo can be brought back.
UNDO = timedelta(minutes=10)
# How many photos are deleted at once where all that match are meant.
DELETED_AT_ONCE = 10_000
# So many photos are sorted where no index has them in order.
FEW_PHOTOS = 5_000


# By the name that stands in the address; those by confidence leave out what has no answer.
ORDERS = {
    "": Order("photo_created_at", True, read_time, "photo_id"),
    "oldest": Order("photo_created_at", False, read_time, "photo_id"),
    "surest": Order("confidence", True, float, "photo_id"),
    "least_sure": Order("confidence", False, float, "photo_id"),
}


def history(
    owner: User,
    *,
    project: str = "",
    label: str = "",
    status: str = "",
    verdict: str = "",
    date_from: date | None = None,
    date_to: date | None = None,
    correction: str = "",
    search: str = "",
    batch: Batch | None = None,
    sort: str = "",
) -> QuerySet[Prediction]:
    """The present answer to each of a person's photos, newest photo first.

    Args:
        project, label, status, verdict: exact values; empty: any.
        date_from, date_to: days in the present time zone, both included.
        correction: what the owner says, as in ``Prediction.UserFeedback``, or 'none'.
        search: beginnings of words of the file name.
        batch: the one that the photos came with.
        sort: a key of ``ORDERS``.
    """
    rows: QuerySet[Prediction] = (
        Prediction.objects.filter(owner=owner, is_current=True, photo__deleted_at=None)
        .select_related("photo", "model", "project")
        .defer("model__card")  # long, and read for every photo otherwise
    )
    rows = ORDERS[sort].of(rows)
    if ORDERS[sort].field == "confidence":
        rows = rows.filter(confidence__isnull=False)
    if project:
        rows = rows.filter(project=project)
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
        rows = rows.filter(user_feedback="" if correction == "none" else correction)
    by_confidence = ORDERS[sort].field == "confidence" and (date_from or date_to)
    # Few days are looked through; many days have a page of photos soon in the order.
    if by_confidence and daily_counts.between(owner, date_from, date_to, project) <= FEW_PHOTOS:
        rows = names.sorted_anew(rows)
    if batch:
        rows = names.sorted_anew(rows.filter(photo__batch_item__batch=batch))
    if search:
        rows = names.search(rows, owner, search)
    return rows


def page(
    rows: QuerySet[Prediction], cursor: str = "", size: int = PAGE_SIZE, sort: str = ""
) -> Page[Prediction]:
    """One page of ``history``; ``sort``: the one that the rows have.

    Raises:
        BadCursor: the cursor is damaged.
    """
    return keyset.page(rows, ORDERS[sort], cursor, size)


def delete_photos(owner: User, ids: Iterable[uuid.UUID]) -> list[uuid.UUID]:
    """Hide a person's photos; they can be brought back for ten minutes. Returns which were there."""
    return _hide(owner, list(ids), timezone.now())


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


def _hide(owner: User, ids: list[uuid.UUID], now: datetime) -> list[uuid.UUID]:
    with transaction.atomic():
        photos = owner.photos.filter(pk__in=ids, deleted_at=None)
        locked = photos.order_by().select_for_update().values_list("pk", "project", "created_at")
        found = list(locked)
        ids = [pk for pk, _project, _at in found]
        photos.update(deleted_at=now)
        withdrawals.leave_out(ids, now)
        images.remove_of_photos(ids)
        daily_counts.mark((owner.pk, project, at) for _pk, project, at in found)
    return ids


def _show_again(owner: User, photos: QuerySet[Photo]) -> int:
    with transaction.atomic():
        hidden = photos.filter(deleted_at__isnull=False).order_by().select_for_update()
        found = list(hidden.values_list("pk", "project", "created_at", "deleted_at"))
        # What was withdrawn meanwhile has no example any more, and stays out.
        standing = set(Example.objects.filter(photo__in=photos).values_list("photo_id", flat=True))
        for at in {at for _pk, _project, _day, at in found if at}:
            back = [pk for pk, _project, _day, then in found if then == at and pk in standing]
            withdrawals.admit_again(back, at)
        owner.photos.filter(pk__in=[row[0] for row in found]).update(deleted_at=None)
        daily_counts.mark((owner.pk, project, day) for _pk, project, day, _at in found)
    return len(found)


def _pieces(ids: list[uuid.UUID], size: int = 1_000) -> Iterator[list[uuid.UUID]]:
    for start in range(0, len(ids), size):
        yield ids[start : start + size]


def purge_deleted(limit: int = 1_000) -> int:
    """Remove rows, then files, of photos whose time to undo is over. Returns how many."""
    return remove_photos(Photo.objects.filter(deleted_at__lt=timezone.now() - UNDO), limit)


def remove_photos(photos: QuerySet[Photo], limit: int | None = None) -> int:
    """Remove rows, then files, for good; dataset versions that hold them are marked.

    A photo that is not among ``photos`` any more when its turn comes stays: somebody brought it back.

    Returns:
        How many were removed.
    """
    return sum(removals(photos, limit))


def removals(photos: QuerySet[Photo], limit: int | None = None) -> Iterator[bool]:
    """``remove_photos`` one by one: was it removed?"""
    for pk in list(photos.values_list("pk", flat=True)[:limit]):
        yield _remove(photos, pk)


def _remove(photos: QuerySet[Photo], pk: uuid.UUID) -> bool:
    with transaction.atomic():
        photo = photos.filter(pk=pk).select_for_update(of=("self",)).first()
        if photo is None:
            return False
        names = [photo.display.name, photo.thumbnail.name]
        names += photo.predictions.values_list("input", flat=True)
        example = Example.objects.filter(photo=photo).first()
        photo.delete()
        was_image = images.remove_of_photos([pk])
        if example:
            names.append(example.image.name)
        if (
            example or was_image
        ):  # After the row: a freeze holds that until its version is there to be marked.
            withdrawals.withdraw([pk])
    remove_files(names)
    return True


def neighbours(prediction: Prediction) -> tuple[uuid.UUID | None, uuid.UUID | None]:
    """Ids of the next newer and the next older photo of the same person, or None."""
    rows, order = history(prediction.owner), ORDERS[""]
    here = prediction.photo_created_at, prediction.photo_id
    newer = order.beyond(rows, here, before=True).reverse()
    older = order.beyond(rows, here, before=False)
    return (
        newer.values_list("photo_id", flat=True).first(),
        older.values_list("photo_id", flat=True).first(),
    )


def _midnight(day: date) -> datetime:
    if day == date.min:  # in the east this is before the calendar begins
        return datetime.combine(day, time.min, UTC)
    return timezone.make_aware(datetime.combine(day, time.min))
