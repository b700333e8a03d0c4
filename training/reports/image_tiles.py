"""Images of a report: tiles from one sheet, examples with their probabilities, samples of the data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from django.utils.translation import gettext as _

from cifarsite.core.numbers import percent
from training.data import image_sheets
from training.engine.data.cifar10 import CLASS_NAMES
from training.evaluation.reports import class_names, has_panels, ranked_probabilities
from training.models import EvaluationReport

# Probabilities beside an example.
MOST_BARS = 10


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


def shots(
    report: EvaluationReport, rows: Sequence[int], name: str = "sheet", *, has_images: bool
) -> Tiles | None:
    """The images of these rows from one sheet; None where no answers are kept.

    Args:
        name: of the sheet, once a page.
        has_images: may the set's images be shown? Where not, the words are shown alone.
    """
    if not rows or not has_panels(report):
        return None
    side = report.figures["panels"]["tile"]
    width, height = image_sheets.sheet_size(len(rows), side)
    items, names = [], class_names(report)
    for position, row in enumerate(rows):
        chosen = names[int(report.figures["predicted"][row])]
        try:
            confidence = percent(ranked_probabilities(report, row)[0][1])
        except image_sheets.ArtifactMissing:
            return None
        items.append(
            Tile(
                row=row,
                x=position % 10 * side,
                y=position // 10 * side,
                true=names[int(report.figures["truth"][row])],
                predicted=chosen,
                confidence=confidence,
            )
        )
    source = urlencode({"set": report.pk, "i": ",".join(map(str, rows))}, safe=",") if has_images else ""
    return Tiles(name, source, width, height, side, items)


def examples(
    report: EvaluationReport, has_images: bool
) -> tuple[Tiles, list[tuple[Tile, list[tuple[str, float]]]]] | None:
    """One image a class with its probabilities, in the order of the classes; of many the highest ones."""
    rows = report.figures.get("panels", {}).get("examples", [])
    shown = shots(report, rows, "sheet-examples", has_images=has_images)
    if shown is None:
        return None
    made = []
    for tile in shown.items:
        ranked = ranked_probabilities(report, tile.row)
        if len(ranked) <= MOST_BARS:
            chances = dict(ranked)
            ranked = [(name, chances[name]) for name in class_names(report)]
        made.append((tile, ranked[:MOST_BARS]))
    return shown, made


def data_context(facts: dict[str, Any] | None) -> dict[str, Any] | None:
    """Counts, colours, samples and near-duplicates of the data."""
    if facts is None:
        return None
    shown = facts["duplicates"]["shown"]
    first = sum(facts["samples"])
    width, height = image_sheets.sheet_size(first + len(shown), 32)
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
        "pair_size": image_sheets.sheet_size(len(shown), 32),
    }
