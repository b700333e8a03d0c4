"""Who works on which row: claim, renew, fence. Both apps use it; the row is the truth.

A claim is a conditional UPDATE that writes a fresh token into the row. Every later write goes
through ``owned``, so a worker that was frozen past its lease and came back changes nothing.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, TypeVar

from django.conf import settings
from django.db import connection, transaction
from django.db.models import F, Q, QuerySet
from django.utils import timezone

from training.models import Leased, Worker

Row = TypeVar("Row", bound=Leased)
# The sweeper beats like a worker, under a queue name that carries no messages.
SWEEP = "sweep"
# A lease that ends so many leases from now was written before the clock was put back.
FARTHEST = 10


def lease_expired(now: datetime | None = None) -> Q:
    """Its end has passed; or lies so far ahead that the clock must have been put back since."""
    now = now or timezone.now()
    farthest = now + timedelta(seconds=FARTHEST * settings.LEASE_SECONDS)
    return Q(lease_expires_at__lt=now) | Q(lease_expires_at__gt=farthest)


def has_waited() -> Q:
    """Asked for long enough ago that no message is under way; or, a clock having been put back, later on."""
    now = timezone.now()
    return Q(created_at__lt=now - timedelta(seconds=2)) | Q(created_at__gt=now + timedelta(minutes=1))


def claim(rows: QuerySet[Row], *, worker: str, limit: int = 1, **changes: object) -> list[Row]:
    """Take up to ``limit`` of ``rows``, first ones first.

    Args:
        rows: those that may be claimed now; the same condition is checked again by the UPDATE,
            so of two workers that ask at once only one gets a row.
        changes: what else to write, such as the new state.
    """
    token = uuid.uuid4()
    with transaction.atomic():
        candidates = rows
        if connection.features.has_select_for_update_skip_locked:
            candidates = rows.select_for_update(skip_locked=True, of=("self",))
        ids = list(candidates.values_list("pk", flat=True)[:limit])
        if not ids:
            return []
        rows.order_by().filter(pk__in=ids).update(
            claim=token,
            worker=worker,
            attempt=F("attempt") + 1,
            lease_expires_at=_lease_end(),
            **changes,
        )
    # Rows that another worker took in between carry its token, not ours.
    mine: QuerySet[Row] = rows.model._default_manager.filter(pk__in=ids, claim=token)
    return sorted(mine, key=lambda row: ids.index(row.pk))


def owned(row: Row) -> QuerySet[Row]:
    """The row, as long as it is still this owner's: write through it and check the count."""
    manager = type(row)._default_manager
    owned_rows: QuerySet[Row] = manager.filter(pk=row.pk, claim=row.claim)
    return owned_rows


def write(rows: Sequence[Leased], fields: Sequence[str], *, while_status: str) -> int:
    """Store these fields of rows of one claim, each row as long as it is still its owner's.

    One statement for all: Django's ``bulk_update`` takes longer to write its own than the database to run it.

    Returns:
        How many rows it was.
    """
    if not rows:
        return 0
    meta = type(rows[0])._meta
    of: dict[str, Any] = {name: meta.get_field(name) for name in (*fields, "id", "claim", "status")}

    def prepared(name: str, value: object) -> Any:
        return of[name].get_db_prep_save(value, connection)

    quote = connection.ops.quote_name
    columns = ", ".join(f"{quote(of[name].column)} = %s" for name in fields)
    statement = (
        f"UPDATE {quote(meta.db_table)} SET {columns} "  # noqa: S608 (names of columns alone)
        "WHERE id = %s AND claim = %s AND status = %s"
    )
    values = [
        [
            *(prepared(name, getattr(row, of[name].attname)) for name in fields),
            *(prepared("id", row.pk), prepared("claim", row.claim), prepared("status", while_status)),
        ]
        for row in rows
    ]
    with connection.cursor() as cursor:
        cursor.executemany(statement, values)
        return int(cursor.rowcount)


def renew(row: Leased) -> bool:
    """Put the end of the lease off; False when somebody else has the row by now."""
    return extend(owned(row)) == 1


def extend(rows: QuerySet[Row]) -> int:
    """Put the end of many leases off; how many they are."""
    return rows.update(lease_expires_at=_lease_end())


def release(rows: QuerySet[Row], **changes: object) -> int:
    """Give back what nobody can work on now; the attempt is not charged.

    Args:
        rows: those of one's own claim that are still open.
        changes: what else to write, such as the state that they wait in.

    Returns:
        How many rows it was.
    """
    return rows.update(claim=None, lease_expires_at=None, attempt=F("attempt") - 1, **changes)


def beat(name: str, queues: list[str], started_at: datetime) -> None:
    """Note that a worker is alive."""
    Worker.objects.update_or_create(
        name=name, defaults={"queues": queues, "started_at": started_at, "seen_at": timezone.now()}
    )


def report(name: str, problem: str) -> None:
    """Note what a worker cannot do, for people to see; empty: it is well."""
    now = timezone.now()
    Worker.objects.update_or_create(
        name=name,
        defaults={"problem": problem},
        create_defaults={"problem": problem, "started_at": now, "seen_at": now},
    )


def last_seen(queue: str) -> datetime | None:
    """When a worker of this queue was last seen alive; None: never."""
    now = timezone.now()
    # Few rows, and JSON containment is not portable, so it is filtered here.
    seen = [w.seen_at for w in Worker.objects.order_by("-seen_at")[:100] if queue in w.queues]
    # The nearest to now: one from before the clock was put back lies in the future.
    return min(seen, key=lambda at: abs(now - at), default=None)


def is_alive(queue: str) -> bool:
    """A worker of this queue was seen within a lease."""
    seen = last_seen(queue)
    return bool(seen and is_recent(seen))


def lives(worker: Worker, seconds: int | None = None) -> bool:
    """The worker was seen within so many seconds, a lease unless given."""
    return is_recent(worker.seen_at, seconds)


def is_recent(seen: datetime, seconds: int | None = None) -> bool:
    """Within so many seconds of now, before or after: a clock put back makes nobody alive for long."""
    return abs((timezone.now() - seen).total_seconds()) < (seconds or settings.LEASE_SECONDS)


def alive(queue: str) -> int:
    """How many workers of this queue were seen within a lease."""
    lately = timezone.now() - timedelta(seconds=settings.LEASE_SECONDS)
    return sum(queue in worker.queues for worker in Worker.objects.filter(seen_at__gt=lately))


def _lease_end() -> datetime:
    return timezone.now() + timedelta(seconds=settings.LEASE_SECONDS)
