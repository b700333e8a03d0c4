"""The years, months and days above an admin list, without reading the list for them."""

from __future__ import annotations

from calendar import monthrange
from datetime import date, datetime
from typing import Any

from django import template
from django.db.models import Max, Min
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.text import capfirst
from django.utils.translation import gettext as _

register = template.Library()


@register.inclusion_tag("admin/date_hierarchy.html")
def all_dates(cl: Any) -> dict[str, Any]:
    """Like Django's ``date_hierarchy``, but from the first to the last row of the table.

    Django asks the database for the distinct days of what is listed, which reads every row.
    """
    field = cl.date_hierarchy
    found = cl.model._default_manager.aggregate(first=Min(field), last=Max(field))
    if found["first"] is None:
        return {"show": False}
    first, last = _day(found["first"]), _day(found["last"])
    year, month, day = (_number(cl, f"{field}__{part}") for part in ("year", "month", "day"))
    if not year and first.year == last.year:
        year = first.year
    if day and month and year:
        back = (_link(cl, year, month), _title(date(year, month, 1), "YEAR_MONTH_FORMAT"))
        choices = [("", _title(date(year, month, day), "MONTH_DAY_FORMAT"))]
    elif month and year:
        back = (_link(cl, year), str(year))
        days = (date(year, month, number + 1) for number in range(monthrange(year, month)[1]))
        choices = [
            (_link(cl, d.year, d.month, d.day), _title(d, "MONTH_DAY_FORMAT"))
            for d in days
            if first <= d <= last
        ]
    elif year:
        back = (_link(cl), _("All dates"))
        months = [date(year, number, 1) for number in range(1, 13)]
        shown = [m for m in months if first.replace(day=1) <= m <= last]
        choices = [(_link(cl, m.year, m.month), _title(m, "YEAR_MONTH_FORMAT")) for m in shown]
    else:
        back = None
        choices = [(_link(cl, number), str(number)) for number in range(first.year, last.year + 1)]
    return {
        "show": True,
        "back": back and {"link": back[0], "title": back[1]},
        "choices": [{"link": link, "title": title} for link, title in choices],
    }


def _day(value: datetime | date) -> date:
    return timezone.localtime(value).date() if isinstance(value, datetime) else value


def _number(cl: Any, name: str) -> int | None:
    return int(cl.params[name]) if cl.params.get(name) else None


def _link(cl: Any, *parts: int) -> str:
    """The list of a year, a month or a day; of everything where there are no parts."""
    names = [f"{cl.date_hierarchy}__{part}" for part in ("year", "month", "day")]
    chosen = dict(zip(names, parts, strict=False))
    url: str = cl.get_query_string(chosen, [f"{cl.date_hierarchy}__"])
    return url


def _title(day: date, style: str) -> str:
    return capfirst(date_format(day, style))
