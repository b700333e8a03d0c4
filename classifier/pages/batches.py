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

from cifarsite.core.pages import STOP_POLLING, whole_number
from classifier.accounts import audit, rate_limits
from classifier.images.formats import ACCEPT
from classifier.models import UNKNOWN, Batch, BatchItem, Prediction, User, class_title
from classifier.photos import export, projects
from classifier.photos.labels import class_labels
from classifier.uploads import admission, batch_results, batches
from classifier.uploads.errors import Rejected
from training import workers
from training.projects.access import class_names

STATUS_OF = {
    **admission.STATUS_OF,
    "rate": 429,
    "too_large": 413,
    "too_many_pixels": 413,
    "too_many_entries": 413,
    projects.NoModel.code: 409,
}
BATCHES_A_PAGE = 20
SHEET = 60
ERRORS_SHOWN = 100
# Before a class's name in the address: a class may be called like what else can be shown.
OF_CLASS = "class:"


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
    return render(request, "classifier/uploads/batches.html", list_context(request))


def receive_archive(request: SignedInRequest) -> HttpResponse:
    if wait := rate_limits.seconds_to_wait(request):
        what_then = _("Then reload this page: your browser sends the same archive again.")
        if not request.accepts("text/html"):
            what_then = _("Then send it: the archive is still selected.")
        too_often = _("You send requests too often.")
        sentence = f"{too_often} {rate_limits.wait_in_words(wait)} {what_then}"
        response = refuse(request, "rate", sentence)
        response.headers["Retry-After"] = str(wait)
        return response
    archive = request.FILES.get("archive")
    if archive is None:
        return refuse(request, "archive_missing", _("Choose a ZIP archive first."))
    try:
        project = projects.project_for_upload(request.user, request.POST.get("project", ""))
        batch = batches.create_batch(
            request.user,
            archive,
            filename=archive.name or "",
            truth=request.FILES.get("truth"),
            folders_are_truth=bool(request.POST.get("folders_are_truth")),
            again=False,
            project=project.pk,
        )
    except projects.NoModel as refusal:
        return refuse(request, refusal.code, str(refusal))
    except Rejected as refusal:
        audit.record_refusal("upload_refused", by=request.user, detail=refusal.code, request=request)
        return refuse(request, refusal.code, str(refusal.detail))
    projects.remember(request, project)
    if request.accepts("text/html"):
        return redirect(batch)
    return JsonResponse({"url": batch.get_absolute_url(), "error": None}, status=201)


def refuse(request: SignedInRequest, code: str, detail: str) -> HttpResponse:
    status = STATUS_OF.get(code, 400)
    if request.accepts("text/html"):
        context = {"refusal": detail, **list_context(request)}
        return render(request, "classifier/uploads/batches.html", context, status=status)
    return JsonResponse({"url": None, "error": {"code": code, "detail": detail}}, status=status)


def list_context(request: SignedInRequest) -> dict[str, Any]:
    """One page of archives, each with its counts."""
    start = BATCHES_A_PAGE * min(whole_number(request.GET.get("page", "")) or 0, 10_000)
    choices = list(projects.uploadable(request.user))
    found = list(request.user.batches.select_related("project")[start : start + BATCHES_A_PAGE + 1])
    return {
        "projects": choices,
        "project": projects.last_chosen(request, choices),
        "rows": [batch_results.totals(batch) for batch in found[:BATCHES_A_PAGE]],
        "newer": start // BATCHES_A_PAGE - 1 if start else None,
        "older": start // BATCHES_A_PAGE + 1 if len(found) > BATCHES_A_PAGE else None,
        "limit_mb": settings.BATCH_MAX_MB,
        "limit_files": settings.BATCH_MAX_FILES,
        "limit_archives_mb": settings.QUOTA_ARCHIVES_MB,
        "paused_days": settings.KEEP_PAUSED_DAYS,
        "limit_photo_mb": settings.UPLOAD_MAX_MB,
        "accept": ACCEPT,
    }


@login_required
@require_safe
@never_cache
def batch_page(request: SignedInRequest, pk: UUID) -> HttpResponse:
    """One archive: how far it is, what came out, what went wrong."""
    batch = own_batch(request, pk)
    return render(request, "classifier/uploads/batch.html", progress_context(batch) | sheet(request, batch))


@login_required
@require_safe
@never_cache
def batch_status(request: SignedInRequest, pk: UUID) -> HttpResponse:
    """The progress alone; at the end the page loads itself anew."""
    context = progress_context(own_batch(request, pk))
    if not context["progress"].is_over:
        return render(request, "classifier/uploads/_progress.html", context)
    response = render(request, "classifier/uploads/_progress.html", context, status=STOP_POLLING)
    response.headers["HX-Refresh"] = "true"
    return response


def progress_context(batch: Batch) -> dict[str, Any]:
    progress = batch_results.Progress(batch)
    refused = batch.items.filter(status=BatchItem.Status.REFUSED).order_by("number")
    unanswered = batch_results.predictions(batch).filter(status=Prediction.Status.FAILED)
    return {
        "batch": batch,
        "progress": progress,
        "paused_until": batches.paused_until(batch),
        "counts": batch_results.class_counts(batch),
        "score": batch_results.score(batch),
        "refused": refused[:ERRORS_SHOWN],
        "unanswered": unanswered.select_related("photo")[:ERRORS_SHOWN],
        "worker_alive": workers.is_alive("batch"),
        "worker_seen": workers.last_seen("batch"),
    }


def sheet(request: HttpRequest, batch: Batch) -> dict[str, Any]:
    """The thumbnails of one page: all, of one class, or those predicted wrongly."""
    show, after = request.GET.get("show", ""), request.GET.get("after", "")
    classes = class_names(batch.project_id)
    rows: QuerySet[Prediction] = batch_results.predictions(batch).filter(photo__deleted_at=None)
    if show.startswith(OF_CLASS):
        rows = rows.filter(label=show.removeprefix(OF_CLASS)).exclude(verdict=Prediction.Verdict.UNKNOWN)
    elif show in Prediction.Verdict.values:
        rows = rows.filter(verdict=show)
    elif show == "wrong":
        rows = rows.exclude(photo__batch_item__truth="").exclude(label=F("photo__batch_item__truth"))
    if number := whole_number(after):
        rows = rows.filter(photo__batch_item__number__gt=min(number, 2**31 - 1))
    rows = (
        rows.select_related("photo__batch_item", "model")
        .defer("model__card")
        .order_by("photo__batch_item__number")
    )
    found = list(rows[: SHEET + 1])
    more = found[SHEET - 1].photo.batch_item.number if len(found) > SHEET else None
    return {
        "sheet": found[:SHEET],
        "show": show,
        "classes": class_labels(classes, batch.project_id),
        "none_title": class_title(UNKNOWN, batch.project_id),
        "after": after,
        "more": more,
    }


@login_required
@require_safe
def batch_csv(request: SignedInRequest, pk: UUID) -> HttpResponseBase:
    """Every entry with its answer or its error, streamed."""
    batch = own_batch(request, pk)
    classes = export.classes_of([batch.project_id])
    return export.as_csv(batch_results.results(batch), f"batch-{pk}.csv", classes)


@login_required
@require_safe
def batch_jsonl(request: SignedInRequest, pk: UUID) -> HttpResponseBase:
    """The same, one JSON object a line."""
    return export.as_json_lines(batch_results.results(own_batch(request, pk)), f"batch-{pk}.jsonl")


@login_required
@require_POST
def batch_act(request: SignedInRequest, pk: UUID, act: str) -> HttpResponse:
    """Pause, resume, cancel, or try the failed ones again."""
    batch = own_batch(request, pk)
    if act == "retry":
        count = batches.retry_failed(batch)
        text = ngettext(
            "The site processes %(count)d file again.", "The site processes %(count)d files again.", count
        )
        messages.info(request, text % {"count": count})
    else:
        changed = {"pause": batches.pause, "resume": batches.resume, "cancel": batches.cancel}[act](batch)
        if not changed:
            messages.warning(
                request, _("This is no longer possible: the batch is %s.") % batch.get_state_display()
            )
    if act == "cancel" and batch.same_as and request.POST.get("earlier"):
        return redirect(batch.same_as)
    return redirect(batch)


def own_batch(request: SignedInRequest, pk: UUID) -> Batch:
    return get_object_or_404(Batch.objects.select_related("same_as", "project"), pk=pk, owner=request.user)
