"""An explanation in plain sentences, made of its figures."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
from django.utils.formats import number_format
from django.utils.translation import gettext as _
from django.utils.translation import pgettext

from classifier.heat import LEAST_SCALE
from classifier.models import CLASS_CHOICES, Explanation, Prediction

# The second label is looked at beside the first from this probability on, or where it is likely
# by the answer's own receipt.
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
        label: the class, and ``text`` its name in the reader's language.
        sentence: where on the photo, and how strongly.
        alternative: the same as alternative text of the heat map.
        votes: how many of the nearest training images show it.
    """

    label: str
    text: Any
    sentence: str
    alternative: str
    votes: int


def reasons(explanation: Explanation, prediction: Prediction) -> list[Reason]:
    """What speaks for the answer, and for the second label where the two are close."""
    shown = [name for name, _text, _probability in prediction.ranked[: 2 if is_close(prediction) else 1]]
    votes = Counter(row["label"] for row in explanation.nearest)
    names = dict(CLASS_CHOICES)
    found = []
    for label in shown:
        if label in explanation.maps:
            sentence = _where(str(names[label]), explanation.maps[label])
            alternative = _("Heat map of %(label)s.") % {"label": names[label]} + " " + sentence
            found.append(Reason(label, names[label], sentence, alternative, votes[label]))
    return found


def is_close(prediction: Prediction) -> bool:
    """Is there a second label that should be looked at?"""
    second, _text, probability = prediction.ranked[1]
    return probability >= CLOSE or second in prediction.receipt.get("labels", ())


def scale(explanation: Explanation) -> float:
    """The nats that get the full colour in the explanation's maps."""
    strongest = max((abs(v) for grid in explanation.maps.values() for row in grid for v in row), default=0.0)
    return max(strongest, LEAST_SCALE)


def factor(nats: float) -> str:
    """By what the odds are divided, in the reader's way: '3.2', '41', 'more than 1,000'."""
    if nats > math.log(1000):
        return _("more than %(number)s") % {"number": number_format(1000, force_grouping=True)}
    times = math.exp(nats)
    return number_format(times, 0 if times >= 20 else 1)


def comparison(found: list[Reason], explanation: Explanation) -> str:
    """For two close labels: what speaks for each, in one sentence; empty where only one is shown."""
    if len(found) != 2 or explanation.neighbours != Explanation.Neighbours.FOUND:
        return ""
    first, second = found
    return _(
        "Of the %(n)d nearest training images, %(first_votes)d show what is called %(first)s and "
        "%(second_votes)d what is called %(second)s."
    ) % {
        "n": len(explanation.nearest),
        "first_votes": first.votes,
        "first": first.text,
        "second_votes": second.votes,
        "second": second.text,
    }


def votes(explanation: Explanation) -> str:
    """What the nearest training images show: '8 × cat, 4 × dog'."""
    names = dict(CLASS_CHOICES)
    counts = Counter(row["label"] for row in explanation.nearest).most_common()
    return ", ".join(f"{count} × {names[label]}" for label, count in counts)


def nearness(explanation: Explanation) -> str:
    """How near the nearest training image is, against what is usual among training images."""
    if not explanation.nearest or not explanation.typical:
        return ""
    figures = {
        "likeness": number_format(explanation.nearest[0]["cosine"], 2),
        "typical": number_format(explanation.typical, 2),
    }
    if explanation.nearest[0]["cosine"] >= USUAL * explanation.typical:
        return (
            _(
                "The nearest is about as alike as training images are among themselves: likeness "
                "%(likeness)s of 1, usual is %(typical)s."
            )
            % figures
        )
    return (
        _(
            "Even the nearest is less alike than training images are among themselves: likeness "
            "%(likeness)s of 1, usual is %(typical)s. The model has seen little like this."
        )
        % figures
    )


def _where(label: str, grid: list[list[float]]) -> str:
    values = np.asarray(grid)
    peak = float(values.max())
    if peak < WEAK:
        return _(
            "No single spot decides: covering any one divides the odds of %(label)s by %(factor)s at most."
        ) % {"label": label, "factor": factor(max(peak, 0.0))}
    return _(
        "What speaks most for %(label)s lies %(place)s: with that spot covered its odds are divided by "
        "%(factor)s."
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
