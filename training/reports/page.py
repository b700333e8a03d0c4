"""What the pages of a report show, gathered from one report row; the templates only draw it.

A report has parts, each with an address of its own; 'all' shows all of them on one page, for paper.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy

from cifarsite.core.numbers import measured
from training.evaluation.comparison import NotComparable, compare
from training.evaluation.reports import class_names, confusion, has_panels
from training.models import EvaluationReport, ModelVersion
from training.reports.class_tables import class_table, columns, folded_note, matrix
from training.reports.figure_rows import headline, slice_rows, source_rows
from training.reports.figures import chart, embedding_map, images_of
from training.reports.image_tiles import data_context, examples, shots
from training.reports.model_change import change
from training.reports.narrative import (
    KINDS,
    SLICES,
    advice,
    common_confusions,
    confusion_sentence,
    sentences,
    set_name,
)
from training.reports.trust import trust_context

Context = dict[str, Any]
# The address of the page that shows every part.
ALL = "all"
# Curves of the summary: the first three of these that the report has.
SUMMARY_CURVES = ("learning_curve", "accuracy", "reliability", "roc", "histogram")


@dataclass(frozen=True)
class Asked:
    """A report and how it is to be shown.

    Attributes:
        champion: the champion's report on the same images, unless this is it.
        sets: the model's reports, on whatever set.
        sort: a column of the table of classes, with '-' before it: falling.
        by: 'row' for shares of each true class, else counts.
        has_images: may the set's images be shown? See ``training.evaluation.measured_photos``.
        part: what is shown, a key of ``PARTS`` or ``ALL``.
    """

    report: EvaluationReport
    champion: EvaluationReport | None
    sets: Sequence[EvaluationReport]
    sort: str
    by: str
    has_images: bool
    part: str

    @property
    def panels(self) -> dict[str, Any]:
        found: dict[str, Any] = self.report.figures.get("panels", {})
        return found

    def charts(self, *names: str) -> Context:
        found = {name: chart(self.report, name) for name in names}
        return {name: made for name, made in found.items() if made}


@dataclass(frozen=True)
class Part:
    """One page of a report.

    Attributes:
        anchors: names that led to this part when a report was one page.
        show: what its template needs.
        has: does this report have it?
    """

    title: str | Promise
    template: str
    anchors: tuple[str, ...]
    show: Callable[[Asked], Context]
    has: Callable[[EvaluationReport], bool] = lambda report: True


def page_context(asked: Asked) -> Context:
    """What the page of one part shows, or that of all; only what is shown is computed."""
    report = asked.report
    parts = parts_of(report)
    shown = list(parts) if asked.part == ALL else [asked.part] if asked.part in parts else []
    context: Context = {
        "report": report,
        "names": class_names(report),
        "version": report.model,
        "measured_on": images_of(report),
        "sets": [(row, set_name(row.dataset)) for row in asked.sets],
        "part": asked.part,
        "sort": asked.sort,
        "by": asked.by,
        "title": PARTS[asked.part].title if asked.part in PARTS else "",
        "parts": [(key, part) for key, part in parts.items()],
        "shown": [(key, parts[key]) for key in shown],
        "shows_images": asked.part in (ALL, "mistakes", "data"),
        "charts": {},
    }
    for key in shown:
        made = parts[key].show(asked)
        context["charts"] |= made.pop("charts", {})
        context |= made
    return context


def parts_of(report: EvaluationReport) -> dict[str, Part]:
    """The parts that this report has, in the order of the pages, by their address; the summary's is empty."""
    return {key: part for key, part in PARTS.items() if part.has(report)}


def _summary(asked: Asked) -> Context:
    report, names, counts = asked.report, class_names(asked.report), confusion(asked.report)
    # On the page of everything the curves stand where they belong.
    curves = [] if asked.part == ALL else list(asked.charts(*SUMMARY_CURVES).values())
    verdict, *words = sentences(report.figures, report.dataset)
    return {
        "headline": headline(report.figures),
        "verdict": verdict,
        "words": words,
        "confusions": [
            (pair, confusion_sentence(pair, names), names[pair[0]], names[pair[1]])
            for pair in common_confusions(counts)
        ],
        "change": change_sentence(report, asked.champion),
        "champion_report": asked.champion,
        "matrix": matrix(counts, asked.by, names),
        "matrix_note": folded_note(counts),
        "curves": curves[:3],
    }


def _classes(asked: Asked) -> Context:
    report = asked.report
    return {
        "classes": class_table(report.figures, asked.sort, confusion(report)),
        "columns": columns(asked.sort),
        "kinds": [
            (
                KINDS[row["name"]],
                row["kind"]["n"],
                *(measured(row[key]["share"], row[key]["interval"]) for key in ("kind", "exact")),
            )
            for row in asked.panels.get("kinds", [])
        ],
        "charts": asked.charts("roc", "pr"),
    }


def _mistakes(asked: Asked) -> Context:
    report, panels = asked.report, asked.panels
    return {
        **{
            name: shots(report, panels.get(name, []), f"sheet-{name}", has_images=asked.has_images)
            for name in ("mistakes", "unsure")
        },
        "examples": examples(report, asked.has_images),
        "map": embedding_map(report),
        "centres": panels.get("map", {}).get("centres", []),
        "explained": panels.get("map", {}).get("explained"),
    }


def _calibration(asked: Asked) -> Context:
    return {"charts": asked.charts("reliability", "histogram", "sweep")}


def _unknown(asked: Asked) -> Context:
    return trust_context(asked.report.model.card, asked.report.figures)


def _robustness(asked: Asked) -> Context:
    return {
        "sources": source_rows(asked.sets),
        "slices": [(SLICES[group["name"]], slice_rows(group)) for group in asked.panels.get("slices", [])],
        "charts": asked.charts("robustness"),
    }


def _training(asked: Asked) -> Context:
    return {
        "speed": asked.panels.get("speed"),
        "advice": list(advice(asked.report.figures)),
        "charts": asked.charts("accuracy", "loss", "learning_curve"),
    }


def _data(asked: Asked) -> Context:
    return {"data": data_context(asked.panels.get("data"))}


def _compare(asked: Asked) -> Context:
    return {"others": other_versions(asked.report.model)}


def _has_training(report: EvaluationReport) -> bool:
    panels, card = report.figures.get("panels", {}), report.model.card
    return bool("speed" in panels or report.figures.get("advice") or card.get("history"))


def change_sentence(report: EvaluationReport, champion: EvaluationReport | None) -> str:
    """What changed against the champion; empty where there is nothing to hold it against."""
    if champion is None or champion.pk == report.pk:
        return ""
    try:
        return change(compare(report, champion), champion.model.name)
    except NotComparable:
        return ""


def other_versions(version: ModelVersion) -> list[ModelVersion]:
    """Versions that it can be held against, newest first."""
    rows = ModelVersion.objects.filter(project=version.project_id, reports__isnull=False).distinct()
    return list(rows.exclude(pk=version.pk).only("name", "is_champion")[:100])


PARTS: dict[str, Part] = {
    "": Part(gettext_lazy("Summary"), "training/report/_summary.html", ("words", "confusion"), _summary),
    "classes": Part(gettext_lazy("Classes"), "training/report/_part_classes.html", ("classes",), _classes),
    "mistakes": Part(
        gettext_lazy("Mistakes and images"),
        "training/report/_part_mistakes.html",
        ("images",),
        _mistakes,
        has_panels,
    ),
    "calibration": Part(
        gettext_lazy("Confidence"),
        "training/report/_part_calibration.html",
        ("confidence",),
        _calibration,
        lambda report: bool(report.figures.get("reliability")),
    ),
    "unknown": Part(
        gettext_lazy("Photos and verdicts"), "training/report/_part_unknown.html", ("photos",), _unknown
    ),
    "robustness": Part(
        gettext_lazy("Slices and robustness"),
        "training/report/_part_robustness.html",
        ("slices",),
        _robustness,
        lambda report: bool(report.figures.get("panels", {}).get("slices")),
    ),
    "training": Part(
        gettext_lazy("Training and cost"),
        "training/report/_part_training.html",
        ("training", "more-images"),
        _training,
        _has_training,
    ),
    "data": Part(
        gettext_lazy("Data"),
        "training/report/_part_data.html",
        ("data",),
        _data,
        lambda report: "data" in report.figures.get("panels", {}),
    ),
    "compare": Part(
        gettext_lazy("Compare and download"),
        "training/report/_part_compare.html",
        ("take-away",),
        _compare,
    ),
}
