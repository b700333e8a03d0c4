"""What a model is good for, and what not: sentences for the report, its page, its card and the API."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from django.utils.translation import gettext as _

from cifarsite.core.numbers import count, decimal, percent, percent_span
from training.reports.narrative import CORRUPTIONS, class_title
from training.reports.reliability_narrative import (
    LEAST_FOR_CALIBRATION,
    gap_rows,
    gap_sentences,
    is_of_project,
    kind_rows,
    scarce,
    synthetic_rows,
)

# From here on a figure speaks for a use, below it against it.
GOOD_ACCURACY, GOOD_AUROC, GOOD_CALIBRATION = 0.8, 0.9, 0.02
# Weak classes that are named; of more, those with the least recall.
MOST_NAMED = 10


def trust_context(card: dict[str, Any], figures: dict[str, Any]) -> dict[str, Any]:
    """What report, model page, model card and the page on verdicts say; ``figures``: of a report."""
    return {
        "gap": gap_sentences(card),
        "gap_rows": gap_rows(card),
        "kind_rows": kind_rows(card),
        "synthetic": synthetic_rows(card),
        "good_for": good_for(card, figures),
        "not_for": not_for(card, figures),
    }


def good_for(card: dict[str, Any], figures: dict[str, Any]) -> list[str]:
    """What the measurements speak for."""
    return [text for is_good, text in _uses(card, figures) if is_good]


def not_for(card: dict[str, Any], figures: dict[str, Any]) -> list[str]:
    """What they speak against, or say nothing about, and what no measurement could allow."""
    against = [text for is_good, text in _uses(card, figures) if not is_good]
    if is_of_project(card):
        other = _("Anything other than its %(n)s classes: the model has no others.") % {
            "n": count(len(card["classes"]))
        }
    else:
        other = _(
            "Anything other than the ten things: the model has no other classes. Its training "
            "images have 32 × 32 pixels and date from before 2009."
        )
    return [
        *against,
        *(scarce(card["photos"]) if "photos" in card else ()),
        other,
        _("Decisions about people or safety: the model was not evaluated for them."),
    ]


def _uses(card: dict[str, Any], figures: dict[str, Any]) -> Iterator[tuple[bool, str]]:
    if is_of_project(card):
        yield (
            figures["interval"][0] >= GOOD_ACCURACY,
            _("Images like those it was trained on: accuracy %(share)s (n = %(n)s; %(interval)s).")
            % {
                "share": percent(figures["accuracy"]),
                "n": count(figures["n"]),
                "interval": percent_span(figures["interval"]),
            },
        )
        yield from _weak_classes(figures)
        yield from _weak_images(figures)
        return
    yield (
        figures["accuracy"] >= GOOD_ACCURACY,
        _("Small images like CIFAR-10's: accuracy %(share)s (n = %(n)s).")
        % {"share": percent(figures["accuracy"]), "n": count(figures["n"])},
    )
    photos, test = card.get("photos"), card.get("test", {})
    if photos:
        yield (
            photos["interval"][0] >= GOOD_ACCURACY,
            _("Photos that show one of the ten things: accuracy %(share)s (n = %(n)s; %(interval)s).")
            % {
                "share": percent(photos["accuracy"]),
                "n": count(photos["n_ten"]),
                "interval": percent_span(photos["interval"]),
            },
        )
        yield (
            auroc_lower(photos["auroc"], photos["n_ten"], photos["n_other"]) >= GOOD_AUROC,
            _(
                "Detecting that a photo shows none of the ten: %(noticed)s of %(n)s such photos are "
                "detected (AUROC %(area)s)."
            )
            % {
                "noticed": count(photos["verdicts_other"]["unknown"]),
                "n": count(photos["n_other"]),
                "area": decimal(photos["auroc"], 3),
            },
        )
    else:
        yield False, _("Photos from phones and cameras: the model was not measured on photos.")
    if "ece" in test and test["n"] >= LEAST_FOR_CALIBRATION:
        yield (
            test["ece"] <= GOOD_CALIBRATION,
            _(
                "Relying on its confidence on small images: the calibration error is %(points)s "
                "points on average."
            )
            % {"points": decimal(100 * test["ece"], 1)},
        )
    if photos and photos["n_ten"] >= LEAST_FOR_CALIBRATION and "surprise_interval" in photos:
        low, high = photos["surprise_interval"]
        yield (
            low <= 0,
            _(
                "Relying on its confidence on photos: the log loss exceeds the predictions' entropy by "
                "%(low)s to %(high)s nats (n = %(n)s; 0 for a calibrated model)."
            )
            % {"low": decimal(low, 3), "high": decimal(high, 3), "n": count(photos["n_ten"])},
        )
    yield from _weak_classes(figures)
    yield from _weak_images(figures)


def _weak_classes(figures: dict[str, Any]) -> Iterator[tuple[bool, str]]:
    weak = [row for row in figures["classes"] if row["support"] and row["recall"] < GOOD_ACCURACY]
    named = sorted(weak, key=lambda row: row["recall"])[:MOST_NAMED] if len(weak) > MOST_NAMED else weak
    for row in named:
        yield (
            False,
            _("Finding every image of the class %(name)s: recall %(share)s (n = %(n)s).")
            % {
                "name": class_title(row["name"]),
                "share": percent(row["recall"]),
                "n": count(row["support"]),
            },
        )


def _weak_images(figures: dict[str, Any]) -> Iterator[tuple[bool, str]]:
    found = figures.get("panels", {}).get("robustness")
    if not found:
        return
    worst = min(found["rows"], key=lambda row: row["steps"][-1]["share"])
    yield (
        False,
        _(
            "Corrupted images: with the strongest '%(name)s', accuracy is %(share)s instead of %(clean)s "
            "(n = %(n)s)."
        )
        % {
            "n": count(found["n"]),
            "name": CORRUPTIONS[worst["name"]],
            "share": percent(worst["steps"][-1]["share"]),
            "clean": percent(found["clean"]["share"]),
        },
    )


def auroc_lower(area: float, own: int, foreign: int) -> float:
    """The lower end of an AUROC's 95 % interval (J. Hanley and B. McNeil, 1982)."""
    one, two = area / (2 - area), 2 * area * area / (1 + area)
    spread = area * (1 - area) + (own - 1) * (one - area * area) + (foreign - 1) * (two - area * area)
    return area - 1.96 * math.sqrt(max(spread, 0.0) / (own * foreign))
