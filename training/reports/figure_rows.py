"""Figures of a report as rows: those on top, each set's, each slice's; with their intervals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.utils.translation import gettext as _

from cifarsite.core.numbers import decimal, percent, percent_span, span
from training.data import dataset_versions
from training.engine.inference.calibration import wilson_interval
from training.models import EvaluationReport
from training.registry import model_store
from training.reports.narrative import set_name


def _wilson(share: float, n: int) -> str:
    return percent_span(wilson_interval(round(share * n), n))


def headline(figures: dict[str, Any]) -> list[dict[str, Any]]:
    """The figures on top: name, value, interval, what it means."""
    panels = figures.get("panels", {})

    def bounds_of(key: str) -> str:
        bounds = panels.get(key)
        return span(bounds, 3) if bounds else ""

    top2 = panels.get("top2_interval")
    rows = [
        {
            "name": _("Accuracy"),
            "value": percent(figures["accuracy"], 2),
            "interval": percent_span(figures["interval"]),
            "help": _("The most probable class is the true class."),
        },
        {
            "name": _("Top 2"),
            "value": percent(figures["top2"], 2),
            "interval": percent_span(top2) if top2 else "",
            "help": _("The true class is among the two most probable classes."),
        },
        {
            "name": _("Log loss"),
            "value": decimal(figures["log_loss"], 3),
            "interval": bounds_of("log_loss_interval"),
            "help": _("In nats; lower is better. Penalises confident mistakes."),
        },
        {
            "name": _("Brier score"),
            "value": decimal(figures["brier"], 3),
            "interval": bounds_of("brier_interval"),
            "help": _("The squared error of the probabilities; lower is better."),
        },
    ]
    if "animals_or_vehicles" in figures:
        rows.append(
            {
                "name": _("Animal or vehicle"),
                "value": percent(figures["animals_or_vehicles"], 2),
                "interval": _wilson(figures["animals_or_vehicles"], figures["n"]),
                "help": _("The model confuses no animal with a vehicle, and no vehicle with an animal."),
            }
        )
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
            "interval": _wilson(row.accuracy, row.n),
        }
        for row in sorted(sets, key=lambda row: row.dataset != model_store.TEST_SET)
    ]
    if not any(row.dataset.startswith(dataset_versions.MEASURED_NAME) for row in sets):
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
            "interval": percent_span(row["interval"]),
            "value": row["share"] or 0,
        }
        for row in group["rows"]
    ]
