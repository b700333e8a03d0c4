"""All that a report shows of one model on one set of images, computed once.

``measure`` returns the figures of ``training.engine.evaluation.metrics`` with the key ``panels`` added.
Shares go from 0 to 1; intervals are 95 %; row numbers count from 0 in the set's order.
Source: C. Guo et al., 2017 (calibration).
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.engine.data.cifar10 import CLASS_NAMES
from training.engine.data.image_set import ImageSet
from training.engine.evaluation import bootstrap
from training.engine.evaluation.corruptions import ROBUSTNESS_IMAGES, robustness
from training.engine.evaluation.metrics import (
    aligned,
    briers,
    figures,
    forward,
    joined_classes,
    share_interval,
)
from training.engine.evaluation.slices import kinds, slices
from training.engine.inference import calibration
from training.engine.inference.calibration import Floats
from training.engine.inference.predictor import Predictor

FORMAT = 1
CURVE_POINTS = 50
HISTOGRAM_BINS = 20
SHOWN = 24
# A chart with more curves than this shows none of them: then the hardest classes alone have one.
MOST_CURVES, FEW_CURVES = 20, 10
# Classes with an example each.
MOST_EXAMPLES = 20

CENTRED_AT_ONCE = 16_384

# Features [N, D] and logits [N, K].
Outputs = tuple[NDArray[np.float32], NDArray[np.float32]]


@dataclass(frozen=True)
class Measured:
    """What ``measure`` found.

    Attributes:
        figures: JSON-able.
        probabilities: float16 [N, K], calibrated.
        embedding: float16 [N, 2], from -1 to 1: where each image lies on the map.
    """

    figures: dict[str, Any]
    probabilities: NDArray[np.float16]
    embedding: NDArray[np.float16]


def measure(
    predictor: Predictor,
    images: ImageSet,
    preprocessing: str,
    say: Callable[[str], None] = lambda sentence: None,
    *,
    distorted: int = ROBUSTNESS_IMAGES,
    outputs: Outputs | None = None,
    timed: bool = True,
) -> Measured:
    """Run the model over the set and compute every panel.

    Args:
        preprocessing: the version that the model was trained with.
        say: is told what is being done, a sentence at a time.
        distorted: how many images are tried with each distortion; 0: none.
        outputs: what ``forward`` gave for these images, where somebody asked already.
        timed: measure seconds, too.
    """
    labels = np.asarray(images.labels).astype(int)
    if outputs is None:
        say(f"Evaluating {len(images):,} images.")
        outputs = forward(predictor, images.images, preprocessing)
    features, logits = outputs
    fitted = predictor.judge.calibration
    classes = joined_classes(images.classes, predictor.classes)
    logits = aligned(logits, predictor.classes, classes)
    found = figures(logits, labels, fitted, classes)
    probabilities = fitted.probabilities(logits)
    redrawn = bootstrap.redrawn(len(labels))
    say("Drawing curves and slices.")
    embedding, explained = project(features)
    found["panels"] = {
        "format": FORMAT,
        "temperature": predictor.judge.temperature,
        "top2_interval": share_interval(_rank(probabilities, labels) < 2)["interval"],
        "log_loss_interval": calibration.mean_interval(calibration.losses(probabilities, labels)),
        "brier_interval": calibration.mean_interval(briers(probabilities, labels)),
        "intervals": _intervals(redrawn, found, logits, probabilities, labels),
        "curves": curves(probabilities, labels, redrawn, classes),
        "sweep": selective_accuracy(probabilities, labels),
        "histogram": histogram(probabilities, labels),
        "mistakes": ranked_rows(probabilities, labels, "mistakes"),
        "unsure": ranked_rows(probabilities, labels, "unsure"),
        "examples": examples(probabilities, labels),
        "slices": slices(images, probabilities, labels),
        "kinds": kinds(probabilities, labels, classes),
        "map": {"explained": explained, "centres": centres(embedding, labels, classes)},
    }
    if distorted:
        say("Distorting images.")
        found["panels"]["robustness"] = robustness(predictor, images, preprocessing, distorted)
    if timed:
        found["panels"]["speed"] = speed(predictor)
    return Measured(found, probabilities.astype(np.float16), embedding.astype(np.float16))


def _intervals(
    redrawn: Floats, found: dict[str, Any], logits: Floats, probabilities: Floats, labels: NDArray[Any]
) -> dict[str, Any]:
    """95 % intervals of the calibration errors and, a class each, of F1."""
    errors = {"ece": probabilities, "ece_before": calibration.softmax(logits)}
    made: dict[str, Any] = {
        key: bootstrap.interval(found[key], bootstrap.calibration_errors(redrawn, chances, labels))
        for key, chances in errors.items()
    }
    scores = bootstrap.f1_scores(redrawn, labels, probabilities.argmax(axis=1), len(found["classes"]))
    made["f1"] = [
        bootstrap.interval(row["f1"], scores[:, i], row["support"]) for i, row in enumerate(found["classes"])
    ]
    return made


def _rank(probabilities: Floats, labels: NDArray[Any]) -> NDArray[np.int64]:
    """How many labels stand before the right one."""
    order = np.argsort(-probabilities, axis=1)
    ranks: NDArray[np.int64] = np.argmax(order == labels[:, None], axis=1)
    return ranks


def curves(
    probabilities: Floats, labels: NDArray[Any], redrawn: Floats, classes: Sequence[str] = CLASS_NAMES
) -> list[dict[str, Any]]:
    """One-vs-rest ROC and precision-recall curves; of a class that the set lacks: None.

    Of more than ``MOST_CURVES`` classes, those with the least area alone have curves and intervals.

    Args:
        redrawn: see ``training.engine.evaluation.bootstrap``.
    """
    from sklearn import metrics

    rows = []
    for number, name in enumerate(classes):
        truth, score = labels == number, probabilities[:, number]
        row: dict[str, Any] = {"name": name, "n": int(truth.sum()), "auroc": None, "ap": None}
        if 0 < truth.sum() < len(truth):
            row["auroc"] = round(float(metrics.roc_auc_score(truth, score)), 5)
            row["ap"] = round(float(metrics.average_precision_score(truth, score)), 5)
        rows.append(row)
    drawn = [number for number, row in enumerate(rows) if row["auroc"] is not None]
    if len(rows) > MOST_CURVES:
        drawn = sorted(drawn, key=lambda number: rows[number]["ap"])[:FEW_CURVES]
    for number in drawn:
        row, truth, score = rows[number], labels == number, probabilities[:, number]
        areas = bootstrap.areas(redrawn, score, truth)
        fewer = int(min(truth.sum(), (~truth).sum()))
        row["auroc_interval"], row["ap_interval"] = (
            bootstrap.interval(row[key], redone, fewer)
            for key, redone in zip(("auroc", "ap"), areas, strict=True)
        )
        false_rate, true_rate, _ = metrics.roc_curve(truth, score)
        precision, recall, _ = metrics.precision_recall_curve(truth, score)
        row["roc"] = thinned(false_rate, true_rate)
        row["pr"] = thinned(recall[::-1], precision[::-1])
    return rows


def thinned(x: Floats, y: Floats) -> list[list[float]]:
    """At most ``CURVE_POINTS`` points, spread evenly along the curve, ends kept."""
    length = np.concatenate([[0], np.cumsum(np.abs(np.diff(x)) + np.abs(np.diff(y)))])
    wanted = np.searchsorted(length, np.linspace(0, length[-1], CURVE_POINTS))
    kept = np.unique(np.clip(np.concatenate([[0], wanted, [len(x) - 1]]), 0, len(x) - 1))
    return [[round(float(x[i]), 4), round(float(y[i]), 4)] for i in kept]


def selective_accuracy(probabilities: Floats, labels: NDArray[Any]) -> list[dict[str, Any]]:
    """If answers below a confidence are held back: how many are left, and how right are they?"""
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    rows = []
    for threshold in (*np.arange(0, 1, 0.05), 0.98, 0.99, 0.999):
        kept = confidence >= threshold
        row = {"threshold": round(float(threshold), 3), "coverage": round(float(kept.mean()), 5)}
        rows.append({**row, **share_interval(right[kept])})
    return rows


def histogram(probabilities: Floats, labels: NDArray[Any]) -> list[dict[str, Any]]:
    """How many answers were right and wrong in each band of confidence."""
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    band = np.minimum((confidence * HISTOGRAM_BINS).astype(int), HISTOGRAM_BINS - 1)
    return [
        {
            "low": number / HISTOGRAM_BINS,
            "high": (number + 1) / HISTOGRAM_BINS,
            "right": int((right & (band == number)).sum()),
            "wrong": int((~right & (band == number)).sum()),
        }
        for number in range(HISTOGRAM_BINS)
    ]


def ranked_rows(probabilities: Floats, labels: NDArray[Any], which: str) -> list[int]:
    """Row numbers: the most confident 'mistakes', or the answers that were most 'unsure'."""
    confidence, wrong = probabilities.max(axis=1), probabilities.argmax(axis=1) != labels
    if which == "unsure":
        return [int(row) for row in np.argsort(confidence, kind="stable")[:SHOWN]]
    order = np.argsort(-confidence, kind="stable")
    return [int(row) for row in order[wrong[order]][:SHOWN]]


def examples(probabilities: Floats, labels: NDArray[Any]) -> list[int]:
    """Row numbers of one image a class, the middle one by confidence in the right answer; of many
    classes the first ones."""
    rows = []
    for number in np.unique(labels)[:MOST_EXAMPLES]:
        of_class = np.flatnonzero(labels == number)
        if len(of_class):
            order = np.argsort(probabilities[of_class, number], kind="stable")
            rows.append(int(of_class[order[len(order) // 2]]))
    return rows


def project(features: NDArray[np.float32]) -> tuple[NDArray[np.float32], float]:
    """The two directions in which the features differ most (principal components).

    Returns:
        float32 [N, 2] within -1..1, and the share of all variance that the two hold.
    """
    mean = features.mean(axis=0, dtype=np.float64)

    def centred() -> Iterator[NDArray[np.float64]]:
        """Some at a time: of all of 100,000 images this is a gigabyte."""
        for start in range(0, len(features), CENTRED_AT_ONCE):
            yield features[start : start + CENTRED_AT_ONCE] - mean

    if len(features) < features.shape[1]:  # a matter of a hundredth of the time where images are few
        _, lengths, rows = np.linalg.svd(np.concatenate(list(centred())), full_matrices=False)
        variances, axes = lengths[::-1] ** 2, rows[:2].T
    else:
        variances, directions = np.linalg.eigh(sum(some.T @ some for some in centred()))
        axes = directions[:, ::-1][:, :2]
    # Eigenvectors have no sign of their own: fix it, so that the same model gives the same map.
    axes = axes * np.sign(axes[np.abs(axes).argmax(axis=0), range(axes.shape[1])])
    points = np.concatenate([some @ axes for some in centred()])
    if points.shape[1] < 2:
        points = np.pad(points, ((0, 0), (0, 2 - points.shape[1])))
    reach = np.abs(points).max(axis=0)
    total = float(variances.sum())
    explained = float(variances[-2:].sum()) / total if total > 0 else 0.0
    return (points / np.where(reach > 0, reach, 1)).astype(np.float32), round(explained, 4)


def centres(
    embedding: Floats, labels: NDArray[Any], classes: Sequence[str] = CLASS_NAMES
) -> list[dict[str, Any]]:
    """Where each class lies on the map, and how far its images are from there on average."""
    rows = []
    for number, name in enumerate(classes):
        points = embedding[labels == number]
        if len(points):
            centre = points.mean(axis=0)
            spread = float(np.hypot(*(points - centre).T).mean())
            rows.append({"name": name, "x": float(centre[0]), "y": float(centre[1]), "spread": spread})
    return rows


def speed(predictor: Predictor, repeats: int = 15) -> dict[str, Any]:
    """Seconds of one image's forward pass: the median and the range of the middle half, of ``n``
    repeats; images a second in batches of ``batch``; and on which machine."""
    predictor.network.warm_up()
    batch = predictor.network.images_at_once
    one, many = (np.zeros((n, *predictor.input_shape), np.uint8) for n in (1, batch))
    predictor.forward(many)
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        predictor.forward(one)
        times.append(time.perf_counter() - began)
    began = time.perf_counter()
    predictor.forward(many)
    return {
        "seconds": round(float(np.median(times)), 6),
        "middle_half": [round(float(np.quantile(times, q)), 6) for q in (0.25, 0.75)],
        "n": repeats,
        "machine": {"processor": platform.machine(), "cores": os.cpu_count()},
        "images_per_second": round(batch / (time.perf_counter() - began), 1),
        "batch": batch,
    }
