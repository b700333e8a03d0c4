"""Lists in pages that cost the same however far one pages: a cursor names the row that one begins after."""

from __future__ import annotations

import base64
import binascii
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Generic, TypeVar

from django.db.models import Model, Q, QuerySet
from django.utils import timezone

Row = TypeVar("Row", bound=Model)
BACK, ON = "n", "o"


class BadCursor(ValueError):
    """The cursor is not one that this site gave out."""


def read_time(text: str) -> datetime:
    """A time with its zone, in UTC: one at the edge of the calendar overflows here, not in the database."""
    at = datetime.fromisoformat(text)
    if timezone.is_naive(at):
        raise ValueError(text)
    return at.astimezone(UTC)


@dataclass(frozen=True)
class Order:
    """What rows are ordered by; ``tie``, a UUID, decides between equals.

    ``read`` makes the field's value of its text, and raises ValueError or OverflowError.
    """

    field: str
    descending: bool
    read: Callable[[str], Any]
    tie: str

    def of(self, rows: QuerySet[Row]) -> QuerySet[Row]:
        sign = "-" if self.descending else ""
        return rows.order_by(f"{sign}{self.field}", f"{sign}{self.tie}")

    def beyond(self, rows: QuerySet[Row], place: tuple[Any, uuid.UUID], *, before: bool) -> QuerySet[Row]:
        """The rows strictly before or strictly after a place in the order."""
        key, tie = place
        side = "gt" if before == self.descending else "lt"
        return rows.filter(
            # This one uses the index; the next only decides among rows with the same key.
            Q(**{f"{self.field}__{side}e": key}),
            Q(**{f"{self.field}__{side}": key}) | Q(**{f"{self.tie}__{side}": tie}),
        )

    def encode(self, direction: str, row: Any) -> str:
        key = getattr(row, self.field)
        text = key.isoformat() if isinstance(key, datetime) else repr(key)
        text = f"{direction}{text}|{getattr(row, self.tie)}"
        return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")

    def decode(self, cursor: str) -> tuple[bool, tuple[Any, uuid.UUID]]:
        """Does it lead back, and from which place?

        Raises:
            BadCursor: the cursor is damaged.
        """
        try:
            text = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode()
            key, tie = text[1:].split("|")
            place = self.read(key), uuid.UUID(tie)
        except (ValueError, OverflowError, binascii.Error) as error:
            raise BadCursor("This page link is damaged: go back to the first page.") from error
        if text[0] not in (BACK, ON) or place[0] != place[0]:
            raise BadCursor("This page link is damaged: go back to the first page.")
        return text[0] == BACK, place


@dataclass(frozen=True)
class Page(Generic[Row]):
    """One page; a cursor is empty where there is no such page."""

    items: list[Row]
    next_cursor: str
    previous_cursor: str


def page(rows: QuerySet[Row], order: Order, cursor: str, size: int) -> Page[Row]:
    """One page of rows that are in this order.

    Args:
        cursor: empty for the first page, or one that an earlier page gave.

    Raises:
        BadCursor: the cursor is damaged.
    """
    backwards = False
    if cursor:
        backwards, place = order.decode(cursor)
        rows = order.beyond(rows, place, before=backwards)
    if backwards:
        rows = rows.reverse()
    found = list(rows[: size + 1])
    more, items = len(found) > size, found[:size]
    if backwards:
        items.reverse()
    has_previous, has_next = (more, True) if backwards else (bool(cursor), more)
    return Page(
        items=items,
        next_cursor=order.encode(ON, items[-1]) if items and has_next else "",
        previous_cursor=order.encode(BACK, items[0]) if items and has_previous else "",
    )
