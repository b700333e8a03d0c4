"""Numbers as text in the reader's way: the decimal mark and the grouping of the language that is active."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

from django.utils.formats import number_format


def count(number: int) -> str:
    """10000 as '10,000'."""
    return number_format(number, force_grouping=True)


def decimal(value: float, digits: int) -> str:
    """1.26 as '1.3': rounded first, for Django's ``number_format`` cuts off."""
    return number_format(Decimal(f"{value:.{digits}f}"), digits)


def percent(share: float | None, digits: int = 1) -> str:
    """0.5 as '50.0 %', without a line break in it; None as a dash."""
    return "–" if share is None else f"{decimal(100 * share, digits)}\u00a0%"


def span(bounds: Sequence[float], digits: int) -> str:
    """'0.9871 – 0.9912'."""
    return f"{decimal(bounds[0], digits)} – {decimal(bounds[1], digits)}"


def percent_span(bounds: Sequence[float]) -> str:
    """'89.8 – 91.0 %' of the bounds 0.898 and 0.91."""
    return f"{decimal(100 * bounds[0], 1)} – {percent(bounds[1])}"


def measured(share: float | None, bounds: Sequence[float]) -> str:
    """'91.2 % (90.6 – 91.8 %)', or a dash for a share of nothing."""
    return "–" if share is None else f"{percent(share)} ({percent_span(bounds)})"


def points(share: float, digits: int = 1) -> str:
    """A difference of shares as percentage points with its sign."""
    return signed(100 * share, digits)


def signed(value: float, digits: int) -> str:
    """'+1.3', '−0.2' or '±0.0'."""
    sign = "+" if value > 0 else "−" if value < 0 else "±"
    return f"{sign}{decimal(abs(value), digits)}"
