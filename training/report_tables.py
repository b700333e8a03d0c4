"""What the page that compares two versions shows."""

from __future__ import annotations

from typing import Any

from django.utils.translation import gettext as _

from training.charts import decimal, percent
from training.comparison import changed_rows
from training.engine.data import CLASS_NAMES
from training.models import EvaluationReport
from training.report_page import SHADES, shots
from training.words import change, count, p_value, points

SHOWN = 40


def comparison_context(
    new: EvaluationReport, old: EvaluationReport, compared: dict[str, Any]
) -> dict[str, Any]:
    """Rows of figures, of classes, the matrix of differences, and images that changed."""
    changed = {}
    for kind in ("repaired", "broken"):
        rows = changed_rows(new, old, kind)
        changed[kind] = {"n": len(rows), "tiles": shots(new, rows[:SHOWN].tolist(), f"sheet-{kind}")}
    return {
        "compared": compared,
        "sentence": change(compared, old.model.name),
        "p": p_value(compared["p"]),
        "figures": figure_rows(new, old, compared),
        "classes": class_rows(new, old, compared),
        "matrix": difference_matrix(compared["matrix"]),
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

    def signed(value: float) -> str:
        return points(value, 2) if as_share else _signed(value)

    return {
        "name": name,
        "new": shown(mine),
        "old": shown(theirs),
        "difference": signed(apart),
        "interval": f"{signed(interval[0])} … {signed(interval[1])}" if interval else "",
        "verdict": ("better" if gain > 0 else "worse") if certain else "",
    }


def _signed(value: float) -> str:
    return f"{'+' if value > 0 else '−' if value < 0 else '±'}{decimal(abs(value), 4)}"


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
            "difference": "× " + decimal(values[0] / values[1], 2) if values[1] else "",
            "interval": "",
            "verdict": "",
        }
        for name, values, digits in rows
    ]


def class_rows(
    new: EvaluationReport, old: EvaluationReport, compared: dict[str, Any]
) -> list[dict[str, Any]]:
    """Recall of each class, the two values and their difference."""
    return [
        {
            "class_name": row["name"],
            "n": row["n"],
            **_row(row["name"], mine["recall"], theirs["recall"], row["interval"], as_share=True),
        }
        for row, mine, theirs in zip(
            compared["classes"], new.figures["classes"], old.figures["classes"], strict=True
        )
    ]


def difference_matrix(differences: list[list[int]]) -> list[dict[str, Any]]:
    """New counts minus old ones; more on the diagonal is good, more beside it is bad."""
    most = max((abs(cell) for line in differences for cell in line), default=0) or 1
    return [
        {
            "true": CLASS_NAMES[a],
            "cells": [
                {
                    "predicted": CLASS_NAMES[b],
                    "text": f"{'+' if cell > 0 else '−'}{count(abs(cell))}" if cell else "",
                    "shade": min(SHADES, -(-abs(cell) * SHADES // most)),
                    "is_hit": (cell > 0) == (a == b),
                }
                for b, cell in enumerate(line)
            ],
        }
        for a, line in enumerate(differences)
    ]
