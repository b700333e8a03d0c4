"""Classes as pages show them: name, text, colour and key, for any number of classes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from cifarsite.core.pages import colour_of
from classifier.models import NOT_SURE, UNKNOWN, class_title

# Up to so many classes a page shows all of them; of more, those that matter.
FEW_CLASSES = 20
# Rows of a table, and names in a sentence.
ROWS_SHOWN, NAMES_SHOWN = 50, 20
KEYS = "1234567890"


class Label(NamedTuple):
    """What a photo may be called.

    Attributes:
        name: as it is stored and sent.
        text: for people, in their language.
        colour: what stands behind ``of-``; empty for what is no class.
        key: on the keyboard; empty from the eleventh class on.
    """

    name: str
    text: str
    colour: str
    key: str


class Count(NamedTuple):
    """How many photos of a class there are; ``share`` of the largest count, 0 to 1."""

    name: str
    text: str
    colour: str
    photos: int
    share: float


def class_labels(classes: Sequence[str], project: str) -> list[Label]:
    """The classes, in their order."""
    return [
        Label(name, class_title(name, project), colour_of(place), KEYS[place] if place < len(KEYS) else "")
        for place, name in enumerate(classes)
    ]


def answers(classes: Sequence[str], project: str) -> list[Label]:
    """What a person can say is in a photo: a class, 'none of these', 'not sure'."""
    beside = [(UNKNOWN, "n"), (NOT_SURE, "u")]
    return class_labels(classes, project) + [
        Label(name, class_title(name, project), "", key) for name, key in beside
    ]


def with_found(classes: Sequence[str], found: Iterable[str]) -> list[str]:
    """The classes, and behind them those that are none any more but stand in answers."""
    return list(dict.fromkeys([*classes, *sorted(name for name in found if name and name != UNKNOWN)]))


def counted(classes: Sequence[str], counts: Mapping[str, int], project: str) -> list[Count]:
    """Classes with their counts: few of them in their order; of many, the most frequent, none of them 0."""
    most = max(counts.values(), default=0) or 1
    rows = [
        Count(name, class_title(name, project), colour_of(place), n, n / most)
        for place, name in enumerate(with_found(classes, counts))
        if (n := counts.get(name, 0)) or place < len(classes)
    ]
    if len(classes) > FEW_CLASSES:
        rows = sorted((row for row in rows if row.photos), key=lambda row: -row.photos)[:ROWS_SHOWN]
    if UNKNOWN in counts:
        n = counts[UNKNOWN]
        rows.append(Count(UNKNOWN, class_title(UNKNOWN, project), UNKNOWN, n, n / most))
    return rows


def in_words(names: Sequence[str]) -> str:
    """Names for a sentence: 'cat, dog, …' where there are many."""
    shown = [*names[:NAMES_SHOWN], "…"] if len(names) > NAMES_SHOWN else names
    return ", ".join(shown)
