"""For staff: shadow deployments, and the reclassification of all photos."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from cifarsite.core.pages import staff_only, whole_number
from classifier.models import Reclassification, Shadow, class_title
from classifier.monitoring import reclassification, shadow_deployment
from classifier.pages.batches import SignedInRequest
from classifier.photos.access import photos_seen_by
from training.models import ModelVersion
from training.projects.access import get_project, visible_projects
from training.registry import model_store

ROWS_A_PAGE = 24
PAIRS_SHOWN = 20
RUNS_SHOWN = 50


@staff_only
@require_safe
@never_cache
def shadow_page(request: SignedInRequest, pk: int) -> HttpResponse:
    """How often a challenger agrees with what people were told, and where it does not."""
    version = get_object_or_404(ModelVersion.objects.defer("card"), pk=pk)
    shadow = version.shadows.select_related("started_by").first()
    context: dict[str, Any] = {"version": version, "shadow": shadow, "running": shadow_deployment.running()}
    if shadow:
        found = shadow_deployment.agreement(shadow)
        context |= {
            "agreement": found,
            "pairs": named_pairs(found["pairs"], version.project_id, "live", "said"),
            **one_page(request, shadow_deployment.disagreements(shadow, before_of(request))),
        }
    return render(request, "classifier/monitoring/shadow.html", context)


@staff_only
@require_POST
def shadow_start(request: SignedInRequest, pk: int) -> HttpResponse:
    version = get_object_or_404(ModelVersion, pk=pk)
    try:
        shadow_deployment.start(version, by=request.user)
    except shadow_deployment.ShadowRefused as error:
        messages.error(request, str(error))
    else:
        said = _("The shadow deployment of %(model)s has started.")
        messages.success(request, said % {"model": version})
    return redirect("classifier:shadow", pk)


@staff_only
@require_POST
def shadow_end(request: SignedInRequest, pk: int) -> HttpResponse:
    shadow = Shadow.objects.filter(model=pk, ended_at=None).first()
    if shadow and shadow_deployment.end(shadow):
        messages.success(request, _("The shadow deployment has ended. Its results are kept."))
    return redirect("classifier:shadow", get_object_or_404(ModelVersion, pk=pk).pk)


@staff_only
@require_http_methods(["GET", "HEAD", "POST"])
@never_cache
def reclassifications_page(request: SignedInRequest) -> HttpResponse:
    """What was asked about again, and the button for another time."""
    project = get_project(request.user, request.GET.get("project", ""))
    if request.method == "POST":
        try:
            return redirect(reclassification.start(by=request.user, project=project.pk))
        except reclassification.ReclassificationRefused as error:
            messages.error(request, str(error))
            return redirect(request.get_full_path())
    context = {
        "reclassifications": Reclassification.objects.select_related("model", "started_by").defer(
            "model__card"
        )[:RUNS_SHOWN],
        "projects": list(visible_projects(request.user)),
        "project": project,
        "champion": model_store.champion(project.pk),
        "outdated": reclassification.outdated(project.pk).count(),
    }
    return render(request, "classifier/monitoring/reclassifications.html", context)


@staff_only
@require_safe
@never_cache
def reclassification_page(request: SignedInRequest, pk: int) -> HttpResponse:
    """How far it is, and what has changed."""
    run = get_object_or_404(
        Reclassification.objects.select_related("model", "started_by").defer("model__card"), pk=pk
    )
    found = reclassification.summary(run)
    total = found["asked"] + found["to_come"]
    context = {
        "reclassification": run,
        "summary": found,
        "percent": 100 * found["answered"] / total if total else 100.0,
        "total": total,
        "changed_share": found["changed"] / found["answered"] if found["answered"] else None,
        "pairs": named_pairs(found["pairs"], run.model.project_id, "before", "after"),
        **one_page(request, reclassification.changes(run, before_of(request))),
    }
    return render(request, "classifier/monitoring/reclassification.html", context)


@staff_only
@require_POST
def reclassification_cancel(request: SignedInRequest, pk: int) -> HttpResponse:
    run = get_object_or_404(Reclassification, pk=pk)
    if reclassification.cancel(run):
        messages.success(request, _("The reclassification was cancelled. Predictions made so far are kept."))
    return redirect(run)


def named_pairs(pairs: list[dict[str, Any]], project: str, first: str, second: str) -> list[Any]:
    """(one label, the other, photos) of the most frequent pairs, for people."""
    return [
        (class_title(pair[first], project), class_title(pair[second], project), pair["n"])
        for pair in pairs[:PAIRS_SHOWN]
    ]


def before_of(request: HttpRequest) -> int:
    """Where the page begins: below this number; 0: at the newest."""
    return whole_number(request.GET.get("before", "")) or 0


def one_page(request: SignedInRequest, rows: Any) -> dict[str, Any]:
    """What the templates show of ``rows``.

    Returns:
        ``rows``: a page of them; ``more``: where the next one begins, 0 where there is none; ``seen``: the
        photos that whoever asks may look at; the others need a reason, on record.
    """
    found = list(rows[: ROWS_A_PAGE + 1])
    page = found[:ROWS_A_PAGE]
    photos = [row.prediction.photo_id for row in page]
    return {
        "rows": page,
        "more": page[-1].pk if len(found) > ROWS_A_PAGE else 0,
        "seen": set(photos_seen_by(request.user).filter(pk__in=photos).values_list("pk", flat=True)),
    }
