"""The page that says what a verdict means, with the figures of the model that answers now."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from training.models import EvaluationReport
from training.registry import model_store
from training.reports.figures import chart
from training.reports.reliability_narrative import trust_context, verdict_facts

# Made up, to show what each verdict looks like: (class, probability) of the likeliest three.
EXAMPLES = {
    "recognised": (("dog", 0.94), ("cat", 0.03), ("horse", 0.01)),
    "unsure": (("automobile", 0.55), ("truck", 0.42), ("ship", 0.01)),
    "unknown": (("frog", 0.34), ("bird", 0.21), ("cat", 0.15)),
}


@require_safe
def verdicts(request: HttpRequest) -> HttpResponse:
    """Everybody may read it: it holds nothing of anybody."""
    version = model_store.champion()
    context: dict[str, Any] = {"version": version, "examples": EXAMPLES}
    if version is not None:
        rows = EvaluationReport.objects.filter(model=version, dataset=model_store.TEST_SET)
        report = rows.select_related("model").first()
        context["facts"] = verdict_facts(version.card)
        if report is not None:
            context["chart"] = chart(report, "reliability")
            context |= trust_context(version.card, report.figures)
    return render(request, "training/reliability/verdicts.html", context)
