"""The pages of models: everybody sees them, staff promote, roll back, download and write notes."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.paginator import Paginator
from django.db.models import F, Prefetch, Q, Value
from django.db.models.functions import Concat
from django.http import FileResponse, HttpRequest, HttpResponse, HttpResponseBase, JsonResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe

from cifarsite.core.pages import staff_only
from training.engine.recipes import RECIPES
from training.jobs import learning_curves
from training.models import DEFAULT_PROJECT, EvaluationReport, ModelVersion, Promotion
from training.pages.forms import NotesForm, PromoteForm, RollBackForm
from training.pages.visible import (
    chosen_project,
    find_model,
    project_context,
    shown_projects,
    trainers_change,
)
from training.projects.access import visible_projects
from training.registry import exports, model_store, pretrained
from training.registry.promotion import PromotionRefused, promote, roll_back
from training.registry.promotion_gate import examine
from training.reports.fine_tuning import fine_tuning
from training.reports.photo_sets import are_mixed
from training.reports.trust import trust_context

MODELS_A_PAGE = 25
PROMOTION_HISTORY_LINES = 20
REFUSALS_SHOWN = 5


@login_required
@never_cache
@require_safe
def models_page(request: HttpRequest) -> HttpResponse:
    """All versions of the projects that a person may see, or of one, and what was live when."""
    project = chosen_project(request)
    shown = shown_projects(request, project)
    # Of a report's figures, which are long, the database sends the speed alone.
    named = (Concat(F("model__project"), Value(end)) for end in (" test", model_store.CROSS_VALIDATED))
    own = Q(dataset=model_store.TEST_SET) | Q(dataset__in=list(named))
    reports = EvaluationReport.objects.filter(own).defer("figures").order_by("-id")
    measured = Prefetch("reports", reports.annotate(speed=F("figures__panels__speed")), to_attr="measured")
    rows = ModelVersion.objects.filter(project__in=shown).select_related("project", "job", "dataset")
    rows = rows.defer("dataset__manifest", "job__traceback", "job__live").prefetch_related(measured)
    promotion_history = Promotion.objects.filter(promoted__project__in=shown)
    promotion_history = promotion_history.select_related("previous", "promoted__project", "by")
    offers = request.user.is_staff and (project is None or project.pk == DEFAULT_PROJECT)
    page = Paginator(rows.order_by("-is_champion", "-id"), MODELS_A_PAGE).get_page(request.GET.get("page"))
    context = {
        **project_context(request, project),
        "page": page,
        "photo_sets_differ": are_mixed(page.object_list),
        "promotion_history": promotion_history.defer("previous__card", "promoted__card")[
            :PROMOTION_HISTORY_LINES
        ],
        "roll_back_form": RollBackForm(project or DEFAULT_PROJECT, visible_projects(request.user)),
        "offered": pretrained.offered() if offers else None,
    }
    return render(request, "training/models/models.html", context)


@login_required
@never_cache
@require_safe
def model_page(request: HttpRequest, pk: int) -> HttpResponse:
    """One version: card, layers, curves, where it came from."""
    version = find_model(request, pk)
    report = model_store.main_report(version)
    context: dict[str, Any] = {
        **(trust_context(version.card, report.figures) if report else {}),
        "version": version,
        "card": version.card,
        "fine_tuning": fine_tuning(version.card.get("transfer", {}).get("fine_tuning")),
        "curve": learning_curves.of_model(version),
        "recipe": RECIPES.get(version.recipe),
        "promotions": version.promotions.select_related("by"),
    }
    if request.user.is_staff:
        context["notes_form"] = NotesForm(initial={"notes": version.notes})
        if not version.is_champion:
            refusals = version.refusals.select_related("by")[:REFUSALS_SHOWN]
            context |= {"gate": examine(version), "promote_form": PromoteForm(), "refusals": refusals}
    return render(request, "training/models/model.html", context)


@login_required
@require_safe
def model_curve(request: HttpRequest, pk: int) -> JsonResponse:
    return JsonResponse(learning_curves.of_model(find_model(request, pk)))


@staff_only
@require_safe
def model_download(request: HttpRequest, pk: int) -> HttpResponseBase:
    """The ``.keras`` file, its hash checked; with ``?format=`` a ZIP to take away."""
    version = find_model(request, pk)
    try:
        if format := request.GET.get("format"):
            return exports.sent(version, format)
        path = model_store.model_file(version)
    except (exports.ExportFailed, model_store.ModelFileError) as error:
        messages.error(request, str(error))
        return redirect(version)
    return FileResponse(path.open("rb"), as_attachment=True, filename=f"{version.name}.keras")


@staff_only
@require_POST
def model_notes(request: HttpRequest, pk: int) -> HttpResponse:
    version = find_model(request, pk)
    form = NotesForm(request.POST)
    if form.is_valid():
        ModelVersion.objects.filter(pk=pk).update(notes=form.cleaned_data["notes"])
        messages.success(request, _("The notes were saved."))
    else:
        messages.error(request, _("Notes have at most 10,000 characters."))
    return redirect(version)


@trainers_change
@require_POST
def model_promote(request: HttpRequest, pk: int) -> HttpResponse:
    version = find_model(request, pk)
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
        messages.success(request, _("%(model)s is the champion now.") % {"model": version})
    return redirect(version)


@trainers_change
@require_POST
def models_roll_back(request: HttpRequest) -> HttpResponse:
    project = chosen_project(request)
    form = RollBackForm(project or DEFAULT_PROJECT, visible_projects(request.user), request.POST)
    form.is_valid()
    reason, slug = form.cleaned_data.get("reason", ""), project.pk if project else DEFAULT_PROJECT
    try:
        done = roll_back(by=request.user, reason=reason, project=slug)  # type: ignore[arg-type]
    except PromotionRefused as refusal:
        messages.error(request, refusal.detail)
    else:
        messages.success(request, _("%(model)s is the champion again.") % {"model": done.promoted})
    return redirect(reverse("training:models") + (f"?project={project.pk}" if project else ""))
