"""Probabilities that mean what they say, measured on validation data.

Sources: C. Guo et al., "On Calibration of Modern Neural Networks", 2017 (temperature, ECE);
M. Kull et al., "Beta calibration", 2017 (three numbers that bend the confidence);
M. Sadinle et al., "Least Ambiguous Set-Valued Classifiers with Bounded Error Levels", 2019
(conformal sets).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating[Any]]
BINS = 15
# Of fewer images, sets that hold the right label of 95 % on average hold every label.
SETS_FROM = 14


def softmax(logits: Floats, temperature: float = 1.0) -> NDArray[np.float64]:
    """Float [N, K] logits to float64 [N, K] probabilities."""
    scaled = logits.astype(np.float64) / temperature
    exponents = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    result: NDArray[np.float64] = exponents / exponents.sum(axis=1, keepdims=True)
    return result


def log_loss(probabilities: Floats, labels: NDArray[Any]) -> float:
    """Mean negative log-likelihood in nats."""
    return float(losses(probabilities, labels).mean())


def losses(probabilities: Floats, labels: NDArray[Any]) -> NDArray[np.float64]:
    """Each image's negative log-likelihood in nats."""
    right = probabilities[np.arange(len(labels)), labels]
    return np.asarray(-np.log(np.clip(right, 1e-12, 1)), np.float64)


def surprise(probabilities: Floats, labels: NDArray[Any]) -> NDArray[np.float64]:
    """Each image's loss beyond what its probabilities say to expect, in nats.

    The mean is 0 where they mean what they say, above 0 where they are too sure.
    """
    expected = -(probabilities * np.log(np.clip(probabilities, 1e-12, 1))).sum(axis=1)
    return np.asarray(losses(probabilities, labels) - expected)


def mean_interval(values: Floats) -> list[float]:
    """The normal 95 % interval of a mean; of one value, the value twice."""
    mean = float(values.mean())
    half = 1.96 * float(values.std(ddof=1)) / len(values) ** 0.5 if len(values) > 1 else 0.0
    return [round(mean - half, 5), round(mean + half, 5)]


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


@dataclass(frozen=True)
class Calibration:
    """From logits to probabilities: a temperature, then a bend of the highest probability.

    A confidence p becomes 1 / (1 + exp(-(a * log(p) - b * log(1 - p) + c))) (beta calibration); the other
    classes share the rest as before. The order of the labels stays: the highest never falls below
    the second.

    Attributes:
        temperature: divides the logits.
        a, b, c: of the bend; 1, 1 and 0 leave the confidence as it is.
    """

    temperature: float = 1.0
    a: float = 1.0
    b: float = 1.0
    c: float = 0.0

    @classmethod
    def fit(cls, logits: Floats, labels: NDArray[Any]) -> Calibration:
        """The temperature with the least log loss, then the bend that fits how often the highest is right.

        Four numbers, fitted on images that the model was not trained on: float [N, K] logits, labels [N].
        """
        temperature = fit_temperature(logits, labels)
        probabilities = softmax(logits, temperature)
        right = probabilities.argmax(axis=1) == labels
        return cls(temperature, *_fit_bend(probabilities.max(axis=1), right))

    def probabilities(self, logits: Floats) -> NDArray[np.float64]:
        """Float [N, K] logits to float64 [N, K] probabilities, each row adding up to 1."""
        plain = softmax(logits, self.temperature)
        if (self.a, self.b, self.c) == (1.0, 1.0, 0.0):
            return plain
        best = plain.argmax(axis=1)
        rows = np.arange(len(plain))
        confidence = plain[rows, best]
        rest = np.maximum(1 - confidence, TINY)
        second = np.partition(plain, -2, axis=1)[:, -2]
        # Where the second, blown up with the rest, would reach the highest, both become equal but for a hair.
        lowest = second / (second + rest) * (1 + 1e-9)
        bent = np.maximum(self._bent(confidence), lowest)
        made = plain * ((1 - bent) / rest)[:, None]
        made[rows, best] = bent
        result: NDArray[np.float64] = made / made.sum(axis=1, keepdims=True)
        return result

    def settings(self) -> dict[str, float]:
        """By the names that cards and the API have for a, b and c."""
        return {"temperature": self.temperature, "rise": self.a, "fall": self.b, "shift": self.c}

    @property
    def turn(self) -> float:
        """Below this confidence the bend is a straight line: an a below 0 would lift the lowest again."""
        return self.a / (self.a - self.b) if self.a < 0 else 0.0

    def _bent(self, confidence: Floats) -> Floats:
        kept = np.maximum(confidence, self.turn)
        odds = _bend_inputs(kept) @ np.array([self.a, self.b, self.c])
        bent: Floats = confidence / np.maximum(kept, TINY) / (1 + np.exp(-odds))
        return bent


TINY = 1e-9


def _bend_inputs(confidence: Floats) -> NDArray[np.float64]:
    kept = np.clip(confidence.astype(np.float64), TINY, 1 - TINY)
    return np.stack([np.log(kept), -np.log(1 - kept), np.ones_like(kept)], axis=1)


def _fit_bend(confidence: Floats, right: NDArray[np.bool_]) -> tuple[float, float, float]:
    """Logistic regression by Newton's method.

    No bend where nothing can be learned (all answers are right, or all wrong), or where the surest
    answers would become the least sure.
    """
    if right.all() or not right.any():
        return 1.0, 1.0, 0.0
    a, b, c = (float(weight) for weight in _logistic(_bend_inputs(confidence), right))
    return (a, b, c) if b > 0 else (1.0, 1.0, 0.0)


def _logistic(inputs: NDArray[np.float64], right: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Weights with the least log loss; a trace of ridge draws a small sample towards no bend."""
    plain, ridge = np.array([1.0, 1.0, 0.0]), 0.05
    weights = plain
    for _step in range(100):
        chance = 1 / (1 + np.exp(-inputs @ weights))
        slope = inputs.T @ (chance - right) + ridge * (weights - plain)
        curvature = inputs.T @ (inputs * (chance * (1 - chance))[:, None]) + ridge * np.eye(len(plain))
        step = np.linalg.solve(curvature, slope)
        weights = weights - step / max(1.0, float(np.abs(step).max()))
        if np.abs(step).max() < 1e-8:
            break
    return weights


def held_out_probabilities(logits: Floats, labels: NDArray[Any], folds: int = 5) -> NDArray[np.float64]:
    """Float64 [N, K]: each image calibrated by a fit on the other folds, so that no image judges itself."""
    fold = np.arange(len(labels)) % folds
    made = np.zeros(logits.shape, np.float64)
    for number in range(folds):
        inside = fold == number
        made[inside] = Calibration.fit(logits[~inside], labels[~inside]).probabilities(logits[inside])
    return made


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


def conformal_threshold(
    probabilities: Floats, labels: NDArray[Any], coverage: float = 0.95, certainty: float = 0.95
) -> float:
    """The threshold for ``label_sets`` that makes sets hold the right label at least this often.

    Split conformal prediction: the k-th smallest probability of a right label, on data that the model
    was not trained on. Of all drawings of such data the share ``certainty`` gives a threshold that
    keeps the promise (V. Vovk, "Conditional validity of inductive conformal predictors", 2012): k is
    the largest number with which a binomial draw of n images falls short often enough.
    """
    from scipy.stats import binom

    right = np.sort(probabilities[np.arange(len(labels)), labels])
    position = int(binom.ppf(1 - certainty, len(labels), 1 - coverage))
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
