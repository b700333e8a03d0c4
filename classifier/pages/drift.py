"""For staff: have photos or their predictions changed?"""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.utils.dateparse import parse_date
from django.utils.formats import date_format
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from cifarsite.core.numbers import count, percent
from cifarsite.core.pages import staff_only
from classifier.feedback.training_photos import trainable
from classifier.models import UNKNOWN, DriftAlert, DriftDay, class_title
from classifier.monitoring import drift, drift_days
from classifier.photos import labels
from training.models import DEFAULT_PROJECT, Promotion
from training.projects.access import class_names, visible_projects
from training.reports.svg_charts import Chart, Row, across, legend, line, percent_ticks, upwards

WEEKS_SHOWN = 12


@staff_only
@never_cache
@require_safe
def drift_page(request: HttpRequest) -> HttpResponse:
    """A project's seven days against its first weeks; ``?until=`` shows earlier weeks."""
    projects = list(visible_projects(request.user))
    wanted = request.GET.get("project", "") or DEFAULT_PROJECT
    project = next((one for one in projects if one.pk == wanted), None)
    if project is None:
        raise Http404
    today = timezone.now().astimezone(UTC).date()
    until = min(chosen_day(request.GET.get("until", "")) or today, today)
    found = drift.compare(until, project.pk)
    start = until - timedelta(days=drift.WEEK)
    context = {
        "found": found,
        "advice": drift.advice(found, trainable(project.pk).count()),
        "projects": projects,
        "project": project,
        "classes": class_rows(found, project.pk),
        "chart": weekly_chart(until, project.pk),
        "start": start,
        "end": until - timedelta(days=1),
        "earlier": start if DriftDay.objects.filter(project=project, day__lt=start).exists() else None,
        "later": min(until + timedelta(days=drift.WEEK), today) if until < today else None,
        "alert": DriftAlert.objects.filter(project=project, closed_at=None).first(),
        "promotions": promotions(start, until, project.pk),
    }
    return render(request, "classifier/monitoring/drift.html", context)


def promotions(start: date, until: date, project: str) -> list[Promotion]:
    """What went live in a project in these days, the newest first, five at most."""
    rows = Promotion.objects.filter(
        promoted__project=project, created_at__gte=midnight(start), created_at__lt=midnight(until)
    )
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


def class_rows(found: drift.Comparison, project: str) -> list[dict[str, Any]]:
    """Each class's share of the reference and of the week, from 0 to 1; of many classes the most frequent.

    Photos called none of these are left out.
    """
    old, new = found.reference.labels, found.answers.labels
    if not new:
        return []
    rows = labels.counted(class_names(project), {**dict.fromkeys(old, 0), **new}, project)
    return [
        {
            "text": row.text,
            "colour": row.colour,
            "before": old[row.name] / old.total() if old else None,
            "now": row.photos / new.total(),
        }
        for row in rows
    ]


def weekly_chart(until: date, project: str) -> Chart | None:
    """Confidence, 'none of the ten' and agreement of the last weeks; None where there is but one."""
    start = until - timedelta(days=drift.WEEK * WEEKS_SHOWN)
    parts: dict[int, list[DriftDay]] = {}
    for day in DriftDay.objects.filter(project=project, day__gte=start, day__lt=until):
        parts.setdefault((day.day - start).days // drift.WEEK, []).append(day)
    weeks = {number: drift_days.Window.of(days) for number, days in sorted(parts.items())}
    weeks = {number: week for number, week in weeks.items() if week.n}
    if len(weeks) < 2:
        return None
    x, y = across(0, WEEKS_SHOWN - 1), upwards(0, 1)
    figures = {
        number: (
            week.mean("confidence"),
            week.verdicts["unknown"] / week.n,
            week.agreed / week.opinions if week.opinions else None,
        )
        for number, week in weeks.items()
    }
    names = (_("confidence"), class_title(UNKNOWN, project), _("users agree"))
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
