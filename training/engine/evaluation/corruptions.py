"""Accuracy on distorted images: five strengths a distortion; an image uint8 [H, W, 3] in, one out.

Source: D. Hendrycks and T. Dietterich, "Benchmarking Neural Network Robustness to Common Corruptions and
Perturbations", 2019.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from training.engine.data.image_set import ImageSet
from training.engine.data.preprocessing import make_inputs
from training.engine.evaluation.metrics import share_interval
from training.engine.inference.predictor import Predictor

ROBUSTNESS_IMAGES = 1_000


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


CORRUPTIONS: dict[str, tuple[Callable[..., NDArray[np.uint8]], tuple[float, ...]]] = {
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
    for name, (distort, strengths) in CORRUPTIONS.items():
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
