"""Queues of rows that workers claim: claim, renew, fence, recover. The database is the source of truth.

A claim is a conditional UPDATE that writes a fresh token into the row. Every later write goes
through ``owned``, so a worker that was frozen past its lease and came back changes nothing.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Self, TypeVar

import structlog
from django.conf import settings
from django.db import connection, models, transaction
from django.db.models import F, Q, QuerySet
from django.utils import timezone
from django.utils.translation import gettext_lazy as _


def current_request_id() -> str:
    """The id of the request, or of the work for one, that this thread is busy with; may be empty."""
    return str(structlog.contextvars.get_contextvars().get("request_id", ""))[:64]


Row = TypeVar("Row", bound="Leased")
QUEUED, RUNNING = "queued", "running"
# A lease that ends so many leases from now was written before the clock was put back.
FARTHEST = 10


def lease_expired() -> Q:
    """Its end has passed; or lies so far ahead that the clock must have been put back since."""
    now = timezone.now()
    farthest = now + timedelta(seconds=FARTHEST * settings.LEASE_SECONDS)
    return Q(lease_expires_at__lt=now) | Q(lease_expires_at__gt=farthest)


class LeasedQuerySet(QuerySet[Row]):
    """Rows of a queue: which ones a worker may take, to take them, to give them back."""

    def unowned(self) -> Self:
        """Rows that wait, and running ones whose owner is gone."""
        return self.filter(self._state(QUEUED) | self._state(RUNNING) & lease_expired())

    def claimable(self) -> Self:
        """The unowned ones whose worker was not lost too often."""
        return self.unowned().filter(attempt__lt=settings.MAX_ATTEMPTS)

    def lost(self) -> Self:
        """Running rows whose owner is gone."""
        return self.filter(lease_expired(), self._state(RUNNING))

    def exhausted(self) -> Self:
        """Rows whose worker was lost in each attempt."""
        return self.lost().filter(attempt__gte=settings.MAX_ATTEMPTS)

    def overdue(self) -> Self:
        """Without rows that were asked for a moment ago: their message is still under way.

        Those that seem to be asked for in the future are overdue too: a clock was put back.
        """
        now = timezone.now()
        asked = Q(created_at__lt=now - timedelta(seconds=2)) | Q(created_at__gt=now + timedelta(minutes=1))
        return self.filter(self._state(RUNNING) | asked)

    def held_with(self, row: Row) -> Self:
        """Running rows of the same claim as ``row``: those that its owner has not lost or finished."""
        return self.filter(self._state(RUNNING), claim=row.claim)

    def claim(self, *, worker: str, limit: int = 1, **changes: object) -> list[Row]:
        """Take up to ``limit`` of these rows, first ones first.

        The condition of this query is checked again by the UPDATE, so of two workers that ask at once
        only one gets a row.

        Args:
            changes: what else to write.
        """
        token = uuid.uuid4()
        with transaction.atomic():
            candidates = self
            if connection.features.has_select_for_update_skip_locked:
                candidates = self.select_for_update(skip_locked=True, of=("self",))
            ids = list(candidates.values_list("pk", flat=True)[:limit])
            if not ids:
                return []
            self.order_by().filter(pk__in=ids).update(
                **{self.model.state_field: RUNNING},
                claim=token,
                worker=worker,
                attempt=F("attempt") + 1,
                lease_expires_at=_lease_end(),
                **changes,
            )
        # Rows that another worker took in between carry its token, not ours.
        mine = type(self)(self.model).filter(pk__in=ids, claim=token)
        return sorted(mine, key=lambda row: ids.index(row.pk))

    def extend(self) -> int:
        """Put the end of the leases off; how many they are."""
        return self.update(lease_expires_at=_lease_end())

    def release(self) -> int:
        """Queue again what nobody can work on now; the attempt is not charged. How many rows it was.

        Only for rows of one's own claim that are still open.
        """
        return self.update(
            **{self.model.state_field: QUEUED}, claim=None, lease_expires_at=None, attempt=F("attempt") - 1
        )

    def fail_exhausted(self, **changes: object) -> int:
        """Write ``changes``, such as the state and the error, to exhausted rows. How many rows it was."""
        return self.exhausted().update(claim=None, **changes)

    def _state(self, value: str) -> Q:
        return Q((self.model.state_field, value))


@dataclass(frozen=True)
class Queue:
    """What the sweeper needs to know of one queue.

    Attributes:
        name: of its counts in what the sweeper reports.
        claimable: the rows that a worker may take now.
        fail_exhausted: ends the rows whose worker was lost too often; returns how many.
        wake: tells workers to look, given the rows that wait; returns how many messages were sent.
    """

    name: str
    claimable: Callable[[], LeasedQuerySet[Any]]
    fail_exhausted: Callable[[], int]
    wake: Callable[[LeasedQuerySet[Any]], int]

    def recover(self) -> dict[str, int]:
        """One pass of the sweeper: fail what was lost too often, wake workers for the rest."""
        lost = self.fail_exhausted()
        return {f"{self.name}_lost": lost, f"{self.name}_woken": int(self.wake(self.claimable()))}


class Leased(models.Model):
    """A row that one worker at a time may own; see ``cifarsite.core.leases``."""

    # The field with the state, whose values 'queued' and 'running' every queue has.
    state_field = "status"

    attempt = models.PositiveSmallIntegerField(_("attempt"), default=0, editable=False)
    claim = models.UUIDField(_("claim"), null=True, editable=False)
    worker = models.CharField(_("worker"), max_length=200, blank=True, editable=False)
    lease_expires_at = models.DateTimeField(_("lease expires at"), null=True, editable=False)
    # With a default of the database, so that a worker of the version before can still add rows.
    request_id = models.CharField(
        _("request id"),
        max_length=64,
        blank=True,
        default=current_request_id,
        db_default="",
        editable=False,
        help_text=_("The id of the request that created this row. Log lines have the same id."),
    )

    objects = LeasedQuerySet.as_manager()

    class Meta:
        abstract = True


def owned(row: Row) -> LeasedQuerySet[Row]:
    """The row, as long as it is still this owner's: write through it and check the count."""
    return LeasedQuerySet(type(row)).filter(pk=row.pk, claim=row.claim)


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
    return owned(row).extend() == 1


def _lease_end() -> datetime:
    return timezone.now() + timedelta(seconds=settings.LEASE_SECONDS)
