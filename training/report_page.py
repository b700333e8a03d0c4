"""What the report page shows, gathered from one report row; the template only draws it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from django.utils.translation import gettext as _

from training import datasets, model_store, tiles
from training.charts import decimal, percent
from training.comparison import NotComparable, compare
from training.engine.calibration import wilson_interval
from training.engine.data import CLASS_NAMES
from training.evaluation import has_panels, ten_probabilities
from training.models import EvaluationReport, ModelVersion
from training.report_figures import charts, embedding_map, images_of, interval
from training.trust_words import trust_context
from training.words import (
    KINDS,
    SLICES,
    change,
    common_confusions,
    confusion_sentence,
    count,
    sentences,
    set_name,
)

SORTS = ("name", "precision", "recall", "f1", "support")
SHADES = 8


@dataclass(frozen=True)
class Tile:
    """One image on a sheet, and what is said of it."""

    row: int
    x: int
    y: int
    true: str
    predicted: str
    confidence: str

    @property
    def is_right(self) -> bool:
        return self.true == self.predicted


@dataclass(frozen=True)
class Tiles:
    """Images that are shown together, from one sheet; ``source`` is empty where there are no images."""

    name: str
    source: str
    width: int
    height: int
    side: int
    items: list[Tile]


def page_context(
    report: EvaluationReport,
    champion: EvaluationReport | None,
    sets: Sequence[EvaluationReport],
    sort: str,
    by: str,
) -> dict[str, Any]:
    """Everything on the page.

    Args:
        champion: the champion's report on the same images, unless this is it.
        sets: the model's reports, on whatever set.
        sort: a column of the table of classes, with '-' before it: falling.
        by: 'row' for shares of each true class, else counts.
    """
    figures = report.figures
    panels = figures.get("panels", {})
    has_images = has_panels(report) and tiles.are_kept(report.dataset_sha256)
    return {
        "report": report,
        "version": report.model,
        "has_panels": has_panels(report),
        "has_images": has_images,
        "is_cifar10": report.dataset == model_store.TEST_SET,
        "set_name": set_name(report.dataset),
        "measured_on": images_of(report),
        "sets": [(row, set_name(row.dataset)) for row in sets],
        "sources": source_rows(sets),
        "words": sentences(figures, report.dataset),
        "confusions": [
            (pair, confusion_sentence(pair), CLASS_NAMES[pair[0]], CLASS_NAMES[pair[1]])
            for pair in common_confusions(figures["confusion"])
        ],
        "change": change_sentence(report, champion),
        "champion_report": champion,
        **trust_context(report.model.card, figures),
        "headline": headline(figures),
        "classes": class_table(figures, sort),
        "sort": sort,
        "columns": columns(sort),
        "matrix": matrix(figures["confusion"], by),
        "by": by,
        "charts": charts(report),
        "map": embedding_map(report),
        "centres": panels.get("map", {}).get("centres", []),
        "explained": panels.get("map", {}).get("explained"),
        "slices": [(SLICES[group["name"]], slice_rows(group)) for group in panels.get("slices", [])],
        "kinds": [
            (KINDS[row["name"]], row["kind"]["n"], share(row["kind"]), share(row["exact"]))
            for row in panels.get("kinds", [])
        ],
        "speed": panels.get("speed"),
        "data": data_context(panels.get("data")),
        **{
            name: shots(report, panels.get(name, []), f"sheet-{name}", has_images)
            for name in ("mistakes", "unsure")
        },
        "examples": examples(report, has_images),
    }


def share(row: dict[str, Any]) -> str:
    """'91.2 % (90.6 – 91.8 %)', or a dash for a share of nothing."""
    return "–" if row["share"] is None else f"{percent(row['share'])} ({interval(row)})"


def _share_span(share: float, n: int) -> str:
    return interval({"interval": wilson_interval(round(share * n), n)})


def headline(figures: dict[str, Any]) -> list[dict[str, Any]]:
    """The figures on top: name, value, interval, what it means."""
    panels = figures.get("panels", {})

    def span(key: str) -> str:
        bounds = panels.get(key)
        return f"{decimal(bounds[0], 3)} – {decimal(bounds[1], 3)}" if bounds else ""

    top2 = panels.get("top2_interval")
    return [
        {
            "name": _("Accuracy"),
            "value": percent(figures["accuracy"], 2),
            "interval": interval(figures),
            "help": _("The likeliest class is the right one."),
        },
        {
            "name": _("Top 2"),
            "value": percent(figures["top2"], 2),
            "interval": interval({"interval": top2}) if top2 else "",
            "help": _("The right class is among the two likeliest."),
        },
        {
            "name": _("Log loss"),
            "value": decimal(figures["log_loss"], 3),
            "interval": span("log_loss_interval"),
            "help": _("Less is better; punishes confident mistakes. In nats."),
        },
        {
            "name": _("Brier score"),
            "value": decimal(figures["brier"], 3),
            "interval": span("brier_interval"),
            "help": _("Less is better; the squared error of the ten probabilities."),
        },
        {
            "name": _("Animal or vehicle"),
            "value": percent(figures["animals_or_vehicles"], 2),
            "interval": _share_span(figures["animals_or_vehicles"], figures["n"]),
            "help": _("It takes no animal for a vehicle and no vehicle for an animal."),
        },
    ]


def columns(sort: str) -> list[dict[str, str]]:
    """Heads of the table of classes: a link sorts, the same once more the other way round."""
    names = {
        "name": _("Class"),
        "precision": _("Precision"),
        "recall": _("Recall"),
        "f1": _("F1"),
        "support": _("Images"),
    }
    made = []
    for key, text in names.items():
        falling = sort == f"-{key}"
        state = "descending" if falling else "ascending" if sort == key else "none"
        made.append({"text": text, "link": key if falling else f"-{key}", "state": state})
    return made


def class_table(figures: dict[str, Any], sort: str) -> list[dict[str, Any]]:
    """Precision, recall, F1 and support of each class, with intervals, in the order asked for."""
    rows = []
    f1 = figures.get("panels", {}).get("intervals", {}).get("f1")
    for number, row in enumerate(figures["classes"]):
        claimed = sum(line[number] for line in figures["confusion"])
        hits = figures["confusion"][number][number]
        rows.append(
            {
                **row,
                "recall_interval": interval({"interval": wilson_interval(hits, row["support"])}),
                "precision_interval": interval({"interval": wilson_interval(hits, claimed)}),
                "f1_interval": interval({"interval": f1[number]}) if f1 else "",
            }
        )
    key = sort.removeprefix("-")
    if key in SORTS:
        rows.sort(key=lambda row: row[key], reverse=sort.startswith("-"))
    return rows


def matrix(counts: Sequence[Sequence[int]], by: str = "count") -> list[dict[str, Any]]:
    """Rows of cells with a shade from 0 to 8: the diagonal for itself, the mistakes for themselves."""
    totals = [sum(line) for line in counts]
    worst = max(
        (cell / (totals[a] or 1) for a, line in enumerate(counts) for b, cell in enumerate(line) if a != b),
        default=0,
    )
    rows = []
    for a, line in enumerate(counts):
        cells = []
        for b, cell in enumerate(line):
            part = cell / (totals[a] or 1)
            reach = part if a == b else part / (worst or 1)
            cells.append(
                {
                    "predicted": CLASS_NAMES[b],
                    "count": cell,
                    "text": (decimal(100 * part, 1) if by == "row" else count(cell)) if cell else "",
                    "shade": min(SHADES, -int(-reach * SHADES // 1)) if cell else 0,
                    "is_hit": a == b,
                }
            )
        rows.append({"true": CLASS_NAMES[a], "cells": cells, "total": totals[a]})
    return rows


def source_rows(sets: Sequence[EvaluationReport]) -> list[dict[str, Any]]:
    """Uploads against CIFAR-10: how the model does on each set that it was measured on.

    A set is only as large as it is: its interval says what that is worth. Last stands a line
    without figures where no uploads were measured yet.
    """
    rows = [
        {
            "band": set_name(row.dataset),
            "link": row.pk,
            "n": row.n,
            "accuracy": percent(row.accuracy),
            "interval": _share_span(row.accuracy, row.n),
        }
        for row in sorted(sets, key=lambda row: row.dataset != model_store.TEST_SET)
    ]
    if not any(row.dataset.startswith(datasets.MEASURED_NAME) for row in sets):
        rows.append({"band": _("Corrected photos (uploads)"), "n": 0, "accuracy": "–", "interval": "–"})
    return rows


def slice_rows(group: dict[str, Any]) -> list[dict[str, Any]]:
    """Bounds, n and accuracy of each quarter or band."""
    is_share = group["name"] == "confidence"
    return [
        {
            "band": f"{percent(row['low'], 0)} – {percent(row['high'], 0)}"
            if is_share
            else f"{decimal(row['low'], 1)} – {decimal(row['high'], 1)}",
            "n": row["n"],
            "accuracy": percent(row["share"]),
            "interval": interval(row),
            "value": row["share"] or 0,
        }
        for row in group["rows"]
    ]


def change_sentence(report: EvaluationReport, champion: EvaluationReport | None) -> str:
    """What changed against the champion; empty where there is nothing to hold it against."""
    if champion is None or champion.pk == report.pk:
        return ""
    try:
        return change(compare(report, champion), champion.model.name)
    except NotComparable:
        return ""


def shots(
    report: EvaluationReport, rows: Sequence[int], name: str = "sheet", has_images: bool | None = None
) -> Tiles | None:
    """The images of these rows from one sheet; None where no answers are kept.

    Args:
        name: of the sheet, once a page.
        has_images: are the set's images in the storage? Where not, the words are shown alone.
    """
    if not rows or not has_panels(report):
        return None
    if has_images is None:
        has_images = tiles.are_kept(report.dataset_sha256)
    side = report.figures["panels"]["tile"]
    width, height = tiles.sheet_size(len(rows), side)
    items = []
    for position, row in enumerate(rows):
        chosen = CLASS_NAMES[int(report.figures["predicted"][row])]
        try:
            confidence = percent(ten_probabilities(report, row)[0][1])
        except tiles.NotKept:
            return None
        items.append(
            Tile(
                row=row,
                x=position % 10 * side,
                y=position // 10 * side,
                true=CLASS_NAMES[int(report.figures["truth"][row])],
                predicted=chosen,
                confidence=confidence,
            )
        )
    source = urlencode({"set": report.pk, "i": ",".join(map(str, rows))}, safe=",") if has_images else ""
    return Tiles(name, source, width, height, side, items)


def examples(
    report: EvaluationReport, has_images: bool
) -> tuple[Tiles, list[tuple[Tile, list[tuple[str, float]]]]] | None:
    """One image a class with its ten probabilities, in the order of the classes."""
    rows = report.figures.get("panels", {}).get("examples", [])
    shown = shots(report, rows, "sheet-examples", has_images)
    if shown is None:
        return None
    made = []
    for tile in shown.items:
        chances = dict(ten_probabilities(report, tile.row))
        made.append((tile, [(name, chances[name]) for name in CLASS_NAMES]))
    return shown, made


def data_context(facts: dict[str, Any] | None) -> dict[str, Any] | None:
    """Counts, colours, samples and near-duplicates of the data."""
    if facts is None:
        return None
    shown = facts["duplicates"]["shown"]
    first = sum(facts["samples"])
    width, height = tiles.sheet_size(first + len(shown), 32)
    samples, position = [], 0
    for number, n in enumerate(facts["samples"]):
        places = [((position + i) % 10 * 32, (position + i) // 10 * 32) for i in range(n)]
        samples.append((CLASS_NAMES[number], places))
        position += n
    return {
        "counts": list(zip(CLASS_NAMES, facts["training"], facts["test"], strict=True)),
        "totals": (sum(facts["training"]), sum(facts["test"])),
        "channels": list(
            zip((_("red"), _("green"), _("blue")), facts["mean"], facts["deviation"], strict=True)
        ),
        "samples": samples,
        "width": width,
        "height": height,
        "duplicates": facts["duplicates"],
        "share": percent(facts["duplicates"]["n"] / max(sum(facts["test"]), 1)),
        "pairs": [
            {
                **pair,
                "x": (first + i) % 10 * 32,
                "y": (first + i) // 10 * 32,
                "true": CLASS_NAMES[pair["test_label"]],
                "training_true": CLASS_NAMES[pair["training_label"]],
                "test_x": i % 10 * 32,
                "test_y": i // 10 * 32,
            }
            for i, pair in enumerate(shown)
        ],
        "pair_query": ",".join(str(pair["test"]) for pair in shown),
        "pair_size": tiles.sheet_size(len(shown), 32),
    }


def other_versions(version: ModelVersion) -> list[ModelVersion]:
    """Versions that it can be held against, newest first."""
    rows = ModelVersion.objects.exclude(pk=version.pk).filter(reports__isnull=False).distinct()
    return list(rows.only("name", "is_champion")[:100])
