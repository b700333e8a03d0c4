"""Pages of evaluation reports; everybody who is signed in may read them, but for people's photos."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

from django.contrib.auth.decorators import login_required
from django.core.paginator import Paginator
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase, JsonResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.cache import patch_cache_control
from django.views.decorators.http import require_safe

from cifarsite.core.pages import whole_number
from training.data.image_sheets import ArtifactMissing, data_sheet, sheet
from training.evaluation.comparison import NotComparable, compare, joined_names
from training.evaluation.measured_photos import are_everybodys, may_be_shown, photo_sheet
from training.evaluation.reports import answers, class_names, has_panels, ranked_probabilities
from training.models import EvaluationReport
from training.pages.report_forms import ImageFilters, chosen_rows
from training.pages.visible import find_model
from training.registry import model_store
from training.reports.image_tiles import shots
from training.reports.narrative import class_title, set_name
from training.reports.page import ALL, PARTS, Asked, other_versions, page_context
from training.reports.tables import comparison_context

PAGE_SIZE = 100
SHEET_LIMIT = 150
DAY = 24 * 3600


def find_report(request: HttpRequest, pk: int) -> EvaluationReport | None:
    """The report asked for by ``?set=``, else the one on the project's own test images, else any.

    Raises:
        Http404: no such model that this person may see, or no such report of it.
    """
    version = find_model(request, pk)
    rows = EvaluationReport.objects.filter(model_id=pk)
    if wanted := request.GET.get("set"):
        found: EvaluationReport | None = get_object_or_404(rows, pk=whole_number(wanted))
    else:
        found = model_store.main_report(version) or rows.first()
    if found is not None:
        found.model = version
    return found


def need_report(request: HttpRequest, pk: int) -> EvaluationReport:
    """``find_report``, where there is nothing to show without one."""
    found = find_report(request, pk)
    if found is None:
        raise Http404
    return found


def champion_report(report: EvaluationReport) -> EvaluationReport | None:
    """How the champion did on the same images; None where this is the champion's."""
    rows = EvaluationReport.objects.filter(dataset_sha256=report.dataset_sha256, model__is_champion=True)
    rows = rows.filter(model__project=report.model.project_id)
    return rows.exclude(pk=report.pk).select_related("model").first()


@login_required
@require_safe
def report(request: HttpRequest, pk: int, part: str = "") -> HttpResponse:
    """One part of a report, at first its summary; ``part``: see ``training.reports.page``."""
    if part not in (*PARTS, ALL):
        raise Http404
    found = find_report(request, pk)
    if found is None:
        version = find_model(request, pk)
        return render(request, "training/report/none.html", {"version": version})
    sets = list(EvaluationReport.objects.filter(model_id=pk).only("dataset", "n", "accuracy", "model_id"))
    images = kept_parts(request, found)
    asked = Asked(
        report=found,
        champion=None if part not in ("", ALL) else champion_report(found),
        sets=sets,
        sort=request.GET.get("sort", ""),
        by=request.GET.get("by", "count"),
        has_images=images["has_images"],
        part=part,
    )
    context = {
        **page_context(asked),
        **images,
        "query": urlencode({"set": found.pk}),
    }
    return render(request, "training/report/report.html", context)


@login_required
@require_safe
def report_images(request: HttpRequest, pk: int) -> HttpResponse:
    """Browse a set's images: a hundred at a time, from one sheet."""
    found = need_report(request, pk)
    filters = ImageFilters(class_names(found), request.GET)
    valid = filters.is_valid()
    try:
        rows = chosen_rows(found, filters.cleaned_data if valid else {})
    except ArtifactMissing:
        rows = chosen_rows(found, {})
    page = Paginator(rows.tolist(), PAGE_SIZE).get_page(request.GET.get("page"))
    query = {"set": found.pk, **(filters.query() if valid else {})}
    images = kept_parts(request, found)
    context = {
        "report": found,
        "version": found.model,
        "filters": filters,
        "chosen": filters.query() if valid else {},
        "page": page,
        "tiles": shots(found, list(page.object_list), has_images=images["has_images"]),
        **images,
        "query": urlencode(query),
        "set_query": urlencode({"set": found.pk}),
    }
    return render(request, "training/report/images.html", context)


@login_required
@require_safe
def report_image(request: HttpRequest, pk: int, row: int) -> HttpResponse:
    """One image with its probabilities; its neighbours under the same filters."""
    found = need_report(request, pk)
    if row >= found.n:
        raise Http404
    filters = ImageFilters(class_names(found), request.GET)
    query = filters.query() if filters.is_valid() else {}
    names = class_names(found)
    try:
        ranked = ranked_probabilities(found, row)
        around = neighbours(chosen_rows(found, query).tolist(), row)
    except ArtifactMissing:
        ranked, around = [], {}
    context = {
        "report": found,
        "version": found.model,
        "row": row,
        "names": names,
        "true": names[int(found.figures["truth"][row])],
        "predicted": names[int(found.figures["predicted"][row])],
        "ranked": ranked,
        "side": found.figures.get("panels", {}).get("tile", 32),
        **kept_parts(request, found),
        "query": urlencode({"set": found.pk, **query}),
        "set_query": urlencode({"set": found.pk}),
        **around,
    }
    return render(request, "training/report/image.html", context)


def kept_parts(request: HttpRequest, report: EvaluationReport) -> dict[str, Any]:
    """Which parts of a report may be shown: single answers, images; and of which set it is."""
    return {
        "has_panels": has_panels(report),
        "has_images": may_be_shown(report, request.user),
        "is_everybodys": are_everybodys(report),
        "is_cifar10": report.dataset == model_store.TEST_SET,
        "set_name": set_name(report.dataset),
    }


def neighbours(rows: list[int], row: int) -> dict[str, int | None]:
    """What stands before and after in the list, and where."""
    if row not in rows:
        return {}
    place = rows.index(row)
    return {
        "before": rows[place - 1] if place else None,
        "after": rows[place + 1] if place + 1 < len(rows) else None,
        "place": place + 1,
        "of": len(rows),
    }


@login_required
@require_safe
def report_sheet(request: HttpRequest, pk: int) -> HttpResponseBase:
    """The images ``?i=3,5,8`` in one PNG; people's photos for staff alone, and never kept."""
    found = need_report(request, pk)
    wanted = [whole_number(part) for part in request.GET.get("i", "").split(",")]
    numbers = [number for number in wanted if number is not None]
    if len(numbers) < len(wanted) or len(wanted) > SHEET_LIMIT:
        raise Http404
    if are_everybodys(found):
        return png(lambda: sheet(found.dataset_sha256, numbers))
    if not may_be_shown(found, request.user) or max(numbers) >= found.n:
        raise Http404
    no_store = {"Cache-Control": "private, no-store"}
    return HttpResponse(photo_sheet(found, numbers), content_type="image/png", headers=no_store)


@login_required
@require_safe
def report_data(request: HttpRequest, pk: int) -> HttpResponseBase:
    """Samples of the data and the training images of near-duplicates in one PNG."""
    found = need_report(request, pk)
    if not are_everybodys(found):
        raise Http404
    return png(lambda: data_sheet(found.dataset_sha256))


def png(draw: Callable[[], bytes]) -> HttpResponse:
    try:
        response = HttpResponse(draw(), content_type="image/png")
    except ArtifactMissing as error:
        raise Http404(str(error)) from error
    patch_cache_control(response, private=True, max_age=DAY)
    return response


@login_required
@require_safe
def report_points(request: HttpRequest, pk: int) -> JsonResponse:
    """Where each image lies on the map, for the script that opens them: [x, y] in -1..1, in order."""
    found = need_report(request, pk)
    try:
        embedding = answers(found).embedding
    except ArtifactMissing as error:
        raise Http404(str(error)) from error
    points = [[round(float(x), 3), round(float(y), 3)] for x, y in embedding]
    numbers = {"truth": found.figures["truth"], "predicted": found.figures["predicted"]}
    names = [class_title(name) for name in class_names(found)]
    response = JsonResponse({"points": points, "names": names, **numbers})
    patch_cache_control(response, private=True, max_age=600)
    return response


@login_required
@require_safe
def choose_comparison(request: HttpRequest, pk: int) -> HttpResponse:
    """Where the form that picks the other version leads."""
    other = whole_number(request.GET.get("with", ""))
    if other is None:
        return redirect("training:report", pk)
    return redirect("training:compare", pk, other)


@login_required
@require_safe
def compare_page(request: HttpRequest, pk: int, other: int) -> HttpResponse:
    """Two versions side by side, on the same images."""
    new = need_report(request, pk)
    old_version = find_model(request, other)
    old = EvaluationReport.objects.filter(model_id=other, dataset_sha256=new.dataset_sha256).first()
    context: dict[str, Any] = {
        "report": new,
        "set_name": set_name(new.dataset),
        "version": new.model,
        "other": old_version,
        "old": old,
    }
    try:
        if old is not None and new.pk != old.pk:
            old.model = old_version
            images = may_be_shown(new, request.user)
            context |= comparison_context(new, old, compare(new, old), has_images=images)
    except NotComparable:
        context["old"] = None
    context |= {
        "names": joined_names(new, old) if old else class_names(new),
        "others": other_versions(new.model),
        "set_query": urlencode({"set": new.pk}),
    }
    return render(request, "training/report/compare.html", context)
