"""A person's photos: page through them, see which day has how many, delete, take home."""

from __future__ import annotations

import calendar
from datetime import UTC, date, datetime, timedelta
from urllib.parse import urlencode

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.utils.dateparse import parse_datetime
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from classifier import audit, day_counts, exports
from classifier.batch_views import SignedInRequest
from classifier.forms import HistoryFilters, posted_ids
from classifier.history import (
    BadCursor,
    delete_matching,
    delete_photos,
    history,
    page,
    restore_deleted_at,
    restore_photos,
)

FIRST_YEAR = 1970


@login_required
@require_safe
@never_cache
def history_page(request: SignedInRequest) -> HttpResponse:
    """A person's photos, as filtered and ordered."""
    filters = HistoryFilters(request.GET)
    chosen = filters.chosen if filters.is_valid() else {}
    rows, sort = history(request.user, **chosen), chosen.get("sort", "")
    try:
        shown = page(rows, request.GET.get("cursor", ""), sort=sort)
    except BadCursor:
        messages.warning(request, _("That link is damaged: this is the first page."))
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
    return render(request, "classifier/history.html", context)


@login_required
@require_safe
@never_cache
def calendar_page(request: SignedInRequest) -> HttpResponse:
    """A month, each day with its number of photos and a link to them."""
    ends = day_counts.first_and_last_day(request.user)
    first = wanted_month(request.GET.get("month", ""), ends[1] if ends else timezone.now().date())
    counts = day_counts.of_month(request.user, first.year, first.month)
    most = max(counts.values(), default=0) or 1
    weeks = calendar.Calendar().monthdatescalendar(first.year, first.month)
    context = {
        "first": first,
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
    return render(request, "classifier/calendar.html", context)


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
        filters = HistoryFilters(request.GET)
        if filters.is_valid():  # wrong filters are no filters on the page, but not here
            count, at = delete_matching(request.user, history(request.user, **filters.chosen))
            audit.record("photos_deleted", by=request.user, detail=str(count), request=request)
            say_deleted(request, count, f"undo-at:{at.isoformat()}")
            return redirect(next_page(request))
    ids = posted_ids(request)
    if count := delete_photos(request.user, ids):
        audit.record("photos_deleted", by=request.user, detail=str(count), request=request)
        say_deleted(request, len(ids), "undo:" + ",".join(map(str, ids)))
    else:
        messages.warning(request, _("Tick the photos to delete first."))
    return redirect(next_page(request))


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
            ngettext("%(count)d photo is back.", "%(count)d photos are back.", count) % {"count": count},
        )
    else:
        messages.warning(request, _("It is too late to bring them back: they have been removed."))
    return redirect(next_page(request))


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def history_export(request: SignedInRequest, kind: str) -> HttpResponseBase:
    """What the history page shows with the same filters, on all its pages; a POST: the ticked photos."""
    filters = HistoryFilters(request.GET)
    chosen = filters.chosen if filters.is_valid() else {}
    rows, sort = history(request.user, **chosen), chosen.get("sort", "")
    if request.method == "POST" and "everything" not in request.POST:
        rows = rows.filter(photo_id__in=posted_ids(request))
    name = f"history.{kind}"
    if kind == "zip":
        return exports.as_zip(exports.history_zip(rows, sort), name)
    write = {"csv": exports.as_csv, "jsonl": exports.as_json_lines, "json": exports.as_json}[kind]
    return write(exports.history_results(rows, sort), name)


def say_deleted(request: HttpRequest, count: int, undo: str) -> None:
    """A message with an 'Undo', which the template makes of the tag."""
    text = ngettext("%(count)d photo was deleted.", "%(count)d photos were deleted.", count)
    messages.success(request, text % {"count": count}, extra_tags=undo)


def next_page(request: HttpRequest) -> str:
    """Where the form wants to go on, if that is a page of this site."""
    wanted = request.POST.get("next", "")
    safe = url_has_allowed_host_and_scheme(
        wanted, allowed_hosts={request.get_host()}, require_https=request.is_secure()
    )
    return wanted if safe else reverse("classifier:history")
