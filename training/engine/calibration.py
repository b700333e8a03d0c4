"""Probabilities that mean what they say, measured on validation data.

Sources: C. Guo et al., "On Calibration of Modern Neural Networks", 2017 (temperature, ECE);
M. Sadinle et al., "Least Ambiguous Set-Valued Classifiers with Bounded Error Levels", 2019
(conformal sets).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]
BINS = 15


def softmax(logits: Floats, temperature: float = 1.0) -> NDArray[np.float64]:
    """Float [N, K] logits to float64 [N, K] probabilities."""
    scaled = logits.astype(np.float64) / temperature
    exponents = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    result: NDArray[np.float64] = exponents / exponents.sum(axis=1, keepdims=True)
    return result


def log_loss(probabilities: Floats, labels: NDArray[Any]) -> float:
    """Mean negative log-likelihood in nats."""
    right = probabilities[np.arange(len(labels)), labels]
    return float(-np.log(np.clip(right, 1e-12, 1)).mean())


def fit_temperature(logits: Floats, labels: NDArray[Any]) -> float:
    """The temperature in 0.05..20 with the least log loss, by golden-section search on its logarithm."""
    low, high = math.log(0.05), math.log(20)
    ratio = (math.sqrt(5) - 1) / 2

    def loss(log_temperature: float) -> float:
        return log_loss(softmax(logits, math.exp(log_temperature)), labels)

    a, b = high - ratio * (high - low), low + ratio * (high - low)
    loss_a, loss_b = loss(a), loss(b)
    while high - low > 1e-4:
        if loss_a < loss_b:
            high, b, loss_b = b, a, loss_a
            a = high - ratio * (high - low)
            loss_a = loss(a)
        else:
            low, a, loss_a = a, b, loss_b
            b = low + ratio * (high - low)
            loss_b = loss(b)
    return math.exp((low + high) / 2)


def reliability(probabilities: Floats, labels: NDArray[Any], bins: int = BINS) -> list[dict[str, float]]:
    """Confidence against accuracy in equal-width bins.

    Returns:
        For each bin that is not empty: ``low``, ``high``, ``n``, ``confidence``, ``accuracy``.
    """
    confidence = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == labels
    index = np.minimum((confidence * bins).astype(int), bins - 1)
    return [
        {
            "low": number / bins,
            "high": (number + 1) / bins,
            "n": int(inside.sum()),
            "confidence": float(confidence[inside].mean()),
            "accuracy": float(right[inside].mean()),
        }
        for number in range(bins)
        if (inside := index == number).any()
    ]


def expected_calibration_error(probabilities: Floats, labels: NDArray[Any], bins: int = BINS) -> float:
    """Mean distance between confidence and accuracy over the bins, weighed by their counts; 0..1."""
    return sum(
        row["n"] / len(labels) * abs(row["confidence"] - row["accuracy"])
        for row in reliability(probabilities, labels, bins)
    )


def conformal_threshold(probabilities: Floats, labels: NDArray[Any], coverage: float = 0.95) -> float:
    """The threshold for ``label_sets`` that makes sets hold the right label this often.

    Split conformal prediction: the floor((n + 1) * (1 - coverage))-th smallest probability of a
    right label, on data that the model was not trained on.
    """
    right = np.sort(probabilities[np.arange(len(labels)), labels])
    position = math.floor((len(labels) + 1) * (1 - coverage))
    return float(right[position - 1]) if position else 0.0


def label_sets(probabilities: Floats, threshold: float) -> NDArray[np.bool_]:
    """Bool [N, K]: the labels at least as probable as ``threshold``, and always the most probable one."""
    sets = probabilities >= threshold
    sets[np.arange(len(sets)), probabilities.argmax(axis=1)] = True
    return sets


def wilson_interval(right: int, n: int, z: float = 1.96) -> tuple[float, float]:
    """95 % interval of a share (E. B. Wilson, 1927)."""
    if n == 0:
        return 0.0, 1.0
    share = right / n
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    return max(0.0, centre - half), min(1.0, centre + half)
