"""An explanation in plain sentences, made of its figures."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass

import numpy as np
from django.utils.translation import gettext as _
from django.utils.translation import pgettext

from cifarsite.core.numbers import count, decimal
from classifier.images.heatmap import LEAST_SCALE
from classifier.models import Explanation, Prediction, class_title

# The second label is looked at beside the first from this probability on, or where it is likely
# by the answer's own provenance.
CLOSE = 0.1
# Nats: a factor of 1.28. Weaker spots decide nothing.
WEAK = 0.25
# By how much the nearest image may be less alike than usual, and still be called near. Of 46 photos
# set apart for choosing, with photo_net: one in ten of those of the ten things falls below, and four
# in five of those of other things.
USUAL = 0.9


@dataclass(frozen=True)
class Reason:
    """What speaks for one label.

    Attributes:
        label: the class, and ``text`` its name in the reader's language; ``number`` its place among the
            model's classes, ``colour`` its colour.
        sentence: where on the photo, and how strongly.
        alternative: the same as alternative text of the heat map.
        votes: how many of the nearest training images show it.
    """

    label: str
    text: str
    number: int
    colour: str
    sentence: str
    alternative: str
    votes: int


def reasons(explanation: Explanation, prediction: Prediction) -> list[Reason]:
    """What speaks for the answer, and for the second label where the two are close."""
    shown = prediction.ranked[: 2 if is_close(prediction) else 1]
    votes = Counter(row["label"] for row in explanation.nearest)
    found = []
    for row in shown:
        if row.name in explanation.maps:
            sentence = _where(row.text, explanation.maps[row.name])
            alternative = _("Heat map of %(label)s.") % {"label": row.text} + " " + sentence
            number = prediction.classes.index(row.name)
            found.append(
                Reason(row.name, row.text, number, row.colour, sentence, alternative, votes[row.name])
            )
    return found


def is_close(prediction: Prediction) -> bool:
    """Is there a second label that should be looked at?"""
    second = prediction.ranked[1]
    return second.probability >= CLOSE or second.name in prediction.provenance.get("labels", ())


def scale(explanation: Explanation) -> float:
    """The nats that get the full colour in the explanation's maps."""
    strongest = max((abs(v) for grid in explanation.maps.values() for row in grid for v in row), default=0.0)
    return max(strongest, LEAST_SCALE)


def factor(nats: float) -> str:
    """By what the odds are divided, in the reader's way: '3.2', '41', 'more than 1,000'."""
    if nats > math.log(1000):
        return _("more than %(number)s") % {"number": count(1000)}
    times = math.exp(nats)
    return decimal(times, 0 if times >= 20 else 1)


def comparison(found: list[Reason], explanation: Explanation) -> str:
    """For two close labels: what speaks for each, in one sentence; empty where only one is shown."""
    if len(found) != 2 or explanation.neighbours != Explanation.Neighbours.FOUND:
        return ""
    first, second = found
    return _(
        "Of the %(n)d nearest training images, %(first_votes)d are labelled %(first)s and "
        "%(second_votes)d are labelled %(second)s."
    ) % {
        "n": len(explanation.nearest),
        "first_votes": first.votes,
        "first": first.text,
        "second_votes": second.votes,
        "second": second.text,
    }


def votes(explanation: Explanation) -> str:
    """What the nearest training images show: '8 × cat, 4 × dog'."""
    counts = Counter(row["label"] for row in explanation.nearest).most_common()
    return ", ".join(f"{count} × {class_title(label)}" for label, count in counts)


def nearness(explanation: Explanation) -> str:
    """How near the nearest training image is, against what is usual among training images."""
    if not explanation.nearest or not explanation.typical:
        return ""
    figures = {
        "likeness": decimal(explanation.nearest[0]["cosine"], 2),
        "typical": decimal(explanation.typical, 2),
    }
    if explanation.nearest[0]["cosine"] >= USUAL * explanation.typical:
        return (
            _(
                "The nearest training image is about as similar to this photo as training images are "
                "to each other: similarity %(likeness)s of 1, typical %(typical)s."
            )
            % figures
        )
    return (
        _(
            "Even the nearest training image is less similar to this photo than training images "
            "are to each other: similarity %(likeness)s of 1, typical %(typical)s. The model was "
            "trained on few images like this one."
        )
        % figures
    )


def _where(label: str, grid: list[list[float]]) -> str:
    values = np.asarray(grid)
    peak = float(values.max())
    if peak < WEAK:
        return _(
            "No single region decides: covering any region divides the odds of %(label)s by at "
            "most %(factor)s."
        ) % {"label": label, "factor": factor(max(peak, 0.0))}
    return _(
        "The region that supports %(label)s most is %(place)s: covering it divides the odds by %(factor)s."
    ) % {"label": label, "place": _place(values), "factor": factor(peak)}


def _place(values: np.ndarray) -> str:
    """In which ninth of the picture the strongest spot lies."""
    row, column = np.unravel_index(int(values.argmax()), values.shape)
    third_down = 3 * int(row) // values.shape[0]
    third_across = 3 * int(column) // values.shape[1]
    places = [
        pgettext("it lies", "in the upper left"),
        pgettext("it lies", "at the top"),
        pgettext("it lies", "in the upper right"),
        pgettext("it lies", "on the left"),
        pgettext("it lies", "in the middle"),
        pgettext("it lies", "on the right"),
        pgettext("it lies", "in the lower left"),
        pgettext("it lies", "at the bottom"),
        pgettext("it lies", "in the lower right"),
    ]
    return str(places[3 * third_down + third_across])
