"""Staff look whether photos, or the answers to them, have changed."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from django.contrib.auth.decorators import login_required
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.utils.dateparse import parse_date
from django.utils.formats import date_format
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from classifier import drift
from classifier.corrections import trainable
from classifier.models import DriftAlert, DriftDay
from training.charts import Chart, Row, across, legend, line, percent, percent_ticks, upwards
from training.engine.data import CLASS_NAMES
from training.models import Promotion
from training.words import count

WEEKS_SHOWN = 12


@login_required
@never_cache
@require_safe
def drift_page(request: HttpRequest) -> HttpResponse:
    """Seven days against the site's first weeks; ``?until=`` looks at earlier ones."""
    if not request.user.is_staff:
        raise PermissionDenied(_("Only staff may see how photos and answers change."))
    today = timezone.now().astimezone(UTC).date()
    until = min(chosen_day(request.GET.get("until", "")) or today, today)
    found = drift.compare(until)
    start = until - timedelta(days=drift.WEEK)
    context = {
        "found": found,
        "advice": drift.advice(found, trainable().count()),
        "classes": class_rows(found),
        "chart": weekly_chart(until),
        "start": start,
        "end": until - timedelta(days=1),
        "earlier": start if DriftDay.objects.filter(day__lt=start).exists() else None,
        "later": min(until + timedelta(days=drift.WEEK), today) if until < today else None,
        "alert": DriftAlert.objects.filter(closed_at=None).first(),
        "promotions": promotions(start, until),
    }
    return render(request, "classifier/drift.html", context)


def promotions(start: date, until: date) -> list[Promotion]:
    """What went live in these days, the newest first, five at most."""
    rows = Promotion.objects.filter(created_at__gte=midnight(start), created_at__lt=midnight(until))
    return list(rows.select_related("promoted").defer("promoted__card").order_by("-id")[:5])


def chosen_day(text: str) -> date | None:
    """The day of a query; None where it is none, or before there were such sites."""
    try:
        day = parse_date(text)
    except ValueError:
        return None
    return day if day and day.year >= 2000 else None


def midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)


def class_rows(found: drift.Comparison) -> list[dict[str, Any]]:
    """Each class's share of the reference and of the week, from 0 to 1."""
    old, new = found.reference, found.week
    return [
        {
            "name": name,
            "before": old.labels[name] / old.n if old.labels else None,
            "now": new.labels[name] / new.n,
        }
        for name in CLASS_NAMES
        if new.n
    ]


def weekly_chart(until: date) -> Chart | None:
    """Confidence, 'none of the ten' and agreement of the last weeks; None where there is but one."""
    start = until - timedelta(days=drift.WEEK * WEEKS_SHOWN)
    parts: dict[int, list[DriftDay]] = {}
    for day in DriftDay.objects.filter(day__gte=start, day__lt=until):
        parts.setdefault((day.day - start).days // drift.WEEK, []).append(day)
    weeks = {number: drift.Window.of(days) for number, days in sorted(parts.items())}
    weeks = {number: week for number, week in weeks.items() if week.n}
    if len(weeks) < 2:
        return None
    x, y = across(0, WEEKS_SHOWN - 1), upwards(0, 1)
    figures = {
        number: (
            week.mean("confidence"),
            week.verdicts["none_of_the_ten"] / week.n,
            week.agreed / week.opinions if week.opinions else None,
        )
        for number, week in weeks.items()
    }
    names = (_("confidence"), _("none of the ten"), _("people agree"))
    series = []
    for place, name in enumerate(names):
        drawn = [(n, value) for n, row in figures.items() if (value := row[place]) is not None]
        series.append(line(drawn, x, y, name=name, css=f"line-{place + 1}", dots=True))
    firsts = {number: start + timedelta(days=drift.WEEK * number) for number in weeks}
    return Chart(
        name="weeks",
        title=_("Week by week"),
        x_label=_("Week that begins on"),
        y_label=_("Share"),
        x_ticks=[(x(n), date_format(day, "j M")) for n, day in firsts.items() if n % 2 == 1],
        y_ticks=percent_ticks(y),
        head=[_("Week that begins on"), _("Photos"), *(name.capitalize() for name in names)],
        rows=[
            Row([date_format(firsts[n]), count(weeks[n].n), *(percent(value) for value in row)], x(n))
            for n, row in figures.items()
        ],
        lines=series,
        legend=legend(series),
    )
