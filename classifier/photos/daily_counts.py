"""How many photos a person has, by day and class, without counting a million rows for a page.

Rows are days of UTC; each keeps the photos of its quarters of an hour, of which days of every time zone are
added up.

Whatever changes a photo raises ``changes`` of its day in the same transaction; a day is counted anew
when somebody views it, or by the sweeper. What did not change is never counted twice.
"""

from __future__ import annotations

import calendar
from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from django.db.models import Count, F, Q, QuerySet, Sum
from django.db.models.functions import TruncMinute
from django.utils import timezone

from classifier.models import DayCount, Photo, Prediction, User

# Each new photo is a change, so there are at most as many as were counted and the changes since.
_MOST = Sum("photos") + Sum("changes") - Sum("counted")
STALE = ~Q(changes=F("counted"))
# A page counts so many days itself, none with more photos than this; the sweeper does the rest.
DAYS_A_PAGE = 8
PHOTOS_A_PAGE = 20_000
DAYS_A_SWEEP = 200
# Every time zone is so many of these from UTC.
QUARTER = timedelta(minutes=15)


def mark(changed: Iterable[tuple[int, str, datetime]]) -> None:
    """Note that photos changed: (owner, project, time of the upload) of each. Inside their transaction."""
    counts = Counter((owner, project, at.astimezone(UTC).date()) for owner, project, at in changed)
    # In one order, so that two transactions never wait for each other.
    for (owner, project, day), count in sorted(counts.items()):
        rows = DayCount.objects.filter(owner=owner, project=project, day=day)
        if not rows.update(changes=F("changes") + count):
            new = DayCount(owner_id=owner, project_id=project, day=day)
            DayCount.objects.bulk_create([new], ignore_conflicts=True)
            rows.update(changes=F("changes") + count)


def of_month(owner: User, year: int, month: int, project: str = "") -> tuple[dict[date, int], bool]:
    """Photos of each day of a month in the present time zone; days without any are left out.

    Args:
        project: empty: of all.

    Returns:
        The counts, and whether they are exact: False while a day is not yet counted by the quarter of an
        hour, so that photos near midnight may stand on the day beside theirs.
    """
    first, last = date(year, month, 1), date(year, month, calendar.monthrange(year, month)[1])
    rows = _rows(owner, project).filter(day__gte=_beside(first, -1), day__lte=_beside(last, 1))
    _refresh(rows)
    counts: Counter[date] = Counter()
    kept = list(rows.filter(photos__gt=0).values_list("day", "photos", "quarters"))
    for day, photos, quarters in kept:
        if quarters is None or _is_utc():
            counts[day] += photos
            continue
        for at, n in _moments(day, quarters):
            counts[at.date()] += n
    exact = _is_utc() or all(quarters is not None for _day, _photos, quarters in kept)
    return {day: counts[day] for day in sorted(counts) if first <= day <= last}, exact


def first_and_last_day(owner: User, project: str = "") -> tuple[date, date] | None:
    """The days of the oldest and the newest photo in the present time zone; None without photos."""
    rows = _rows(owner, project).filter(Q(photos__gt=0) | STALE)
    edges = []
    for order, pick in (("day", min), ("-day", max)):
        found = list(
            rows.filter(day=rows.order_by(order).values("day")[:1]).order_by().values_list("day", "quarters")
        )
        if not found:
            return None
        moments = [at.date() for day, quarters in found for at, _n in _moments(day, quarters or {})]
        edges.append(pick(moments, default=found[0][0]))
    return edges[0], edges[1]


def _moments(day: date, quarters: dict[str, int]) -> Iterator[tuple[datetime, int]]:
    """When photos came, to the quarter of an hour in the present time zone, and how many."""
    zone, begin = timezone.get_current_timezone(), datetime.combine(day, time.min, UTC)
    for quarter, n in quarters.items():
        yield (begin + int(quarter) * QUARTER).astimezone(zone), n


def _is_utc() -> bool:
    return timezone.get_current_timezone_name() == "UTC"


def _beside(day: date, step: int) -> date:
    """The day before or after, where another time zone's may be kept; the same one in UTC and at the ends."""
    if _is_utc() or day == (date.min if step < 0 else date.max):
        return day
    return day + timedelta(days=step)


def by_class(owner: User) -> dict[str, Counter[str]]:
    """Answered photos of each class, by project."""
    _refresh(owner.day_counts.all())
    counts: dict[str, Counter[str]] = {}
    for project, labels in owner.day_counts.filter(photos__gt=0).values_list("project", "labels"):
        counts.setdefault(project, Counter()).update(labels)
    return counts


def projects(owner: User) -> QuerySet[Any]:
    """The slugs of the projects that a person's photos are or were in; a subquery."""
    return owner.day_counts.order_by().values("project").distinct()


def photos(owner: User) -> int:
    """How many photos a person has."""
    _refresh(owner.day_counts.all())
    return owner.day_counts.aggregate(n=Sum("photos"))["n"] or 0


def between(owner: User, first: date | None, last: date | None, project: str = "") -> int:
    """At most how many photos a person has of these days in the present time zone, and of this project."""
    rows = _rows(owner, project)
    if first:
        rows = rows.filter(day__gte=_beside(first, -1))
    if last:
        rows = rows.filter(day__lte=_beside(last, 1))
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


def _rows(owner: User, project: str) -> QuerySet[DayCount]:
    return owner.day_counts.filter(project=project) if project else owner.day_counts.all()


def _refresh(rows: QuerySet[DayCount]) -> None:
    for row in rows.filter(STALE).order_by("-day")[:DAYS_A_PAGE]:
        if row.photos + row.changes - row.counted <= PHOTOS_A_PAGE:
            _count(row)


def _count(row: DayCount) -> None:
    begin = datetime.combine(row.day, time.min, UTC)
    end = begin + timedelta(days=1)
    photos = Photo.objects.filter(
        owner=row.owner_id,
        project=row.project_id,
        created_at__gte=begin,
        created_at__lt=end,
        deleted_at=None,
    )
    minutes = photos.annotate(minute=TruncMinute("created_at", tzinfo=UTC)).order_by().values_list("minute")
    quarters: Counter[int] = Counter()
    for at, n in minutes.annotate(n=Count("pk")):
        quarters[(at - begin) // QUARTER] += n
    answered = Prediction.objects.filter(
        owner=row.owner_id,
        project=row.project_id,
        is_current=True,
        photo_created_at__gte=begin,
        photo_created_at__lt=end,
        status=Prediction.Status.DONE,
        photo__deleted_at=None,
    )
    labels: dict[str, Any] = dict(answered.order_by().values_list("label").annotate(n=Count("pk")))
    # What changed since the row was read leaves it to be counted again.
    DayCount.objects.filter(pk=row.pk, counted__lt=row.changes).update(
        photos=quarters.total(), quarters=quarters, labels=labels, counted=row.changes
    )
