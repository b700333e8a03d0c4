"""A person's photos: page through them, see which day has how many, delete, take home."""

from __future__ import annotations

import calendar
from datetime import UTC, date, datetime, timedelta
from urllib.parse import urlencode

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect, render
from django.utils import timezone
from django.utils.dateparse import parse_datetime
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from cifarsite.core.keyset import BadCursor
from cifarsite.core.pages import next_page
from classifier.accounts import audit
from classifier.models import User
from classifier.pages.batches import SignedInRequest
from classifier.pages.forms import history_filters, posted_ids
from classifier.photos import daily_counts, export, projects
from classifier.photos.history import (
    delete_matching,
    delete_photos,
    history,
    page,
    restore_deleted_at,
    restore_photos,
)
from training.models import DEFAULT_PROJECT

FIRST_YEAR = 1970


@login_required
@require_safe
@never_cache
def history_page(request: SignedInRequest) -> HttpResponse:
    """A person's photos, as filtered and ordered."""
    filters = history_filters(request.user, request.GET)
    chosen = filters.chosen if filters.is_valid() else {}
    rows, sort = history(request.user, **chosen), chosen.get("sort", "")
    try:
        shown = page(rows, request.GET.get("cursor", ""), sort=sort)
    except BadCursor:
        messages.warning(request, _("The link is damaged. This is the first page."))
        shown = page(rows, sort=sort)
    context = {
        "filters": filters,
        "chosen": chosen,
        "narrowed": chosen.keys() - {"sort"},
        "sort": sort,
        "page": shown,
        "query": urlencode(chosen),
        "export_kinds": [("csv", "CSV"), ("json", "JSON"), ("zip", _("ZIP with photos"))],
        "ever": bool(shown.items) or (bool(chosen) and history(request.user).exists()),
    }
    return render(request, "classifier/photos/history.html", context)


@login_required
@require_safe
@never_cache
def calendar_page(request: SignedInRequest) -> HttpResponse:
    """A month, each day with its number of photos and a link to them."""
    project = request.GET.get("project", "")
    choices = list(projects.known(request.user))
    if project and project not in {one.pk for one in choices}:
        raise Http404
    ends = daily_counts.first_and_last_day(request.user, project)
    first = wanted_month(request.GET.get("month", ""), ends[1] if ends else timezone.localdate())
    counts, exact = daily_counts.of_month(request.user, first.year, first.month, project)
    most = max(counts.values(), default=0) or 1
    weeks = calendar.Calendar().monthdatescalendar(first.year, first.month)
    context = {
        "first": first,
        "projects": choices,
        "project": project,
        "zone": timezone.get_current_timezone_name(),
        "exact": exact,
        "weeks": [
            [
                {"day": day, "count": counts.get(day, 0), "level": level(counts.get(day, 0), most)}
                if day.month == first.month
                else None
                for day in week
            ]
            for week in weeks
        ],
        "weekdays": weeks[1],  # a whole week, for the names of its days
        "total": sum(counts.values()),
        "last": first + timedelta(days=calendar.monthrange(first.year, first.month)[1] - 1),
        "before": month_beside(first, -1) if ends and ends[0] < first else None,
        "after": month_beside(first, 1) if ends and month_beside(first, 1) <= ends[1] else None,
    }
    return render(request, "classifier/photos/calendar.html", context)


def wanted_month(text: str, otherwise: date) -> date:
    """The first day of '2026-11'; of another day's month where that is no month."""
    try:
        found = datetime.strptime(text, "%Y-%m").replace(tzinfo=UTC).date()
    except ValueError:
        return otherwise.replace(day=1)
    return found if FIRST_YEAR <= found.year < 9_999 else otherwise.replace(day=1)


def month_beside(first: date, step: int) -> date:
    number = first.year * 12 + first.month - 1 + step
    return date(number // 12, number % 12 + 1, 1)


def level(count: int, most: int) -> int:
    """How strongly a day is coloured: 0 for no photo, 4 for the most of the month."""
    return -(-4 * count // most)


@login_required
@require_POST
def history_delete(request: SignedInRequest) -> HttpResponse:
    """Delete the ticked photos, or all that match the filters, on every page."""
    if "everything" in request.POST:
        filters = history_filters(request.user, request.GET)
        if filters.is_valid():  # wrong filters are no filters on the page, but not here
            count, at = delete_matching(request.user, history(request.user, **filters.chosen))
            audit.record("photos_deleted", by=request.user, detail=str(count), request=request)
            say_deleted(request, count, f"undo-at:{at.isoformat()}")
            return redirect(next_page(request, "classifier:history"))
    if deleted := delete_photos(request.user, posted_ids(request)):
        audit.record("photos_deleted", by=request.user, detail=str(len(deleted)), request=request)
        say_deleted(request, len(deleted), "undo:" + ",".join(map(str, deleted)))
    else:
        messages.warning(request, _("Select the photos to delete first."))
    return redirect(next_page(request, "classifier:history"))


@login_required
@require_POST
def history_restore(request: SignedInRequest) -> HttpResponse:
    """Bring back photos by their ids, or all that were deleted at one moment."""
    try:
        at = parse_datetime(request.POST.get("at", ""))
    except ValueError:
        at = None
    if at and timezone.is_aware(at):
        count = restore_deleted_at(request.user, at)
    else:
        count = restore_photos(request.user, posted_ids(request))
    if count:
        messages.success(
            request,
            ngettext("%(count)d photo was restored.", "%(count)d photos were restored.", count)
            % {"count": count},
        )
    else:
        messages.warning(request, _("These photos have been removed and cannot be restored."))
    return redirect(next_page(request, "classifier:history"))


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def history_export(request: SignedInRequest, kind: str) -> HttpResponseBase:
    """What the history page shows with the same filters, on all its pages; a POST: the ticked photos."""
    filters = history_filters(request.user, request.GET)
    chosen = filters.chosen if filters.is_valid() else {}
    rows, sort = history(request.user, **chosen), chosen.get("sort", "")
    if request.method == "POST" and "everything" not in request.POST:
        rows = rows.filter(photo_id__in=posted_ids(request))
    name = f"history.{kind}"
    if kind in ("csv", "zip"):
        classes = export.classes_of(history_projects(request.user, chosen.get("project", "")))
        if kind == "zip":
            return export.as_zip(export.history_zip(rows, classes, sort), name)
        return export.as_csv(export.history_results(rows, sort), name, classes)
    write = {"jsonl": export.as_json_lines, "json": export.as_json}[kind]
    return write(export.history_results(rows, sort), name)


def history_projects(user: User, chosen: str) -> list[str]:
    """The project that was chosen, or all that the person's photos are in; the default one without any."""
    found = [chosen] if chosen else daily_counts.projects(user).values_list("project", flat=True)
    return list(found) or [DEFAULT_PROJECT]


def say_deleted(request: HttpRequest, count: int, undo: str) -> None:
    """A message with an 'Undo', which the template makes of the tag."""
    text = ngettext("%(count)d photo was deleted.", "%(count)d photos were deleted.", count)
    messages.success(request, text % {"count": count}, extra_tags=undo)
