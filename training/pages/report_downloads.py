"""A report to take away: figures as JSON, every answer as CSV, charts as SVG, the card as Markdown."""

from __future__ import annotations

import csv
import textwrap
from collections.abc import Iterator
from typing import Any, TypeVar

from django.contrib.auth.decorators import login_required
from django.http import (
    Http404,
    HttpRequest,
    HttpResponse,
    HttpResponseBase,
    JsonResponse,
    StreamingHttpResponse,
)
from django.shortcuts import render
from django.template.loader import render_to_string
from django.utils.text import slugify
from django.views.decorators.http import require_safe

from cifarsite.core.spreadsheets import safe_cell
from training.data.image_sheets import ArtifactMissing
from training.evaluation.reports import answers, as_json, class_names, confusion
from training.models import EvaluationReport, EvaluationSet
from training.pages.reports import need_report
from training.reports.class_tables import matrix
from training.reports.figures import CHART_NAMES, chart, embedding_map, images_of
from training.reports.narrative import common_confusions, confusion_sentence, sentences
from training.reports.svg_charts import Chart, Map
from training.reports.trust import trust_context

Response = TypeVar("Response", bound=HttpResponseBase)
# What fits in a line below a chart of 440 pixels.
FOOTER_LETTERS = 66


@login_required
@require_safe
def report_json(request: HttpRequest, pk: int) -> HttpResponse:
    """All figures, as 'manage.py evaluate --json' prints them."""
    found = need_report(request, pk)
    return attached(JsonResponse(as_json(found), json_dumps_params={"indent": 1}), found, "json")


@login_required
@require_safe
def report_predictions(request: HttpRequest, pk: int) -> HttpResponseBase:
    """A line an image: the right class, the answer, the probabilities where they were kept."""
    found = need_report(request, pk)
    response = StreamingHttpResponse(csv_lines(found), content_type="text/csv; charset=utf-8")
    return attached(response, found, "csv")


class Echo:
    """What csv.writer writes to: hands each line on."""

    def write(self, text: str) -> str:
        return text


def csv_lines(report: EvaluationReport) -> Iterator[str]:
    """The lines of the CSV file."""
    writer = csv.writer(Echo())
    try:
        probabilities: Any = answers(report).probabilities.astype(float)
    except ArtifactMissing:
        probabilities = None
    names = class_names(report)
    # People name their classes: a spreadsheet must not take one for a formula.
    safe = [safe_cell(name) for name in names]
    manifest = EvaluationSet.objects.filter(sha256=report.dataset_sha256).values_list("manifest", flat=True)
    files = [safe_cell(entry["file"]) for entry in manifest.first() or []]
    head = ["image", *(["file"] if files else []), "true", "predicted", "right"]
    yield writer.writerow([*head, *(safe if probabilities is not None else [])])
    for row, (true, said) in enumerate(
        zip(report.figures["truth"], report.figures["predicted"], strict=True)
    ):
        cells = [
            row,
            *(files[row : row + 1]),
            safe[int(true)],
            safe[int(said)],
            int(true == said),
        ]
        chances = [f"{p:.4f}" for p in probabilities[row]] if probabilities is not None else []
        yield writer.writerow([*cells, *chances])


@login_required
@require_safe
def report_figure(request: HttpRequest, pk: int, name: str) -> HttpResponse:
    """One chart as an SVG file with its own colours; it says what it was measured on."""
    found = need_report(request, pk)
    drawn: Chart | Map | list[dict[str, Any]] | None
    if name == "map":
        drawn = embedding_map(found)
        template = "training/report/_map_drawing.html"
    elif name == "confusion":
        drawn = placed(matrix(confusion(found), names=class_names(found)))
        template = "training/report/_matrix_drawing.html"
    elif name in CHART_NAMES:
        drawn = chart(found, name)
        template = "training/report/_chart_drawing.html"
    else:
        raise Http404
    if drawn is None:
        raise Http404
    said = f"{found.model.name} · {getattr(drawn, 'measured_on', '') or images_of(found)}"
    context = {"chart": drawn, "standalone": True, "footer": textwrap.wrap(said, FOOTER_LETTERS)}
    svg = render_to_string(template, context)
    response = HttpResponse(svg.strip(), content_type="image/svg+xml")
    return attached(response, found, "svg", name)


def placed(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The confusion matrix with places for a drawing: cells of 40 units, names left and above."""
    return [
        {
            **row,
            "y": 96 + 40 * a,
            "y_text": 119 + 40 * a,
            "x_text": 120 + 40 * a,
            "cells": [
                {**cell, "x": 96 + 40 * b, "x_text": 115 + 40 * b} for b, cell in enumerate(row["cells"])
            ],
        }
        for a, row in enumerate(rows)
    ]


@login_required
@require_safe
def report_card(request: HttpRequest, pk: int) -> HttpResponse:
    """The model card: what it is, what it was trained on, how good it is, what it is not for."""
    found = need_report(request, pk)
    names = class_names(found)
    context = {
        "report": found,
        "version": found.model,
        "card": found.model.card,
        "words": sentences(found.figures, found.dataset),
        "confusions": [confusion_sentence(pair, names) for pair in common_confusions(confusion(found))],
        "classes": found.figures["classes"],
        **trust_context(found.model.card, found.figures),
    }
    response = render(
        request, "training/report/card.md", context, content_type="text/markdown; charset=utf-8"
    )
    return attached(response, found, "md", "card")


def attached(response: Response, report: EvaluationReport, ending: str, part: str = "") -> Response:
    """Saved under the model's and the set's name."""
    name = "-".join(filter(None, (slugify(report.model.name), slugify(report.dataset), part)))
    response.headers["Content-Disposition"] = f'attachment; filename="{name}.{ending}"'
    return response
