"""The table of classes and the confusion matrix of a report, sorted, folded and shaded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.utils.translation import gettext as _

from cifarsite.core.numbers import count, decimal, percent_span
from training.engine.data.cifar10 import CLASS_NAMES
from training.engine.inference.calibration import wilson_interval
from training.reports.narrative import confused_pairs

SORTS = ("name", "precision", "recall", "f1", "support")
SHADES = 8
# Classes that a matrix shows.
MOST_SHOWN = 20


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


def class_table(
    figures: dict[str, Any], sort: str, counts: Sequence[Sequence[int]] | None = None
) -> list[dict[str, Any]]:
    """Precision, recall, F1 and support of each class, with intervals, in the order asked for.

    Args:
        counts: see ``reports.confusion``; needed where the figures have no matrix.
    """
    rows = []
    counts = figures["confusion"] if counts is None else counts
    columns = [sum(column) for column in zip(*counts, strict=True)]
    f1 = figures.get("panels", {}).get("intervals", {}).get("f1")
    for number, row in enumerate(figures["classes"]):
        claimed, hits = columns[number], counts[number][number]
        rows.append(
            {
                **row,
                "recall_interval": percent_span(wilson_interval(hits, row["support"])),
                "precision_interval": percent_span(wilson_interval(hits, claimed)),
                "f1_interval": percent_span(f1[number]) if f1 else "",
            }
        )
    key = sort.removeprefix("-")
    if key in SORTS:
        rows.sort(key=lambda row: row[key], reverse=sort.startswith("-"))
    return rows


def shown_classes(counts: Sequence[Sequence[int]]) -> list[int]:
    """Numbers of the classes that a matrix shows: all, or of many those that are confused most."""
    if len(counts) <= MOST_SHOWN:
        return list(range(len(counts)))
    kept: set[int] = set()
    for a, b, _there, _back in confused_pairs([list(line) for line in counts]):
        if len(kept | {a, b}) <= MOST_SHOWN:
            kept |= {a, b}
    return sorted(kept)


def folded_note(counts: Sequence[Sequence[int]]) -> str:
    """What the matrix leaves out; empty where it shows all classes."""
    shown = shown_classes(counts)
    if len(shown) == len(counts):
        return ""
    wrong = sum(sum(line) - line[a] for a, line in enumerate(counts))
    if not wrong:
        return _("The model confuses none of the %(all)s classes.") % {"all": count(len(counts))}
    inside = sum(counts[a][b] for a in shown for b in shown if a != b)
    return _(
        "Of %(all)s classes, the %(shown)s that are confused most are shown: "
        "%(inside)s of %(wrong)s mistakes are among them."
    ) % {
        "all": count(len(counts)),
        "shown": count(len(shown)),
        "inside": count(inside),
        "wrong": count(wrong),
    }


def matrix(
    counts: Sequence[Sequence[int]], by: str = "count", names: Sequence[str] = CLASS_NAMES
) -> list[dict[str, Any]]:
    """Rows of cells with a shade from 0 to 8: the diagonal for itself, the mistakes for themselves.

    Of many classes see ``shown_classes``; shares are of all images of a class.
    """
    totals = [sum(line) for line in counts]
    shown = shown_classes(counts)
    worst = max(
        (counts[a][b] / (totals[a] or 1) for a in shown for b in shown if a != b),
        default=0,
    )
    rows = []
    for a in shown:
        cells = []
        for b in shown:
            cell = counts[a][b]
            part = cell / (totals[a] or 1)
            reach = part if a == b else part / (worst or 1)
            cells.append(
                {
                    "predicted": names[b],
                    "count": cell,
                    "text": (decimal(100 * part, 1) if by == "row" else count(cell)) if cell else "",
                    "shade": min(SHADES, -int(-reach * SHADES // 1)) if cell else 0,
                    "is_hit": a == b,
                }
            )
        rows.append({"true": names[a], "cells": cells, "total": totals[a]})
    return rows
