"""Fetch CIFAR-10 for this site: where it is missing, reports show no images and training downloads first."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from cifarsite.core.pages import STOP_POLLING, staff_only
from training.data import cifar10_copy
from training.jobs import cifar10_fetch
from training.models import Cifar10Fetch


@staff_only
@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def cifar10_page(request: HttpRequest) -> HttpResponse:
    """Is it there, how far is its fetch; a POST fetches it."""
    if request.method == "POST":
        if cifar10_copy.is_missing():
            cifar10_fetch.request_fetch(request.user)
        else:
            messages.success(request, _("This site has CIFAR-10 already."))
        return redirect("training:cifar10")
    return render(request, "training/cifar10/cifar10.html", _context())


@staff_only
@never_cache
@require_safe
def cifar10_live(request: HttpRequest) -> HttpResponse:
    """The part of the page that changes."""
    context = _context()
    row: Cifar10Fetch | None = context["row"]
    over = row is None or row.is_over
    return render(request, "training/cifar10/_progress.html", context, status=STOP_POLLING if over else 200)


@staff_only
@require_POST
def cifar10_cancel(request: HttpRequest, pk: int) -> HttpResponse:
    row = get_object_or_404(Cifar10Fetch, pk=pk)
    if cifar10_fetch.cancel(row):
        messages.success(request, _("The download was cancelled. What came so far is kept."))
    return redirect("training:cifar10")


def _context() -> dict[str, Any]:
    row = Cifar10Fetch.objects.select_related("requested_by").first()
    return {
        "row": row,
        "reason": cifar10_fetch.reason(row) if row else "",
        "missing": cifar10_copy.is_missing(),
        "address": cifar10_fetch.URL,
        "size": cifar10_fetch.BYTES,
        "percent": 100 * row.received // row.total if row and row.total else 0,
    }
