"""What the page that compares two versions shows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from django.utils.translation import gettext as _

from cifarsite.core.numbers import count, decimal, percent, points, signed
from training.evaluation.comparison import changed_rows, joined_names
from training.models import EvaluationReport
from training.reports.class_tables import SHADES, shown_classes
from training.reports.image_tiles import shots
from training.reports.model_change import change, p_value
from training.reports.photo_sets import photos_compared

SHOWN = 40


def comparison_context(
    new: EvaluationReport, old: EvaluationReport, compared: dict[str, Any], *, has_images: bool
) -> dict[str, Any]:
    """Rows of figures, of classes, the matrix of differences, and images that changed."""
    changed = {}
    for kind in ("fixed", "regressed"):
        rows = changed_rows(new, old, kind)
        shown = shots(new, rows[:SHOWN].tolist(), f"sheet-{kind}", has_images=has_images)
        changed[kind] = {"n": len(rows), "tiles": shown}
    return {
        "compared": compared,
        "sentence": change(compared, old.model.name),
        "p": p_value(compared["p"]),
        "figures": figure_rows(new, old, compared),
        "classes": class_rows(new, old, compared),
        "photos": photos_compared(new.model, old.model),
        "matrix": difference_matrix(compared["matrix"], joined_names(new, old)),
        **changed,
    }


def figure_rows(
    new: EvaluationReport, old: EvaluationReport, compared: dict[str, Any]
) -> list[dict[str, Any]]:
    """Name, the two values, the difference with its interval, and which way is better."""
    losses = {row["name"]: row for row in compared["losses"]}
    accuracy, top2, error = compared["accuracy"], compared["top2"], compared["ece"]
    rows = [
        _row(_("Accuracy"), new.accuracy, old.accuracy, accuracy["interval"], as_share=True),
        _row(_("Top 2"), new.figures["top2"], old.figures["top2"], top2["interval"], as_share=True),
        _row(
            _("Log loss"),
            new.figures["log_loss"],
            old.figures["log_loss"],
            losses["log_loss"]["interval"],
        ),
        _row(_("Brier score"), new.figures["brier"], old.figures["brier"], losses["brier"]["interval"]),
        _row(_("Calibration error (ECE)"), new.figures["ece"], old.figures["ece"], error["interval"]),
    ]
    return [*rows, *_cost_rows(new, old)]


def _row(
    name: str, mine: float, theirs: float, interval: list[float] | None, *, as_share: bool = False
) -> dict[str, Any]:
    apart = mine - theirs
    gain = apart if as_share else -apart
    certain = interval is not None and (interval[0] > 0 or interval[1] < 0)

    def shown(value: float) -> str:
        return percent(value, 2) if as_share else decimal(value, 4)

    def with_sign(value: float) -> str:
        return points(value, 2) if as_share else signed(value, 4)

    return {
        "name": name,
        "new": shown(mine),
        "old": shown(theirs),
        "difference": with_sign(apart),
        "interval": f"{with_sign(interval[0])} … {with_sign(interval[1])}" if interval else "",
        "verdict": ("better" if gain > 0 else "worse") if certain else "",
    }


def _ratio(value: float) -> str:
    """Two decimals, or as many as two significant digits need: 1.25, 0.0034."""
    return decimal(value, 2 if value >= 0.1 or value <= 0 else 1 - math.floor(math.log10(value)))


def _cost_rows(new: EvaluationReport, old: EvaluationReport) -> list[dict[str, Any]]:
    rows = []
    speeds = [report.figures.get("panels", {}).get("speed") for report in (new, old)]
    if speeds[0] and speeds[1]:
        values = [1000 * speed["seconds"] for speed in speeds]
        rows.append((_("Time for one image (ms)"), values, 1))
    rows.append((_("Size of the file (MB)"), [report.model.size / 1e6 for report in (new, old)], 2))
    return [
        {
            "name": name,
            "new": decimal(values[0], digits),
            "old": decimal(values[1], digits),
            "difference": "× " + _ratio(values[0] / values[1]) if values[1] else "",
            "interval": "",
            "verdict": "",
        }
        for name, values, digits in rows
    ]


def class_rows(
    new: EvaluationReport, old: EvaluationReport, compared: dict[str, Any]
) -> list[dict[str, Any]]:
    """Recall of each class, the two values and their difference."""
    mine, theirs = (
        {row["name"]: row["recall"] for row in report.figures["classes"]} for report in (new, old)
    )
    # A class that one of the models does not know and the set has not is missing from its report.
    return [
        {
            "class_name": name,
            "n": row["n"],
            **_row(name, mine.get(name, 0.0), theirs.get(name, 0.0), row["interval"], as_share=True),
        }
        for row in compared["classes"]
        for name in (row["name"],)
    ]


def difference_matrix(differences: list[list[int]], names: Sequence[str]) -> list[dict[str, Any]]:
    """New counts minus old ones; more on the diagonal is good, more beside it is bad.

    Of many classes only those that changed most are shown, see ``shown_classes``.
    """
    shown = shown_classes([[abs(cell) for cell in line] for line in differences])
    most = max((abs(cell) for line in differences for cell in line), default=0) or 1
    return [
        {
            "true": names[a],
            "cells": [
                {
                    "predicted": names[b],
                    "text": f"{'+' if cell > 0 else '−'}{count(abs(cell))}" if cell else "",
                    "shade": min(SHADES, -(-abs(cell) * SHADES // most)),
                    "is_hit": (cell > 0) == (a == b),
                }
                for b in shown
                for cell in (differences[a][b],)
            ],
        }
        for a in shown
    ]
