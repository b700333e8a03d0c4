"""What a model gets right and wrong on a set of labelled images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.engine.data.cifar10 import CLASS_NAMES, Cifar10, animals_among, held_out_rows
from training.engine.data.class_numbers import packed
from training.engine.data.labelled_images import TEST, VALIDATION, LabelledImages
from training.engine.data.preprocessing import make_inputs
from training.engine.inference import calibration
from training.engine.inference.calibration import Calibration
from training.engine.inference.predictor import Predictor
from training.engine.inference.verdict import ood_penalty

CHUNK = 1_000
# Of more classes than this the matrix of confusions is not kept: it follows from truth and answers.
MOST_IN_MATRIX = 100
# Of a class that a model does not know: no calibration makes anything of it.
NEVER = -1e4


@dataclass(frozen=True)
class ModelOutputs:
    """What a model made of images, before any calibration; one row an image.

    Attributes:
        features: float32 [N, D]; logits: float32 [N, K].
        ood_penalty: float64 [N], of the inputs, see ``training.engine.inference.verdict``.
    """

    features: NDArray[np.float32]
    logits: NDArray[np.float32]
    ood_penalty: NDArray[np.float64]


def evaluate(predictor: Predictor, images: NDArray[np.uint8], labels: NDArray[Any]) -> dict[str, Any]:
    """Figures of a model on a set, JSON-able.

    Args:
        images: uint8 [N, H, W, 3] at the model's input size; labels: [N] in 0..K-1.

    Returns:
        See ``figures``.
    """
    _, logits = predictor.forward(images)
    return figures(logits, labels, predictor.judge.calibration, predictor.classes)


def run_model(
    predictor: Predictor, images: NDArray[np.uint8] | Sequence[NDArray[np.uint8]], preprocessing: str
) -> ModelOutputs:
    """Run images of any size through the model, in chunks to bound memory."""
    parts = []
    for start in range(0, len(images), CHUNK):
        inputs = make_inputs(images[start : start + CHUNK], preprocessing)
        parts.append((*predictor.forward(inputs), ood_penalty(inputs)))
    features, logits, odd = (np.concatenate(column) for column in zip(*parts, strict=True))
    return ModelOutputs(features, logits, odd)


def forward(
    predictor: Predictor, images: NDArray[np.uint8] | Sequence[NDArray[np.uint8]], preprocessing: str
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Features [N, D] and logits [N, K] of images of any size."""
    seen = run_model(predictor, images, preprocessing)
    return seen.features, seen.logits


def joined_classes(wanted: Sequence[str], known: Sequence[str]) -> tuple[str, ...]:
    """The classes of a set, then those that only the model knows: what its answers are measured in."""
    return (*wanted, *(name for name in known if name not in set(wanted)))


def aligned(logits: NDArray[Any], known: Sequence[str], wanted: Sequence[str]) -> NDArray[Any]:
    """Logits float [N, K] of the ``known`` classes in the order of ``wanted``, which has all of them.

    A class that the model does not know gets a logit that never wins.
    """
    if tuple(known) == tuple(wanted):
        return logits
    places = {name: place for place, name in enumerate(wanted)}
    made = np.full((len(logits), len(wanted)), NEVER, logits.dtype)
    made[:, [places[name] for name in known]] = logits
    return made


def figures(
    logits: NDArray[Any], labels: NDArray[Any], fitted: Calibration, classes: Sequence[str] = CLASS_NAMES
) -> dict[str, Any]:
    """All figures that follow from logits float [N, K] and labels [N] of K classes.

    Shares go from 0 to 1, losses are in nats, ``interval`` is the 95 % Wilson interval; 'before' is the
    plain softmax.
    """
    labels = labels.astype(int)
    probabilities = fitted.probabilities(logits)
    before = calibration.softmax(logits)
    predicted = probabilities.argmax(axis=1)
    right = predicted == labels
    matrix = confusion(labels, predicted, len(classes))
    second = np.argsort(-probabilities, axis=1)[:, :2]
    found = {
        "n": len(labels),
        "accuracy": float(right.mean()),
        "interval": calibration.wilson_interval(int(right.sum()), len(labels)),
        "top2": float((second == labels[:, None]).any(axis=1).mean()),
        "log_loss": calibration.log_loss(probabilities, labels),
        "brier": float(briers(probabilities, labels).mean()),
        "ece": calibration.expected_calibration_error(probabilities, labels),
        "ece_before": calibration.expected_calibration_error(before, labels),
        "reliability": calibration.reliability(probabilities, labels),
        "reliability_before": calibration.reliability(before, labels),
        # What the gate pairs and the comparison shows.
        "truth": packed(labels, len(classes)),
        "predicted": packed(predicted, len(classes)),
        "classes": _per_class(matrix, classes),
    }
    if len(classes) <= MOST_IN_MATRIX:
        found["confusion"] = matrix.tolist()
    if animals := animals_among(classes):
        same = np.isin(labels, animals) == np.isin(predicted, animals)
        found["animals_or_vehicles"] = float(same.mean())
    return found


def confusion(labels: NDArray[Any], predicted: NDArray[Any], classes: int) -> NDArray[np.int64]:
    """How often each class (rows) was taken for each (columns): int64 [K, K]."""
    matrix = np.zeros((classes, classes), np.int64)
    np.add.at(matrix, (labels, predicted), 1)
    return matrix


def briers(probabilities: NDArray[Any], labels: NDArray[Any]) -> NDArray[np.float64]:
    """Each image's squared error of all its probabilities: float64 [N]."""
    right = probabilities[np.arange(len(labels)), labels]
    return np.asarray((probabilities**2).sum(axis=1) - 2 * right + 1, np.float64)


def held_out_answers(predictor: Predictor, cifar: Cifar10, preprocessing: str) -> dict[str, Any]:
    """What the gate holds models against each other by: answers to images that no recipe learns from.

    Returns:
        ``sha256`` of the data, ``n``, ``truth`` and ``predicted`` (see ``class_numbers``), ``ece``.
    """
    rows = held_out_rows(cifar.y_train)
    _, logits = forward(predictor, cifar.x_train[rows], preprocessing)
    found = figures(logits, cifar.y_train[rows], predictor.judge.calibration, predictor.classes)
    return {"sha256": cifar.sha256, **{key: found[key] for key in ("n", "truth", "predicted", "ece")}}


def held_out_of(
    predictor: Predictor, images: LabelledImages, preprocessing: str, logits: NDArray[Any] | None = None
) -> dict[str, Any]:
    """What the gate holds models of a project against each other by: answers to the validation and test
    images, from which no model learns.

    Args:
        logits: [M, K] of the model's classes for these images in their order, where somebody asked already.

    Returns:
        ``sha256`` of the images, ``n``, ``classes`` of the images, ``truth`` and ``predicted`` as lists of
        their numbers, -1 for an answer that is none of them, ``ece``, and ``surprise_interval`` (see
        ``calibration.surprise``).
    """
    rows = images.rows(VALIDATION, TEST)
    found: dict[str, Any] = {
        "sha256": images.sha256(rows),
        "n": len(rows),
        "classes": list(images.classes),
        "truth": images.labels[rows].tolist(),
        "predicted": [],
        "ece": 0.0,
        "surprise_interval": [0.0, 0.0],
    }
    if not len(rows):
        return found
    if logits is None:
        _, logits = forward(predictor, images.image_set("", rows).images, preprocessing)
    classes = joined_classes(images.classes, predictor.classes)
    logits = aligned(logits, predictor.classes, classes)
    probabilities = predictor.judge.calibration.probabilities(logits)
    labels, said = images.labels[rows].astype(int), probabilities.argmax(axis=1)
    return found | {
        "predicted": np.where(said < len(images.classes), said, -1).tolist(),
        "ece": calibration.expected_calibration_error(probabilities, labels),
        "surprise_interval": calibration.mean_interval(calibration.surprise(probabilities, labels)),
    }


def _per_class(matrix: NDArray[Any], classes: Sequence[str]) -> list[dict[str, Any]]:
    rows = []
    for number, name in enumerate(classes):
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


def share_interval(hits: NDArray[np.bool_]) -> dict[str, Any]:
    """n, hits, share and its Wilson interval; a share of nothing is None."""
    n, count = len(hits), int(hits.sum())
    interval = [round(bound, 5) for bound in calibration.wilson_interval(count, n)]
    return {"n": n, "hits": count, "share": round(count / n, 5) if n else None, "interval": interval}
