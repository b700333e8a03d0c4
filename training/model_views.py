"""The pages of models: everybody sees them, staff promote, roll back, download and write notes."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.paginator import Paginator
from django.db.models import F, Prefetch
from django.http import FileResponse, HttpRequest, HttpResponse, HttpResponseBase, JsonResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe

from training import curves, model_store
from training.engine.recipes import RECIPES
from training.forms import NotesForm, PromoteForm, RollBackForm
from training.gate import examine
from training.models import EvaluationReport, ModelVersion, Promotion
from training.promotion import PromotionRefused, promote, roll_back
from training.trust_words import trust_context
from training.views import staff_only

MODELS_A_PAGE = 25
LEDGER_LINES = 20
REFUSALS_SHOWN = 5


@login_required
@never_cache
@require_safe
def models_page(request: HttpRequest) -> HttpResponse:
    """All versions, and what was live when."""
    # Of a report's figures, which are long, the database sends the speed alone.
    reports = EvaluationReport.objects.filter(dataset=model_store.TEST_SET).defer("figures")
    measured = Prefetch("reports", reports.annotate(speed=F("figures__panels__speed")), to_attr="measured")
    rows = ModelVersion.objects.select_related("job", "dataset").prefetch_related(measured)
    ledger = Promotion.objects.select_related("previous", "promoted", "by")
    context = {
        "page": Paginator(rows.order_by("-is_champion", "-id"), MODELS_A_PAGE).get_page(
            request.GET.get("page")
        ),
        "ledger": ledger.defer("previous__card", "promoted__card")[:LEDGER_LINES],
        "roll_back_form": RollBackForm(),
    }
    return render(request, "training/models.html", context)


@login_required
@never_cache
@require_safe
def model_page(request: HttpRequest, pk: int) -> HttpResponse:
    """One version: card, layers, curves, where it came from."""
    version = get_object_or_404(ModelVersion.objects.select_related("job", "dataset"), pk=pk)
    report = version.reports.filter(dataset=model_store.TEST_SET).first()
    context: dict[str, Any] = {
        **(trust_context(version.card, report.figures) if report else {}),
        "version": version,
        "card": version.card,
        "curve": curves.of_model(version),
        "recipe": RECIPES.get(version.recipe),
        "promotions": version.promotions.select_related("by"),
    }
    if request.user.is_staff:
        context["notes_form"] = NotesForm(initial={"notes": version.notes})
        if not version.is_champion:
            refusals = version.refusals.select_related("by")[:REFUSALS_SHOWN]
            context |= {"gate": examine(version), "promote_form": PromoteForm(), "refusals": refusals}
    return render(request, "training/model.html", context)


@login_required
@require_safe
def model_curve(request: HttpRequest, pk: int) -> JsonResponse:
    return JsonResponse(curves.of_model(get_object_or_404(ModelVersion, pk=pk)))


@staff_only
@require_safe
def model_download(request: HttpRequest, pk: int) -> HttpResponseBase:
    """The ``.keras`` file, its hash checked."""
    version = get_object_or_404(ModelVersion, pk=pk)
    try:
        path = model_store.model_file(version)
    except model_store.ModelFileError as error:
        messages.error(request, str(error))
        return redirect(version)
    return FileResponse(path.open("rb"), as_attachment=True, filename=f"{version.name}.keras")


@staff_only
@require_POST
def model_notes(request: HttpRequest, pk: int) -> HttpResponse:
    version = get_object_or_404(ModelVersion, pk=pk)
    form = NotesForm(request.POST)
    if form.is_valid():
        ModelVersion.objects.filter(pk=pk).update(notes=form.cleaned_data["notes"])
        messages.success(request, _("The notes are kept."))
    else:
        messages.error(request, _("Notes have at most 10,000 characters."))
    return redirect(version)


@staff_only
@require_POST
def model_promote(request: HttpRequest, pk: int) -> HttpResponse:
    version = get_object_or_404(ModelVersion, pk=pk)
    form = PromoteForm(request.POST)
    form.is_valid()
    reason = form.cleaned_data.get("reason", "")
    # As in the admin: overruling the gate is for superusers.
    override = bool(form.cleaned_data.get("override")) and request.user.is_superuser
    try:
        promote(version, by=request.user, reason=reason, override=override)  # type: ignore[arg-type]
    except PromotionRefused as refusal:
        messages.error(request, refusal.detail)
    else:
        messages.success(request, _("%(model)s answers from now on.") % {"model": version})
    return redirect(version)


@staff_only
@require_POST
def models_roll_back(request: HttpRequest) -> HttpResponse:
    form = RollBackForm(request.POST)
    form.is_valid()
    try:
        done = roll_back(by=request.user, reason=form.cleaned_data.get("reason", ""))  # type: ignore[arg-type]
    except PromotionRefused as refusal:
        messages.error(request, refusal.detail)
    else:
        messages.success(request, _("%(model)s answers again.") % {"model": done.promoted})
    return redirect("training:models")
