"""Would more images help, and of which class? Heads fitted to parts of the training images."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.engine.inference.calibration import wilson_interval
from training.engine.transfer.head import FOLDS, Examples, cross_validated, fit, folds, part_of

SHARES = (0.25, 0.5, 0.75, 1.0)
# Up to so many training images each is judged by a head without it; beyond, the validation images are.
CROSS_VALIDATED_UP_TO = 3_000
# Classes that are named.
NAMED = 3

Bools = NDArray[np.bool_]


def learning_curve(
    training: Examples,
    validation: Examples,
    classes: tuple[str, ...],
    strength: float,
    seed: int,
    progress: Callable[[int, int], None] = lambda done, total: None,
    *,
    may_cross: bool = True,
) -> dict[str, Any]:
    """Accuracy by how many of the training images a head is fitted to, JSON-able.

    Args:
        may_cross: False where the features were learned from the training images: then the validation images
            are judged.

    Returns:
        ``judged_on`` ('cross-validation' or 'validation'), ``n`` images that are judged, ``steps`` with
        ``share``, ``images``, ``accuracy`` and its 95 % ``interval``; ``gain`` from half to all of the images
        with its paired 95 % ``interval``; ``helps``: does that lie above 0; ``classes``: those that most
        need images, with ``name``, ``images``, ``recall`` and ``n``.
    """
    few = len(training.labels) <= CROSS_VALIDATED_UP_TO or not len(validation.labels)
    crossed = few and may_cross
    judged = training if crossed else validation
    right: dict[float, Bools] = {}
    for number, share in enumerate(SHARES):
        if crossed:
            logits = cross_validated(training, strength, seed, share)
        else:
            kept = part_of(training.labels, share, seed)
            logits = fit(training.part(kept), strength).logits(validation.plain())
        right[share] = logits.argmax(axis=1) == judged.labels
        progress(number + 1, len(SHARES))
    n = len(judged.labels)
    steps = [
        {
            "share": share,
            "images": _fitted_to(training.labels, share, seed, crossed),
            "accuracy": round(float(hits.mean()), 5),
            "interval": [round(bound, 5) for bound in wilson_interval(int(hits.sum()), n)],
        }
        for share, hits in right.items()
    ]
    gain = _paired(right[1.0], right[0.5])
    return {
        "judged_on": "cross-validation" if crossed else "validation",
        "n": n,
        "steps": steps,
        "gain": gain,
        "helps": gain["interval"][0] > 0,
        "classes": _weakest(right[1.0], judged, training, classes),
    }


def _fitted_to(labels: NDArray[Any], share: float, seed: int, crossed: bool) -> int:
    """How many images a head is fitted to; cross-validated, in the mean of the folds. Of each class it is one
    at least, so of few images a quarter is more than that."""
    if not crossed:
        return len(part_of(labels, share, seed))
    fold = folds(labels, seed)
    parts = [labels[fold != number] for number in range(FOLDS)]
    return round(sum(len(part_of(part, share, seed)) for part in parts) / FOLDS)


def _paired(now: Bools, before: Bools) -> dict[str, Any]:
    """The gain and its interval, with half an image more of each kind: else six images, all of them right
    both times, would prove that nothing can be gained. Source: A. Agresti and Y. Min, "Simple improved
    confidence intervals for comparing matched proportions", 2005.
    """
    n, gained, lost = len(now), int((now & ~before).sum()), int((before & ~now).sum())
    middle = (gained - lost) / (n + 2)
    half = 1.96 * (gained + lost + 1 - (gained - lost) ** 2 / (n + 2)) ** 0.5 / (n + 2)
    return {
        "difference": round((gained - lost) / n, 5),
        "interval": [round(max(middle - half, -1), 5), round(min(middle + half, 1), 5)],
    }


def _weakest(
    right: Bools, judged: Examples, training: Examples, classes: tuple[str, ...]
) -> list[dict[str, Any]]:
    """The classes whose recall is lowest, as far as the images tell: at its interval's upper end."""
    counts = np.bincount(training.labels, minlength=len(classes))
    rows = []
    for number, name in enumerate(classes):
        of_class = judged.labels == number
        n, hits = int(of_class.sum()), int(right[of_class].sum())
        if n and hits < n:
            row = {"name": name, "images": int(counts[number]), "recall": round(hits / n, 5), "n": n}
            rows.append((wilson_interval(hits, n)[1], row))
    return [row for _, row in sorted(rows, key=lambda pair: pair[0])[:NAMED]]
