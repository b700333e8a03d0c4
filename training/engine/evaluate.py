"""What a model gets right and wrong on a set of labelled images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.engine import calibration
from training.engine.calibration import Calibration
from training.engine.data import CLASS_NAMES
from training.engine.predictor import Predictor
from training.engine.preprocessing import make_inputs
from training.engine.verdict import oddness

CHUNK = 1_000
ANIMALS = tuple(CLASS_NAMES.index(n) for n in ("bird", "cat", "deer", "dog", "frog", "horse"))


@dataclass(frozen=True)
class Seen:
    """What a model made of images, before any calibration; one row an image.

    Attributes:
        features: float32 [N, D]; logits: float32 [N, 10].
        oddness: float64 [N], of the inputs, see ``training.engine.verdict``.
    """

    features: NDArray[np.float32]
    logits: NDArray[np.float32]
    oddness: NDArray[np.float64]


def evaluate(predictor: Predictor, images: NDArray[np.uint8], labels: NDArray[Any]) -> dict[str, Any]:
    """Figures of a model on a set, JSON-able.

    Args:
        images: uint8 [N, H, W, 3] at the model's input size; labels: [N] in 0..9.

    Returns:
        See ``figures``.
    """
    _, logits = predictor.forward(images)
    return figures(logits, labels, predictor.judge.calibration)


def see(
    predictor: Predictor, images: NDArray[np.uint8] | Sequence[NDArray[np.uint8]], preprocessing: str
) -> Seen:
    """Run images of any size through the model, in chunks to bound memory."""
    parts = []
    for start in range(0, len(images), CHUNK):
        inputs = make_inputs(images[start : start + CHUNK], preprocessing)
        parts.append((*predictor.forward(inputs), oddness(inputs)))
    features, logits, odd = (np.concatenate(column) for column in zip(*parts, strict=True))
    return Seen(features, logits, odd)


def forward(
    predictor: Predictor, images: NDArray[np.uint8] | Sequence[NDArray[np.uint8]], preprocessing: str
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Features [N, D] and logits [N, 10] of images of any size."""
    seen = see(predictor, images, preprocessing)
    return seen.features, seen.logits


def figures(logits: NDArray[Any], labels: NDArray[Any], fitted: Calibration) -> dict[str, Any]:
    """All figures that follow from logits float [N, 10] and labels [N].

    Shares go from 0 to 1, losses are in nats, ``interval`` is the 95 % Wilson interval; 'before' is the
    plain softmax.
    """
    labels = labels.astype(int)
    probabilities = fitted.probabilities(logits)
    before = calibration.softmax(logits)
    predicted = probabilities.argmax(axis=1)
    right = predicted == labels
    matrix = np.zeros((len(CLASS_NAMES), len(CLASS_NAMES)), int)
    np.add.at(matrix, (labels, predicted), 1)
    second = np.argsort(-probabilities, axis=1)[:, :2]
    truth = np.eye(len(CLASS_NAMES))[labels]
    animal, predicted_animal = np.isin(labels, ANIMALS), np.isin(predicted, ANIMALS)
    return {
        "n": len(labels),
        "accuracy": float(right.mean()),
        "interval": calibration.wilson_interval(int(right.sum()), len(labels)),
        "top2": float((second == labels[:, None]).any(axis=1).mean()),
        "log_loss": calibration.log_loss(probabilities, labels),
        "brier": float(((probabilities - truth) ** 2).sum(axis=1).mean()),
        "ece": calibration.expected_calibration_error(probabilities, labels),
        "ece_before": calibration.expected_calibration_error(before, labels),
        "reliability": calibration.reliability(probabilities, labels),
        "reliability_before": calibration.reliability(before, labels),
        # One digit an image: what the gate pairs and the comparison shows.
        "truth": "".join(map(str, labels)),
        "predicted": "".join(map(str, predicted)),
        "confusion": matrix.tolist(),
        "classes": _per_class(matrix),
        "animals_or_vehicles": float((animal == predicted_animal).mean()),
    }


def _per_class(matrix: NDArray[Any]) -> list[dict[str, Any]]:
    rows = []
    for number, name in enumerate(CLASS_NAMES):
        hits = int(matrix[number, number])
        support, claimed = int(matrix[number].sum()), int(matrix[:, number].sum())
        precision = hits / claimed if claimed else 0.0
        recall = hits / support if support else 0.0
        both = precision + recall
        rows.append(
            {
                "name": name,
                "precision": precision,
                "recall": recall,
                "f1": 2 * precision * recall / both if both else 0.0,
                "support": support,
            }
        )
    return rows
