"""Pages of evaluation reports; everybody who is signed in may read them."""

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

from training import model_store
from training.comparison import NotComparable, compare
from training.engine.data import CLASS_NAMES
from training.evaluation import answers, has_panels, ten_probabilities
from training.models import EvaluationReport, ModelVersion
from training.report_forms import ImageFilters, chosen_rows
from training.report_page import other_versions, page_context, shots
from training.report_tables import comparison_context
from training.tiles import NotKept, are_kept, data_sheet, sheet
from training.words import set_name

PAGE_SIZE = 100
SHEET_LIMIT = 150
YEAR = 365 * 24 * 3600


def find_report(request: HttpRequest, pk: int) -> EvaluationReport | None:
    """The report asked for by ``?set=``, else the one on CIFAR-10's test images, else any.

    Raises:
        Http404: no such model, or no such report of it.
    """
    rows = EvaluationReport.objects.filter(model_id=pk).select_related("model__job")
    if wanted := request.GET.get("set"):
        if not wanted.isdecimal() or len(wanted) > 18:
            raise Http404
        return get_object_or_404(rows, pk=int(wanted))
    found = rows.filter(dataset=model_store.TEST_SET).first() or rows.first()
    if found is None and not ModelVersion.objects.filter(pk=pk).exists():
        raise Http404
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
    return rows.exclude(pk=report.pk).select_related("model").first()


@login_required
@require_safe
def report(request: HttpRequest, pk: int) -> HttpResponse:
    """The whole report on one page."""
    found = find_report(request, pk)
    if found is None:
        version = get_object_or_404(ModelVersion, pk=pk)
        return render(request, "training/report/none.html", {"version": version})
    sets = list(EvaluationReport.objects.filter(model_id=pk).only("dataset", "n", "accuracy", "model_id"))
    sort, by = request.GET.get("sort", ""), request.GET.get("by", "count")
    context = {
        **page_context(found, champion_report(found), sets, sort, by),
        "others": other_versions(found.model),
        "query": urlencode({"set": found.pk}),
    }
    return render(request, "training/report/report.html", context)


@login_required
@require_safe
def report_images(request: HttpRequest, pk: int) -> HttpResponse:
    """Browse a set's images: a hundred at a time, from one sheet."""
    found = need_report(request, pk)
    filters = ImageFilters(request.GET)
    valid = filters.is_valid()
    try:
        rows = chosen_rows(found, filters.cleaned_data if valid else {})
    except NotKept:
        rows = chosen_rows(found, {})
    page = Paginator(rows.tolist(), PAGE_SIZE).get_page(request.GET.get("page"))
    query = {"set": found.pk, **(filters.query() if valid else {})}
    context = {
        "report": found,
        "version": found.model,
        "filters": filters,
        "chosen": filters.query() if valid else {},
        "page": page,
        "tiles": shots(found, list(page.object_list)),
        **kept_parts(found),
        "query": urlencode(query),
        "set_query": urlencode({"set": found.pk}),
    }
    return render(request, "training/report/images.html", context)


@login_required
@require_safe
def report_image(request: HttpRequest, pk: int, row: int) -> HttpResponse:
    """One image with its ten probabilities; its neighbours under the same filters."""
    found = need_report(request, pk)
    if row >= found.n:
        raise Http404
    filters = ImageFilters(request.GET)
    query = filters.query() if filters.is_valid() else {}
    try:
        ranked = ten_probabilities(found, row)
        around = neighbours(chosen_rows(found, query).tolist(), row)
    except NotKept:
        ranked, around = [], {}
    context = {
        "report": found,
        "version": found.model,
        "row": row,
        "true": CLASS_NAMES[int(found.figures["truth"][row])],
        "predicted": CLASS_NAMES[int(found.figures["predicted"][row])],
        "ranked": ranked,
        "side": found.figures.get("panels", {}).get("tile", 32),
        **kept_parts(found),
        "query": urlencode({"set": found.pk, **query}),
        "set_query": urlencode({"set": found.pk}),
        **around,
    }
    return render(request, "training/report/image.html", context)


def kept_parts(report: EvaluationReport) -> dict[str, Any]:
    """Which parts of a report are there: single answers, images; and of which set it is."""
    answered = has_panels(report)
    return {
        "has_panels": answered,
        "has_images": answered and are_kept(report.dataset_sha256),
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
    """The images ``?i=3,5,8`` in one PNG. What a row shows never changes, so it may be kept."""
    found = need_report(request, pk)
    parts = request.GET.get("i", "").split(",")
    if not all(part.isdecimal() and len(part) < 9 for part in parts) or len(parts) > SHEET_LIMIT:
        raise Http404
    return png(lambda: sheet(found.dataset_sha256, [int(part) for part in parts]))


@login_required
@require_safe
def report_data(request: HttpRequest, pk: int) -> HttpResponseBase:
    """Samples of the data and the training images of near-duplicates in one PNG."""
    found = need_report(request, pk)
    return png(lambda: data_sheet(found.dataset_sha256))


def png(draw: Callable[[], bytes]) -> HttpResponse:
    try:
        response = HttpResponse(draw(), content_type="image/png")
    except NotKept as error:
        raise Http404(str(error)) from error
    patch_cache_control(response, private=True, max_age=YEAR, immutable=True)
    return response


@login_required
@require_safe
def report_points(request: HttpRequest, pk: int) -> JsonResponse:
    """Where each image lies on the map, for the script that opens them: [x, y] in -1..1, in order."""
    found = need_report(request, pk)
    try:
        embedding = answers(found).embedding
    except NotKept as error:
        raise Http404(str(error)) from error
    points = [[round(float(x), 3), round(float(y), 3)] for x, y in embedding]
    names = {"truth": found.figures["truth"], "predicted": found.figures["predicted"]}
    response = JsonResponse({"points": points, **names})
    patch_cache_control(response, private=True, max_age=600)
    return response


@login_required
@require_safe
def choose_comparison(request: HttpRequest, pk: int) -> HttpResponse:
    """Where the form that picks the other version leads."""
    other = request.GET.get("with", "")
    if not other.isdecimal() or len(other) > 18:
        return redirect("training:report", pk)
    return redirect("training:compare", pk, int(other))


@login_required
@require_safe
def compare_page(request: HttpRequest, pk: int, other: int) -> HttpResponse:
    """Two versions side by side, on the same images."""
    new = need_report(request, pk)
    old_version = get_object_or_404(ModelVersion, pk=other)
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
            context |= comparison_context(new, old, compare(new, old))
    except NotComparable:
        context["old"] = None
    context |= {"others": other_versions(new.model), "set_query": urlencode({"set": new.pk})}
    return render(request, "training/report/compare.html", context)
