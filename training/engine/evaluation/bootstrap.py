"""95 % intervals of figures that no formula covers: the areas under curves, F1, calibration error.

The set is drawn again two hundred times, with replacement and a fixed seed; an interval is the
figure ± 1.96 deviations of the redrawn ones, cut to 0..1. Source: B. Efron and R. Tibshirani,
"An Introduction to the Bootstrap", 1993, chapter 13.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.engine.inference.calibration import BINS, wilson_interval

ROUNDS = 200
# Figures that differ by less are the same.
SAME = 1e-9
# Rounds whose areas are computed together: of 100,000 images each takes 5 MB.
AT_ONCE = 20

Floats = NDArray[np.floating[Any]]
Interval = list[float]


def redrawn(n: int) -> NDArray[np.float32]:
    """How often each of ``n`` images is drawn in each round: float32 [ROUNDS, n]."""
    rng = np.random.default_rng(0)
    return rng.multinomial(n, np.full(n, 1 / n), size=ROUNDS).astype(np.float32)


def interval(figure: float, redone: Floats, n: int = 0) -> Interval:
    """Around ``figure``, as wide as its redrawn values [ROUNDS] say; rounds without a value are left out.

    Args:
        n: how many images the figure stands on. Where all of them are right, they are so in each round: then
            the interval is that of a share of so many (Wilson's), else there would be no doubt at all.
    """
    known = redone[np.isfinite(redone)]
    if n and len(known) > 1 and np.ptp(known) < SAME:
        return [round(bound, 5) for bound in wilson_interval(round(figure * n), n)]
    half = 1.96 * float(known.std(ddof=1)) if len(known) > 1 else 1.0
    return [round(max(0.0, figure - half), 5), round(min(1.0, figure + half), 5)]


def areas(weights: Floats, scores: Floats, truth: NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """Area under the ROC curve and average precision in each round: two arrays [ROUNDS].

    Args:
        weights: as ``redrawn`` gives them; scores, truth: [N].
    """
    order = np.argsort(-scores, kind="stable")
    parts = [
        _areas(weights[start : start + AT_ONCE, order], truth[order])
        for start in range(0, len(weights), AT_ONCE)
    ]
    auroc, average = (np.concatenate(column) for column in zip(*parts, strict=True))
    return auroc, average


def _areas(weights: Floats, hit: NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """``areas`` of images in the order of their scores, the highest first."""
    drawn = weights.astype(np.float64)
    hits = np.cumsum(drawn * hit, axis=1)
    taken = np.cumsum(drawn, axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        # Of each negative drawn: the share of positives that stand before it.
        before = (hits * drawn * ~hit).sum(axis=1)
        auroc = before / (hits[:, -1] * (taken[:, -1] - hits[:, -1]))
        precision = np.where(taken > 0, hits / taken, 0)
        average = (precision * drawn * hit).sum(axis=1) / hits[:, -1]
    return auroc, average


def f1_scores(weights: Floats, labels: NDArray[Any], predicted: NDArray[Any], classes: int) -> Floats:
    """F1 of each of K classes in each round: [ROUNDS, K]; NaN where neither class nor answer occurs."""
    numbers = np.arange(classes)
    is_class, says_class = labels[:, None] == numbers, predicted[:, None] == numbers
    hits = weights @ (is_class & says_class).astype(np.float32)
    both = weights @ (is_class.astype(np.float32) + says_class)
    with np.errstate(divide="ignore", invalid="ignore"):
        scores: Floats = 2 * hits / both
    return scores


def calibration_errors(weights: Floats, probabilities: Floats, labels: NDArray[Any]) -> Floats:
    """The expected calibration error in each round: [ROUNDS]."""
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    band = np.minimum((confidence * BINS).astype(int), BINS - 1)
    apart = (right - confidence)[:, None] * (band[:, None] == np.arange(BINS))
    errors: Floats = np.abs(weights @ apart).sum(axis=1) / len(labels)
    return errors
