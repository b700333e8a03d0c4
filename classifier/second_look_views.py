"""For staff: a challenger in the shadow of the champion, and everybody's photos asked about again."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from classifier import reruns, shadows
from classifier.batch_views import SignedInRequest
from classifier.media import photos_seen_by
from classifier.models import ANSWER_CHOICES, Rerun, Shadow
from training import model_store
from training.models import ModelVersion
from training.views import staff_only

ROWS_A_PAGE = 24
PAIRS_SHOWN = 20
RUNS_SHOWN = 50
NAMES = dict(ANSWER_CHOICES)


@staff_only
@require_safe
@never_cache
def shadow_page(request: SignedInRequest, pk: int) -> HttpResponse:
    """How often a challenger agrees with what people were told, and where it does not."""
    version = get_object_or_404(ModelVersion.objects.defer("card"), pk=pk)
    shadow = version.shadows.select_related("started_by").first()
    context: dict[str, Any] = {"version": version, "shadow": shadow, "running": shadows.running()}
    if shadow:
        found = shadows.agreement(shadow)
        rows, more = one_page(shadows.disagreements(shadow, before_of(request)))
        context |= {
            "agreement": found,
            "pairs": [(NAMES[p["live"]], NAMES[p["said"]], p["n"]) for p in found["pairs"][:PAIRS_SHOWN]],
            "rows": rows,
            "more": more,
            "seen": seen(request, (row.prediction.photo_id for row in rows)),
        }
    return render(request, "classifier/shadow.html", context)


@staff_only
@require_POST
def shadow_start(request: SignedInRequest, pk: int) -> HttpResponse:
    version = get_object_or_404(ModelVersion, pk=pk)
    try:
        shadows.start(version, by=request.user)
    except shadows.ShadowRefused as error:
        messages.error(request, str(error))
    else:
        said = _("%(model)s is asked about each new photo, without answering it.")
        messages.success(request, said % {"model": version})
    return redirect("classifier:shadow", pk)


@staff_only
@require_POST
def shadow_end(request: SignedInRequest, pk: int) -> HttpResponse:
    shadow = Shadow.objects.filter(model=pk, ended_at=None).first()
    if shadow and shadows.end(shadow):
        messages.success(request, _("The shadow has ended; what it found stays."))
    return redirect("classifier:shadow", get_object_or_404(ModelVersion, pk=pk).pk)


@staff_only
@require_http_methods(["GET", "HEAD", "POST"])
@never_cache
def reruns_page(request: SignedInRequest) -> HttpResponse:
    """What was asked about again, and the button for another time."""
    if request.method == "POST":
        try:
            return redirect(reruns.start(by=request.user))
        except reruns.RerunRefused as error:
            messages.error(request, str(error))
            return redirect("classifier:reruns")
    context = {
        "reruns": Rerun.objects.select_related("model", "started_by").defer("model__card")[:RUNS_SHOWN],
        "champion": model_store.champion(),
        "outdated": reruns.outdated().count(),
    }
    return render(request, "classifier/reruns.html", context)


@staff_only
@require_safe
@never_cache
def rerun_page(request: SignedInRequest, pk: int) -> HttpResponse:
    """How far it is, and what has changed."""
    rerun = get_object_or_404(Rerun.objects.select_related("model", "started_by").defer("model__card"), pk=pk)
    found = reruns.summary(rerun)
    rows, more = one_page(reruns.changes(rerun, before_of(request)))
    total = found["asked"] + found["to_come"]
    context = {
        "rerun": rerun,
        "summary": found,
        "percent": 100 * found["answered"] / total if total else 100.0,
        "total": total,
        "changed_share": found["changed"] / found["answered"] if found["answered"] else None,
        "pairs": [(NAMES[p["before"]], NAMES[p["after"]], p["n"]) for p in found["pairs"][:PAIRS_SHOWN]],
        "rows": rows,
        "more": more,
        "seen": seen(request, (row.prediction.photo_id for row in rows)),
    }
    return render(request, "classifier/rerun.html", context)


@staff_only
@require_POST
def rerun_cancel(request: SignedInRequest, pk: int) -> HttpResponse:
    rerun = get_object_or_404(Rerun, pk=pk)
    if reruns.cancel(rerun):
        messages.success(request, _("No more photos are asked about; what was answered stays."))
    return redirect(rerun)


def before_of(request: HttpRequest) -> int:
    """Where the page begins: below this number; 0: at the newest."""
    text = request.GET.get("before", "")
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 19 else 0


def one_page(rows: Any) -> tuple[list[Any], int]:
    """A page of rows, and where the next one begins; 0: there is none."""
    found = list(rows[: ROWS_A_PAGE + 1])
    return found[:ROWS_A_PAGE], found[ROWS_A_PAGE - 1].pk if len(found) > ROWS_A_PAGE else 0


def seen(request: SignedInRequest, photos: Iterable[UUID]) -> set[UUID]:
    """Of these photos those that whoever asks may look at; the others need a reason, on record."""
    return set(photos_seen_by(request.user).filter(pk__in=list(photos)).values_list("pk", flat=True))
