"""The pages of archives: send one, follow it, take the results home."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.conf import settings
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.db.models import F, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseBase, JsonResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from classifier import audit, batches, exports, rates
from classifier.archives import Refused
from classifier.models import CLASS_CHOICES, Batch, BatchItem, Prediction, User
from training import leases

# htmx stops to ask when it is answered with this.
STOP_POLLING = 286
STATUS_OF = {"rate": 429, "archive_too_large": 413, "too_many_entries": 413, "storage_full": 507}
BATCHES_A_PAGE = 20
SHEET = 60
ERRORS_SHOWN = 100


class SignedInRequest(HttpRequest):
    """A request behind ``login_required``."""

    user: User


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
@never_cache
def batches_page(request: SignedInRequest) -> HttpResponse:
    """A person's archives, newest first, and the form for another one."""
    if request.method == "POST":
        return receive_archive(request)
    return render(request, "classifier/batches/batches.html", list_context(request))


def receive_archive(request: SignedInRequest) -> HttpResponse:
    if wait := rates.seconds_to_wait(request):
        what_then = _("Then reload this page: your browser sends the same archive again.")
        if not request.accepts("text/html"):
            what_then = _("Then send it: it is still chosen.")
        too_often = _("You ask too often.")
        sentence = f"{too_often} {rates.wait_in_words(wait)} {what_then}"
        response = refuse(request, "rate", sentence)
        response.headers["Retry-After"] = str(wait)
        return response
    archive = request.FILES.get("archive")
    if archive is None:
        return refuse(request, "archive_missing", _("Choose a ZIP archive first."))
    try:
        batch = batches.create_batch(
            request.user,
            archive,
            filename=archive.name or "",
            truth=request.FILES.get("truth"),
            folders_are_truth=bool(request.POST.get("folders_are_truth")),
            again=False,
        )
    except Refused as refusal:
        audit.record_refusal("upload_refused", by=request.user, detail=refusal.code, request=request)
        return refuse(request, refusal.code, str(refusal.detail))
    if request.accepts("text/html"):
        return redirect(batch)
    return JsonResponse({"url": batch.get_absolute_url(), "error": None}, status=201)


def refuse(request: SignedInRequest, code: str, detail: str) -> HttpResponse:
    status = STATUS_OF.get(code, 400)
    if request.accepts("text/html"):
        context = {"refusal": detail, **list_context(request)}
        return render(request, "classifier/batches/batches.html", context, status=status)
    return JsonResponse({"url": None, "error": {"code": code, "detail": detail}}, status=status)


def list_context(request: SignedInRequest) -> dict[str, Any]:
    """One page of archives, each with its counts."""
    number = request.GET.get("page", "")
    start = BATCHES_A_PAGE * (min(int(number), 10_000) if number.isdecimal() else 0)
    found = list(request.user.batches.all()[start : start + BATCHES_A_PAGE + 1])
    return {
        "rows": [batches.totals(batch) for batch in found[:BATCHES_A_PAGE]],
        "newer": start // BATCHES_A_PAGE - 1 if start else None,
        "older": start // BATCHES_A_PAGE + 1 if len(found) > BATCHES_A_PAGE else None,
        "limit_mb": settings.BATCH_MAX_MB,
        "limit_files": settings.BATCH_MAX_FILES,
        "limit_photo_mb": settings.UPLOAD_MAX_MB,
    }


@login_required
@require_safe
@never_cache
def batch_page(request: SignedInRequest, pk: UUID) -> HttpResponse:
    """One archive: how far it is, what came out, what went wrong."""
    batch = own_batch(request, pk)
    return render(request, "classifier/batches/batch.html", progress_context(batch) | sheet(request, batch))


@login_required
@require_safe
@never_cache
def batch_status(request: SignedInRequest, pk: UUID) -> HttpResponse:
    """The progress alone; at the end the page loads itself anew."""
    context = progress_context(own_batch(request, pk))
    if not context["progress"].is_over:
        return render(request, "classifier/batches/_progress.html", context)
    response = render(request, "classifier/batches/_progress.html", context, status=STOP_POLLING)
    response.headers["HX-Refresh"] = "true"
    return response


def progress_context(batch: Batch) -> dict[str, Any]:
    progress = batches.Progress(batch)
    counts = batches.class_counts(batch)
    most = max(count for _name, count in counts) or 1
    names = dict(CLASS_CHOICES)
    refused = batch.items.filter(status=BatchItem.Status.REFUSED).order_by("number")
    unanswered = batches.predictions(batch).filter(status=Prediction.Status.FAILED)
    return {
        "batch": batch,
        "progress": progress,
        "counts": [(name, names[name], count, count / most) for name, count in counts],
        "score": batches.score(batch),
        "classes": CLASS_CHOICES,
        "refused": refused[:ERRORS_SHOWN],
        "unanswered": unanswered.select_related("photo")[:ERRORS_SHOWN],
        "worker_alive": leases.is_alive("batch"),
        "worker_seen": leases.last_seen("batch"),
    }


def sheet(request: HttpRequest, batch: Batch) -> dict[str, Any]:
    """The thumbnails of one page: all, of one class, or those that differ from the truth."""
    show, after = request.GET.get("show", ""), request.GET.get("after", "")
    rows: QuerySet[Prediction] = batches.predictions(batch).filter(photo__deleted_at=None)
    if show in dict(CLASS_CHOICES):
        rows = rows.filter(label=show)
    elif show in Prediction.Verdict.values:
        rows = rows.filter(verdict=show)
    elif show == "wrong":
        rows = rows.exclude(photo__batch_item__truth="").exclude(label=F("photo__batch_item__truth"))
    if after.isdecimal():
        rows = rows.filter(photo__batch_item__number__gt=min(int(after), 2**31 - 1))
    rows = rows.select_related("photo__batch_item").order_by("photo__batch_item__number")
    found = list(rows[: SHEET + 1])
    more = found[SHEET - 1].photo.batch_item.number if len(found) > SHEET else None
    return {"sheet": found[:SHEET], "show": show, "after": after, "more": more}


@login_required
@require_safe
def batch_csv(request: SignedInRequest, pk: UUID) -> HttpResponseBase:
    """Every entry with its answer or its error, streamed."""
    return exports.as_csv(batches.results(own_batch(request, pk)), f"batch-{pk}.csv")


@login_required
@require_safe
def batch_jsonl(request: SignedInRequest, pk: UUID) -> HttpResponseBase:
    """The same, one JSON object a line."""
    return exports.as_json_lines(batches.results(own_batch(request, pk)), f"batch-{pk}.jsonl")


@login_required
@require_POST
def batch_act(request: SignedInRequest, pk: UUID, act: str) -> HttpResponse:
    """Pause, resume, cancel, or try the failed ones again."""
    batch = own_batch(request, pk)
    if act == "retry":
        count = batches.retry_failed(batch)
        text = ngettext("%(count)d file is tried again.", "%(count)d files are tried again.", count)
        messages.info(request, text % {"count": count})
    else:
        changed = {"pause": batches.pause, "resume": batches.resume, "cancel": batches.cancel}[act](batch)
        if not changed:
            messages.warning(
                request, _("That cannot be done any more: this batch is %s.") % batch.get_state_display()
            )
    if act == "cancel" and batch.same_as and request.POST.get("earlier"):
        return redirect(batch.same_as)
    return redirect(batch)


def own_batch(request: SignedInRequest, pk: UUID) -> Batch:
    return get_object_or_404(Batch.objects.select_related("same_as"), pk=pk, owner=request.user)
