"""How the pages of training show numbers."""

from typing import Any

from django import template
from django.utils.translation import gettext as _

from training.curves import NUMBERS

register = template.Library()


@register.filter
def clock(seconds: Any) -> str:
    """61 becomes 1:01, 3661 becomes 1:01:01; nothing known is a dash."""
    if not isinstance(seconds, (int, float)):
        return "–"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


@register.filter
def significant(value: Any) -> str:
    """Three significant digits, for numbers that span many sizes."""
    return f"{value:.3g}" if isinstance(value, (int, float)) else "–"


@register.filter
def curve_rows(curve: dict[str, Any]) -> list[dict[str, Any]]:
    """Lists of equal length as rows of a table."""
    names = ("epoch", *NUMBERS)
    return [dict(zip(names, row, strict=True)) for row in zip(*(curve[n] for n in names), strict=True)]


@register.filter
def million(count: float) -> str:
    """1970000 becomes 1.97 M."""
    return _("%(millions).2f M") % {"millions": count / 1e6}
