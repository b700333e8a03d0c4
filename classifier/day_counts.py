"""How many photos a person has, by day and class, without counting a million rows for a page.

Whatever changes a photo raises ``changes`` of its day in the same transaction; a day is counted anew
when somebody looks at it, or by the sweeper. What did not change is never counted twice.
"""

from __future__ import annotations

import calendar
from collections import Counter
from collections.abc import Iterable
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from django.db.models import Count, F, Q, QuerySet, Sum

from classifier.models import DayCount, Photo, Prediction, User

# Each new photo is a change, so there are at most as many as were counted and the changes since.
_MOST = Sum("photos") + Sum("changes") - Sum("counted")
STALE = ~Q(changes=F("counted"))
# A page counts so many days itself, none with more photos than this; the sweeper does the rest.
DAYS_A_PAGE = 8
PHOTOS_A_PAGE = 20_000
DAYS_A_SWEEP = 200


def mark(changed: Iterable[tuple[int, datetime]]) -> None:
    """Note that photos changed: (owner's id, time of the upload) of each. Inside their transaction."""
    counts = Counter((owner, at.astimezone(UTC).date()) for owner, at in changed)
    # In one order, so that two transactions never wait for each other.
    for (owner, day), count in sorted(counts.items()):
        rows = DayCount.objects.filter(owner=owner, day=day)
        if not rows.update(changes=F("changes") + count):
            DayCount.objects.bulk_create([DayCount(owner_id=owner, day=day)], ignore_conflicts=True)
            rows.update(changes=F("changes") + count)


def of_month(owner: User, year: int, month: int) -> dict[date, int]:
    """Photos of each day of a month; days without any are left out."""
    last = calendar.monthrange(year, month)[1]
    rows = owner.day_counts.filter(day__gte=date(year, month, 1), day__lte=date(year, month, last))
    _refresh(rows)
    return dict(rows.filter(photos__gt=0).values_list("day", "photos"))


def first_and_last_day(owner: User) -> tuple[date, date] | None:
    """The days of the oldest and the newest photo; None where there are no photos."""
    days = owner.day_counts.filter(Q(photos__gt=0) | STALE).values_list("day", flat=True)
    first, last = days.order_by("day").first(), days.order_by("-day").first()
    return (first, last) if first and last else None


def by_class(owner: User) -> Counter[str]:
    """Answered photos of each class."""
    _refresh(owner.day_counts.all())
    counts: Counter[str] = Counter()
    for labels in owner.day_counts.filter(photos__gt=0).values_list("labels", flat=True):
        counts.update(labels)
    return counts


def photos(owner: User) -> int:
    """How many photos a person has."""
    _refresh(owner.day_counts.all())
    return owner.day_counts.aggregate(n=Sum("photos"))["n"] or 0


def between(owner: User, first: date | None, last: date | None) -> int:
    """At most how many photos a person has of these days."""
    rows = owner.day_counts.all()
    if first:
        rows = rows.filter(day__gte=first)
    if last:
        rows = rows.filter(day__lte=last)
    return rows.aggregate(n=_MOST)["n"] or 0


def room(owner: User, limit: int, wanted: int = 1) -> int:
    """How many of ``wanted`` photos a person may add before there are ``limit``.

    Exact, though photos are counted only where it is close.
    """
    if between(owner, None, None) + wanted <= limit:
        return wanted
    return min(wanted, limit - owner.photos.filter(deleted_at=None)[:limit].count())


def recount(limit: int = DAYS_A_SWEEP) -> int:
    """The sweeper's part: count the days that changed. Returns how many."""
    stale = list(DayCount.objects.filter(STALE).order_by("pk")[:limit])
    for row in stale:
        _count(row)
    return len(stale)


def _refresh(rows: QuerySet[DayCount]) -> None:
    for row in rows.filter(STALE).order_by("-day")[:DAYS_A_PAGE]:
        if row.photos + row.changes - row.counted <= PHOTOS_A_PAGE:
            _count(row)


def _count(row: DayCount) -> None:
    begin = datetime.combine(row.day, time.min, UTC)
    end = begin + timedelta(days=1)
    found = Photo.objects.filter(
        owner=row.owner_id, created_at__gte=begin, created_at__lt=end, deleted_at=None
    ).count()
    answered = Prediction.objects.filter(
        owner=row.owner_id,
        is_current=True,
        photo_created_at__gte=begin,
        photo_created_at__lt=end,
        status=Prediction.Status.DONE,
        photo__deleted_at=None,
    )
    labels: dict[str, Any] = dict(answered.order_by().values_list("label").annotate(n=Count("pk")))
    # What changed since the row was read leaves it to be counted again.
    DayCount.objects.filter(pk=row.pk, counted__lt=row.changes).update(
        photos=found, labels=labels, counted=row.changes
    )
