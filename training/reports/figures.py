"""The charts of a report, each from its part of the figures; a name gets the chart."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from cifarsite.core.numbers import count, decimal, measured, percent, percent_span, span
from training.data.image_sheets import ArtifactMissing
from training.engine.data.labelled_images import CROSS_VALIDATION
from training.engine.inference.calibration import wilson_interval
from training.evaluation.reports import answers, class_names, truth_and_predicted
from training.models import EvaluationReport
from training.reports.narrative import CORRUPTIONS, class_title, set_name
from training.reports.svg_charts import (
    Chart,
    Map,
    Point,
    Row,
    across,
    bar,
    colour,
    legend,
    line,
    number_ticks,
    percent_ticks,
    point_map,
    upwards,
)

# Where every class has more area than this, its curve is nothing but a corner.
CROWDED = 0.96
ROC_PART = 0.2
# A bar of the calibration chart that stands for fewer images says little.
FEW = 10


def chart(report: EvaluationReport, name: str) -> Chart | None:
    """One chart, with what it was measured on; None where the report has no figures for it."""
    made = MAKERS[name](report)
    return made and replace(made, measured_on=made.measured_on or images_of(report))


def images_of(report: EvaluationReport, n: int | None = None) -> str:
    """'10,000 images: CIFAR-10 test'."""
    n = report.n if n is None else n
    text = ngettext("%(n)s image: %(dataset)s", "%(n)s images: %(dataset)s", n)
    return text % {"n": count(n), "dataset": set_name(report.dataset)}


def embedding_map(report: EvaluationReport) -> Map | None:
    """The map of the images, if single answers were kept."""
    try:
        embedding = answers(report).embedding
    except ArtifactMissing:
        return None
    return point_map(embedding, *truth_and_predicted(report), class_names(report))


def _panels(report: EvaluationReport) -> dict[str, Any]:
    panels: dict[str, Any] = report.figures.get("panels", {})
    return panels


def _learning(report: EvaluationReport, key: str) -> Chart | None:
    history = report.model.card.get("history", {})
    training, validation = history.get(key), history.get(f"val_{key}")
    if not training or not validation:
        return None
    numbers = range(1, len(training) + 1)
    both = [*training, *validation]
    x = across(1, max(len(training), 2))
    if key == "accuracy":
        title, y_label = _("Accuracy while it learned"), _("Accuracy")
        y = upwards(_floor(both), 1)
    else:
        title, y_label = _("Loss while it learned"), _("Loss (nats)")
        y = upwards(0, 1.05 * max(both))
    shown = percent if key == "accuracy" else lambda value: decimal(value, 3)
    series = [
        line(list(zip(numbers, training, strict=True)), x, y, name=_("training"), css="line-1"),
        line(list(zip(numbers, validation, strict=True)), x, y, name=_("validation"), css="line-2"),
    ]
    return Chart(
        name=key,
        title=title,
        x_label=_("Epoch"),
        y_label=y_label,
        x_ticks=number_ticks(x, 0) if len(training) > 5 else [(x(n), str(n)) for n in numbers],
        y_ticks=percent_ticks(y) if key == "accuracy" else number_ticks(y),
        head=[_("Epoch"), _("Training"), _("Validation")],
        rows=[
            Row([number, shown(a), shown(b)], x(number))
            for number, a, b in zip(numbers, training, validation, strict=True)
        ],
        lines=series,
        legend=legend(series),
        measured_on=_learned_on(report.model.card),
    )


def _learned_on(card: dict[str, Any]) -> str:
    """How many images, and how sure the validation accuracy of the model that was kept is."""
    data, validation = card.get("data", {}), card.get("validation", {})
    if "training_images" not in data:
        return _("CIFAR-10's training images, a part of them for validation.")
    text = _("%(training)s images to train on, %(validation)s to validate on.") % {
        "training": count(data["training_images"]),
        "validation": count(data["validation_images"]),
    }
    if "interval" in validation:
        text += " " + _(
            "Validation accuracy of the model that was kept: %(share)s (95 %% interval %(span)s)."
        ) % {
            "share": percent(validation["accuracy"]),
            "span": percent_span(validation["interval"]),
        }
    return text


def _learning_curve(report: EvaluationReport) -> Chart | None:
    """Accuracy by the number of training images, with intervals."""
    curve = report.figures.get("advice")
    if not curve:
        return None
    steps = curve["steps"]
    x, y = across(0, steps[-1]["images"]), upwards(_floor([step["interval"][0] for step in steps]), 1)
    middle = [(step["images"], step["accuracy"]) for step in steps]
    series = [line(middle, x, y, name=_("accuracy"), css="line-1", dots=True)]
    for place in (0, 1):
        ends = [(step["images"], step["interval"][place]) for step in steps]
        series.append(line(ends, x, y, name=_("95 % interval"), css="line-2"))
    on = (
        _("%(n)s training images, cross-validated: each fit uses four fifths of them, at most %(most)s.")
        if curve["judged_on"] == CROSS_VALIDATION
        else _("%(n)s validation images.")
    )
    return Chart(
        name="learning_curve",
        title=_("Accuracy by the number of training images"),
        x_label=_("Training images"),
        y_label=_("Accuracy"),
        x_ticks=[(x(step["images"]), count(step["images"])) for step in steps],
        y_ticks=percent_ticks(y),
        head=[_("Training images"), _("Share of them"), _("Accuracy"), _("95 % interval")],
        rows=[
            Row(
                [
                    count(step["images"]),
                    percent(step["share"], 0),
                    percent(step["accuracy"]),
                    percent_span(step["interval"]),
                ],
                x(step["images"]),
            )
            for step in steps
        ],
        lines=series,
        legend=legend(series[:2]),
        measured_on=on % {"n": count(curve["n"]), "most": count(steps[-1]["images"])},
    )


def _floor(shares: list[float]) -> float:
    """The next lower tenth, where an axis may begin."""
    return int(10 * min(shares)) / 10


def _one_vs_rest(report: EvaluationReport, which: str) -> Chart | None:
    numbered = list(enumerate(_panels(report).get("curves", [])))
    rows = [
        {**row, "css": colour(number, row["name"]), "title": class_title(row["name"])}
        for number, row in numbered
        if which in row
    ]
    if not rows:
        return None
    x, y, note = across(0, 1), upwards(0, 1), ""
    if which == "roc" and min(row["auroc"] for row in rows) > CROWDED:
        x, y = across(0, ROC_PART), upwards(1 - 2 * ROC_PART, 1)
        note = _("The chart shows false positive rates up to %(part)s.") % {"part": percent(ROC_PART, 0)}
    if len(rows) < len(numbered):
        hardest = _("Of %(all)s classes, the %(shown)s with the least average precision are shown.")
        note = f"{hardest % {'all': count(len(numbered)), 'shown': count(len(rows))}} {note}".strip()
    series = [line(up_to(row[which], x.high), x, y, name=row["title"], css=row["css"]) for row in rows]
    area = "auroc" if which == "roc" else "ap"
    if which == "roc":
        title, area_title = _("ROC: each class against the rest"), _("Area (AUROC)")
        labels = _("False positive rate"), _("True positive rate")
    else:
        title, area_title = _("Precision and recall: each class against the rest"), _("Average precision")
        labels = _("Recall"), _("Precision")
    return Chart(
        name=which,
        title=title,
        x_label=labels[0],
        y_label=labels[1],
        x_ticks=percent_ticks(x),
        y_ticks=percent_ticks(y),
        head=[_("Class"), area_title, _("95 % interval"), _("Images")],
        rows=[
            Row(
                [
                    row["title"],
                    decimal(row[area], 4),
                    span(row[f"{area}_interval"], 4) if row.get(f"{area}_interval") else "–",
                    count(row["n"]),
                ],
                series=row["css"],
            )
            for row in rows
        ],
        lines=series,
        legend=legend(series),
        note=note,
    )


def up_to(points: list[list[float]], end: float) -> list[Point]:
    """The part of a curve left of ``end``, with its place there."""
    kept = [(a, b) for a, b in points if a <= end]
    beyond = next(((a, b) for a, b in points if a > end), None)
    if kept and beyond:
        (a, b), (c, d) = kept[-1], beyond
        kept.append((end, b + (d - b) * (end - a) / (c - a)))
    return kept


def _selective_accuracy(report: EvaluationReport) -> Chart | None:
    rows = _panels(report).get("sweep", [])
    if not rows:
        return None
    answered = [row for row in rows if row["share"] is not None]
    lowest = min([row["coverage"] for row in rows] + [row["share"] for row in answered])
    x, y = across(0, 1), upwards(int(5 * lowest) / 5, 1)
    series = [
        line([(r["threshold"], r["share"]) for r in answered], x, y, name=_("accuracy"), css="line-1"),
        line([(r["threshold"], r["coverage"]) for r in rows], x, y, name=_("coverage"), css="line-2"),
    ]
    return Chart(
        name="sweep",
        title=_("Selective accuracy"),
        x_label=_("Least confidence for a prediction"),
        y_label=_("Share of images"),
        x_ticks=percent_ticks(x),
        y_ticks=percent_ticks(y),
        head=[
            _("Threshold"),
            _("Coverage"),
            _("Accuracy of those predictions"),
            _("95 % interval"),
            _("Images"),
        ],
        rows=[
            Row(
                [
                    percent(row["threshold"]),
                    percent(row["coverage"]),
                    percent(row["share"]),
                    percent_span(row["interval"]),
                    count(row["n"]),
                ],
                x(row["threshold"]),
            )
            for row in rows
        ],
        lines=series,
        legend=legend(series),
    )


def _reliability(report: EvaluationReport) -> Chart | None:
    after, before = report.figures.get("reliability"), report.figures.get("reliability_before", [])
    if not after:
        return None
    x, y = across(0, 1), upwards(0, 1)
    earlier = line([(r["confidence"], r["accuracy"]) for r in before], x, y, name=_("before"), css="line-2")
    known = {row["low"]: row for row in before}
    said = [
        _("Expected calibration error (ECE): %(after)s; before calibration: %(before)s.")
        % {key: _error(report, name) for key, name in (("after", "ece"), ("before", "ece_before"))}
    ]
    if any(row["n"] < FEW for row in after):
        said.append(_("Pale bars stand for fewer than %(few)s images each.") % {"few": FEW})
    return Chart(
        name="reliability",
        title=_("Calibration"),
        kind="bars",
        x_label=_("Confidence"),
        y_label=_("Correct"),
        x_ticks=percent_ticks(x),
        y_ticks=percent_ticks(y),
        head=[
            _("Confidence"),
            _("Images"),
            _("Mean confidence"),
            _("Correct"),
            _("95 % interval"),
            _("Accuracy, before calibration"),
        ],
        rows=[
            Row(
                [
                    f"{percent(row['low'], 0)} – {percent(row['high'], 0)}",
                    count(row["n"]),
                    percent(row["confidence"]),
                    percent(row["accuracy"]),
                    percent_span(wilson_interval(round(row["accuracy"] * row["n"]), row["n"])),
                    percent(known[row["low"]]["accuracy"] if row["low"] in known else None),
                ],
                x((row["low"] + row["high"]) / 2),
            )
            for row in after
        ],
        bars=[
            bar(
                row["low"],
                row["high"],
                0,
                row["accuracy"],
                x,
                y,
                "bar-1" if row["n"] >= FEW else "bar-1 bar-few",
            )
            for row in after
        ],
        lines=[earlier],
        legend=legend(
            [
                {"name": _("calibrated"), "css": "bar-1", "is_bar": True},
                {"name": _("before"), "css": "line-2"},
                {"name": _("ideal"), "css": "line-ideal"},
            ]
        ),
        diagonal=line([(0, 0), (1, 1)], x, y)["path"],
        note=" ".join(said),
    )


def _error(report: EvaluationReport, name: str) -> str:
    """'0.0123 (0.0098 – 0.0148)'."""
    bounds = _panels(report).get("intervals", {}).get(name)
    figure = decimal(report.figures[name], 4)
    return f"{figure} ({span(bounds, 4)})" if bounds else figure


def _histogram(report: EvaluationReport) -> Chart | None:
    rows = _panels(report).get("histogram", [])
    if not rows:
        return None
    # Heights by their square root: else the last bar alone would be seen.
    most = max(row["right"] + row["wrong"] for row in rows) or 1
    x, y = across(0, 1), upwards(0, most**0.5)
    bars = []
    for row in rows:
        wrong, total = row["wrong"] ** 0.5, (row["right"] + row["wrong"]) ** 0.5
        if total:
            bars.append(bar(row["low"], row["high"], 0, total, x, y, "bar-right"))
        if wrong:
            bars.append(bar(row["low"], row["high"], 0, wrong, x, y, "bar-wrong"))
    # Far enough apart to be read.
    ticks = [0]
    for n in (1, 10, 100, 500, 1_000, 2_500, 5_000, 10_000, 50_000):
        if n <= most and n**0.5 - ticks[-1] ** 0.5 > most**0.5 / 12:
            ticks.append(n)
    return Chart(
        name="histogram",
        title=_("Confidence of correct and wrong predictions"),
        kind="bars",
        x_label=_("Confidence"),
        y_label=_("Images (root scale)"),
        x_ticks=percent_ticks(x),
        y_ticks=[(y(n**0.5), count(n)) for n in ticks],
        head=[_("Confidence"), _("Correct"), _("Wrong")],
        rows=[
            Row(
                [
                    f"{percent(row['low'], 0)} – {percent(row['high'], 0)}",
                    count(row["right"]),
                    count(row["wrong"]),
                ],
                x((row["low"] + row["high"]) / 2),
            )
            for row in rows
            if row["right"] + row["wrong"]
        ],
        bars=bars,
        legend=legend(
            [
                {"name": _("all predictions"), "css": "bar-right", "is_bar": True},
                {"name": _("wrong predictions"), "css": "bar-wrong", "is_bar": True},
            ]
        ),
    )


def _robustness(report: EvaluationReport) -> Chart | None:
    found = _panels(report).get("robustness")
    if not found:
        return None
    x, y = across(0, 5), upwards(0, 1)
    series = [
        line(
            list(enumerate([found["clean"]["share"], *(step["share"] for step in row["steps"])])),
            x,
            y,
            name=CORRUPTIONS[row["name"]],
            css=f"line-{number}",
            dots=True,
        )
        for number, row in enumerate(found["rows"], 1)
    ]
    steps = [(_("undistorted"), [found["clean"]] * len(found["rows"]))]
    steps += [(str(n + 1), [row["steps"][n] for row in found["rows"]]) for n in range(5)]
    return Chart(
        name="robustness",
        title=_("Robustness to corruptions"),
        x_label=_("Strength of the corruption"),
        y_label=_("Accuracy"),
        x_ticks=[(x(n), str(n)) for n in range(6)],
        y_ticks=percent_ticks(y),
        head=[_("Strength"), *(CORRUPTIONS[row["name"]] for row in found["rows"])],
        rows=[
            Row([text, *(measured(c["share"], c["interval"]) for c in cells)], x(number))
            for number, (text, cells) in enumerate(steps)
        ],
        lines=series,
        legend=legend(series),
        note=_("All models use the same images."),
        table_note=_("In brackets: intervals of 95 %."),
        measured_on=images_of(report, found["n"]),
    )


MAKERS: dict[str, Callable[[EvaluationReport], Chart | None]] = {
    "accuracy": partial(_learning, key="accuracy"),
    "loss": partial(_learning, key="loss"),
    "learning_curve": _learning_curve,
    "roc": partial(_one_vs_rest, which="roc"),
    "pr": partial(_one_vs_rest, which="pr"),
    "sweep": _selective_accuracy,
    "reliability": _reliability,
    "histogram": _histogram,
    "robustness": _robustness,
}
CHART_NAMES = tuple(MAKERS)
