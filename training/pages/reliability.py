"""The page that says what a verdict means, with the figures of the model that answers now."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_safe

from cifarsite.core.pages import colour_of
from training.models import DEFAULT_PROJECT, ModelVersion, Project
from training.projects.access import get_project, visible_projects
from training.registry import model_store
from training.reports.figures import chart
from training.reports.narrative import class_title
from training.reports.trust import trust_context
from training.reports.verdict_facts import verdict_facts

# Made up, to show what each verdict looks like: probabilities of the likeliest three, or of two classes.
SHARES = {
    "recognised": ((0.94, 0.03, 0.01), (0.94, 0.06)),
    "unsure": ((0.55, 0.42, 0.01), (0.55, 0.45)),
    "unknown": ((0.34, 0.21, 0.15), (0.58, 0.42)),
}
# Of the ten, those that are often taken for each other.
TEN = {
    "recognised": ("dog", "cat", "horse"),
    "unsure": ("automobile", "truck", "ship"),
    "unknown": ("frog", "bird", "cat"),
}


@require_safe
def verdicts(request: HttpRequest) -> HttpResponse:
    """What a project's champion means by its verdicts; everybody may read CIFAR-10's, which is of nobody.

    ``?project=`` names another project; 404 where the person may not see it.
    """
    slug = request.GET.get("project", "") or DEFAULT_PROJECT
    project = Project(slug=slug) if slug == DEFAULT_PROJECT else get_project(request.user, slug)
    version = model_store.champion(project.pk)
    context: dict[str, Any] = {
        "project": project,
        "projects": list(visible_projects(request.user).only("slug", "name")),
        "version": version,
        "is_of_ten": slug == DEFAULT_PROJECT,
        "unknown": _("None of the ten") if slug == DEFAULT_PROJECT else _("None of these"),
        "examples": {verdict: _example(verdict, version) for verdict in SHARES},
    }
    if version is not None:
        report = model_store.main_report(version)
        context["facts"] = verdict_facts(version.card)
        if report is not None:
            context["chart"] = chart(report, "reliability")
            context |= trust_context(version.card, report.figures)
    return render(request, "training/reliability/verdicts.html", context)


def _example(verdict: str, version: ModelVersion | None) -> list[tuple[str, str, float]]:
    """(colour, class, probability) of the likeliest classes, with the names that the model knows."""
    three, two = SHARES[verdict]
    if version is None or version.project_id == DEFAULT_PROJECT:
        return [(name, class_title(name), share) for name, share in zip(TEN[verdict], three, strict=True)]
    shares = three if len(version.classes) > 2 else two
    return [
        (colour_of(place), name, share)
        for place, (name, share) in enumerate(zip(version.classes, shares, strict=False))
    ]
