"""All that a report shows of one model on one set of images, computed once.

``measure`` returns the figures of ``training.engine.evaluate`` with the key ``panels`` added.
Shares go from 0 to 1; intervals are 95 %; row numbers count from 0 in the set's order.
Sources: C. Guo et al., 2017 (calibration); D. Hendrycks and T. Dietterich, "Benchmarking Neural
Network Robustness to Common Corruptions and Perturbations", 2019 (five strengths a distortion).
"""

from __future__ import annotations

import io
import os
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from training.engine import bootstrap, calibration
from training.engine.data import CLASS_NAMES
from training.engine.evaluate import ANIMALS, CHUNK, figures, forward
from training.engine.image_set import ImageSet
from training.engine.predictor import Predictor
from training.engine.preprocessing import make_inputs

FORMAT = 1
CURVE_POINTS = 50
HISTOGRAM_BINS = 20
SHOWN = 24
ROBUSTNESS_IMAGES = 1_000
CONFIDENCE_BANDS = (0.0, 0.5, 0.7, 0.9, 0.99, 1.0)

Bools = NDArray[np.bool_]
Floats = NDArray[np.floating[Any]]
# Features [N, D] and logits [N, 10].
Outputs = tuple[NDArray[np.float32], NDArray[np.float32]]


@dataclass(frozen=True)
class Measured:
    """What ``measure`` found.

    Attributes:
        figures: JSON-able.
        probabilities: float16 [N, 10], calibrated.
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
) -> Measured:
    """Run the model over the set and compute every panel.

    Args:
        preprocessing: the version that the model was trained with.
        say: is told what is being done, a sentence at a time.
        distorted: how many images are tried with each distortion; 0: none.
        outputs: what ``forward`` gave for these images, where somebody asked already.
    """
    labels = np.asarray(images.labels).astype(int)
    if outputs is None:
        say(f"Looking at {len(images):,} images.")
        outputs = forward(predictor, images.images, preprocessing)
    features, logits = outputs
    fitted = predictor.judge.calibration
    found = figures(logits, labels, fitted)
    probabilities = fitted.probabilities(logits)
    redrawn = bootstrap.redrawn(len(labels))
    say("Drawing curves and slices.")
    embedding, explained = project(features)
    found["panels"] = {
        "format": FORMAT,
        "temperature": predictor.judge.temperature,
        "top2_interval": share_interval(_rank(probabilities, labels) < 2)["interval"],
        "log_loss_interval": mean_interval(_losses(probabilities, labels)),
        "brier_interval": mean_interval(_briers(probabilities, labels)),
        "intervals": _intervals(redrawn, found, logits, probabilities, labels),
        "curves": curves(probabilities, labels, redrawn),
        "sweep": sweep(probabilities, labels),
        "histogram": histogram(probabilities, labels),
        "mistakes": ranked_rows(probabilities, labels, "mistakes"),
        "unsure": ranked_rows(probabilities, labels, "unsure"),
        "examples": examples(probabilities, labels),
        "slices": slices(images, probabilities, labels),
        "kinds": kinds(probabilities, labels),
        "map": {"explained": explained, "centres": centres(embedding, labels)},
    }
    if distorted:
        say("Distorting images.")
        found["panels"]["robustness"] = robustness(predictor, images, preprocessing, distorted)
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
    scores = bootstrap.f1_scores(redrawn, labels, probabilities.argmax(axis=1))
    made["f1"] = [bootstrap.interval(row["f1"], scores[:, i]) for i, row in enumerate(found["classes"])]
    return made


def share_interval(hits: Bools) -> dict[str, Any]:
    """n, hits, share and its Wilson interval; a share of nothing is None."""
    n, count = len(hits), int(hits.sum())
    interval = [round(bound, 5) for bound in calibration.wilson_interval(count, n)]
    return {"n": n, "hits": count, "share": round(count / n, 5) if n else None, "interval": interval}


def mean_interval(values: Floats) -> list[float]:
    """The normal 95 % interval of a mean; of one value, the value twice."""
    mean = float(values.mean())
    half = 1.96 * float(values.std(ddof=1)) / len(values) ** 0.5 if len(values) > 1 else 0.0
    return [round(mean - half, 5), round(mean + half, 5)]


def _losses(probabilities: Floats, labels: NDArray[Any]) -> Floats:
    losses: Floats = -np.log(np.clip(probabilities[np.arange(len(labels)), labels], 1e-12, 1))
    return losses


def _briers(probabilities: Floats, labels: NDArray[Any]) -> Floats:
    squares: Floats = ((probabilities - np.eye(len(CLASS_NAMES))[labels]) ** 2).sum(axis=1)
    return squares


def _rank(probabilities: Floats, labels: NDArray[Any]) -> NDArray[np.int64]:
    """How many labels stand before the right one."""
    order = np.argsort(-probabilities, axis=1)
    ranks: NDArray[np.int64] = np.argmax(order == labels[:, None], axis=1)
    return ranks


def curves(probabilities: Floats, labels: NDArray[Any], redrawn: Floats) -> list[dict[str, Any]]:
    """One-vs-rest ROC and precision-recall curves; of a class that the set lacks: None.

    Args:
        redrawn: see ``training.engine.bootstrap``.
    """
    from sklearn import metrics

    rows = []
    for number, name in enumerate(CLASS_NAMES):
        truth, score = labels == number, probabilities[:, number]
        row: dict[str, Any] = {"name": name, "n": int(truth.sum()), "auroc": None, "ap": None}
        if 0 < truth.sum() < len(truth):
            false_rate, true_rate, _ = metrics.roc_curve(truth, score)
            precision, recall, _ = metrics.precision_recall_curve(truth, score)
            row["auroc"] = round(float(metrics.roc_auc_score(truth, score)), 5)
            row["ap"] = round(float(metrics.average_precision_score(truth, score)), 5)
            areas = bootstrap.areas(redrawn, score, truth)
            row["auroc_interval"], row["ap_interval"] = (
                bootstrap.interval(row[key], redone)
                for key, redone in zip(("auroc", "ap"), areas, strict=True)
            )
            row["roc"] = thinned(false_rate, true_rate)
            row["pr"] = thinned(recall[::-1], precision[::-1])
        rows.append(row)
    return rows


def thinned(x: Floats, y: Floats) -> list[list[float]]:
    """At most ``CURVE_POINTS`` points, spread evenly along the curve, ends kept."""
    length = np.concatenate([[0], np.cumsum(np.abs(np.diff(x)) + np.abs(np.diff(y)))])
    wanted = np.searchsorted(length, np.linspace(0, length[-1], CURVE_POINTS))
    kept = np.unique(np.clip(np.concatenate([[0], wanted, [len(x) - 1]]), 0, len(x) - 1))
    return [[round(float(x[i]), 4), round(float(y[i]), 4)] for i in kept]


def sweep(probabilities: Floats, labels: NDArray[Any]) -> list[dict[str, Any]]:
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
    """Row numbers of one image a class, the middle one by confidence in the right answer."""
    rows = []
    for number in range(len(CLASS_NAMES)):
        of_class = np.flatnonzero(labels == number)
        if len(of_class):
            order = np.argsort(probabilities[of_class, number], kind="stable")
            rows.append(int(of_class[order[len(order) // 2]]))
    return rows


def slices(images: ImageSet, probabilities: Floats, labels: NDArray[Any]) -> list[dict[str, Any]]:
    """Accuracy in quarters of the set by brightness, contrast, sharpness, colour and size."""
    right = probabilities.argmax(axis=1) == labels
    groups = []
    for name, values in {**looks(images), **_sizes(images)}.items():
        edges = np.quantile(values, (0, 0.25, 0.5, 0.75, 1))
        quarter = np.clip(np.searchsorted(edges[1:-1], values, side="right"), 0, 3)
        groups.append({"name": name, "rows": _banded(edges, quarter, right)})
    confidence = probabilities.max(axis=1)
    bands = np.array(CONFIDENCE_BANDS)
    band = np.clip(np.searchsorted(bands[1:-1], confidence, side="right"), 0, len(bands) - 2)
    groups.append({"name": "confidence", "rows": _banded(bands, band, right)})
    return groups


def looks(images: ImageSet) -> dict[str, Floats]:
    """Of each image at 32x32 pixels: mean, deviation and mean second difference of the grey
    levels, and the mean span between the colour channels; all in 0..255."""
    parts: list[list[Floats]] = []
    for start in range(0, len(images), CHUNK):
        rows = range(start, min(start + CHUNK, len(images)))
        small = images.inputs(rows, "squash32-v1").astype(np.float32)
        grey = small @ np.array([0.299, 0.587, 0.114], np.float32)
        inner = grey[:, 1:-1, 1:-1]
        around = grey[:, :-2, 1:-1] + grey[:, 2:, 1:-1] + grey[:, 1:-1, :-2] + grey[:, 1:-1, 2:]
        span = small.max(axis=3) - small.min(axis=3)
        parts.append(
            [
                grey.mean(axis=(1, 2)),
                grey.std(axis=(1, 2)),
                np.abs(4 * inner - around).mean(axis=(1, 2)),
                span.mean(axis=(1, 2)),
            ]
        )
    names = ("brightness", "contrast", "sharpness", "colour")
    return {name: np.concatenate([part[i] for part in parts]) for i, name in enumerate(names)}


def _sizes(images: ImageSet) -> dict[str, Floats]:
    sides = np.sqrt(images.sizes().prod(axis=1))
    return {"size": sides} if len(np.unique(sides)) > 3 else {}


def _banded(edges: Floats, band: NDArray[Any], right: Bools) -> list[dict[str, Any]]:
    return [
        {
            "low": round(float(edges[number]), 3),
            "high": round(float(edges[number + 1]), 3),
            **share_interval(right[band == number]),
        }
        for number in range(len(edges) - 1)
        if (band == number).any()
    ]


def kinds(probabilities: Floats, labels: NDArray[Any]) -> list[dict[str, Any]]:
    """Animals and vehicles: how often the kind is right, and how often the very class."""
    predicted = probabilities.argmax(axis=1)
    animal, says_animal = np.isin(labels, ANIMALS), np.isin(predicted, ANIMALS)
    rows = []
    for name, inside in (("animals", animal), ("vehicles", ~animal)):
        rows.append(
            {
                "name": name,
                "kind": share_interval((says_animal == animal)[inside]),
                "exact": share_interval((predicted == labels)[inside]),
            }
        )
    return rows


def project(features: NDArray[np.float32]) -> tuple[NDArray[np.float32], float]:
    """The two directions in which the features differ most (principal components).

    Returns:
        float32 [N, 2] within -1..1, and the share of all variance that the two hold.
    """
    centred = features - features.mean(axis=0, dtype=np.float64)
    variances, directions = np.linalg.eigh(centred.T @ centred)
    axes = directions[:, ::-1][:, :2]
    # Eigenvectors have no sign of their own: fix it, so that the same model gives the same map.
    axes = axes * np.sign(axes[np.abs(axes).argmax(axis=0), range(axes.shape[1])])
    points = centred @ axes
    if points.shape[1] < 2:
        points = np.pad(points, ((0, 0), (0, 2 - points.shape[1])))
    reach = np.abs(points).max(axis=0)
    total = float(variances.sum())
    explained = float(variances[-2:].sum()) / total if total > 0 else 0.0
    return (points / np.where(reach > 0, reach, 1)).astype(np.float32), round(explained, 4)


def centres(embedding: Floats, labels: NDArray[Any]) -> list[dict[str, Any]]:
    """Where each class lies on the map, and how far its images are from there on average."""
    rows = []
    for number, name in enumerate(CLASS_NAMES):
        points = embedding[labels == number]
        if len(points):
            centre = points.mean(axis=0)
            spread = float(np.hypot(*(points - centre).T).mean())
            rows.append({"name": name, "x": float(centre[0]), "y": float(centre[1]), "spread": spread})
    return rows


# --- Distortions: five strengths each; an image uint8 [H, W, 3] in, one out. -----------------


def _noise(image: NDArray[np.uint8], sigma: float, rng: np.random.Generator) -> NDArray[np.uint8]:
    noisy = np.clip(image + rng.normal(0, sigma, image.shape), 0, 255)
    return np.asarray(noisy, np.uint8)


def _blur(image: NDArray[np.uint8], radius: float, rng: np.random.Generator) -> NDArray[np.uint8]:
    # As wide on a photo as on a small image: radii are pixels at 32x32.
    scaled = radius * max(image.shape[:2]) / 32
    return np.asarray(Image.fromarray(image).filter(ImageFilter.GaussianBlur(scaled)))


def _jpeg(image: NDArray[np.uint8], quality: float, rng: np.random.Generator) -> NDArray[np.uint8]:
    packed = io.BytesIO()
    Image.fromarray(image).save(packed, "JPEG", quality=int(quality))
    return np.asarray(Image.open(packed).convert("RGB"))


def _brightness(image: NDArray[np.uint8], factor: float, rng: np.random.Generator) -> NDArray[np.uint8]:
    return np.asarray(np.clip(image * factor, 0, 255), np.uint8)


DISTORTIONS: dict[str, tuple[Callable[..., NDArray[np.uint8]], tuple[float, ...]]] = {
    "noise": (_noise, (4, 8, 12, 18, 26)),
    "blur": (_blur, (0.4, 0.6, 0.8, 1.1, 1.5)),
    "jpeg": (_jpeg, (80, 50, 30, 15, 7)),
    "darker": (_brightness, (0.8, 0.6, 0.45, 0.3, 0.2)),
    "brighter": (_brightness, (1.2, 1.5, 1.9, 2.4, 3.0)),
}


def robustness(
    predictor: Predictor, images: ImageSet, preprocessing: str, limit: int = ROBUSTNESS_IMAGES
) -> dict[str, Any]:
    """Accuracy when images are distorted, on at most ``limit`` images, the same for every model."""
    rows = spread_rows(images.labels, limit)
    labels = np.asarray(images.labels).astype(int)[rows]

    def score(inputs: NDArray[np.uint8]) -> dict[str, Any]:
        _, logits = predictor.forward(inputs)
        return share_interval(logits.argmax(axis=1) == labels)

    found: dict[str, Any] = {"n": len(rows), "clean": score(images.inputs(rows, preprocessing)), "rows": []}
    for name, (distort, strengths) in DISTORTIONS.items():
        steps = []
        for strength in strengths:
            # The same noise for every model, so that their figures can be paired.
            distorted = [
                distort(np.asarray(images.images[row]), strength, np.random.default_rng(int(row)))
                for row in rows
            ]
            steps.append({"strength": strength, **score(make_inputs(distorted, preprocessing))})
        found["rows"].append({"name": name, "steps": steps})
    return found


def spread_rows(labels: NDArray[Any], limit: int) -> NDArray[np.int64]:
    """Row numbers of at most ``limit`` images, classes in the set's own shares, without chance."""
    if len(labels) <= limit:
        return np.arange(len(labels))
    by_class = np.argsort(labels, kind="stable")
    return np.sort(by_class[np.linspace(0, len(labels) - 1, limit).astype(int)])


def speed(predictor: Predictor, repeats: int = 15) -> dict[str, Any]:
    """Seconds of one image's forward pass: the median and the range of the middle half, of ``n``
    repeats; images a second in batches of 256; and on which machine."""
    predictor.warm_up()
    one = np.zeros((1, *predictor.input_shape), np.uint8)
    many = np.zeros((256, *predictor.input_shape), np.uint8)
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
        "images_per_second": round(256 / (time.perf_counter() - began), 1),
    }
