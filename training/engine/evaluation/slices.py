"""Accuracy in parts of a set: by what images look like, by their size, by the confidence, by kind."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.engine.data.cifar10 import CLASS_NAMES, animals_among
from training.engine.data.image_set import ImageSet
from training.engine.evaluation.metrics import CHUNK, share_interval
from training.engine.inference.calibration import Floats

CONFIDENCE_BANDS = (0.0, 0.5, 0.7, 0.9, 0.99, 1.0)


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
        small = images.inputs(rows, "squash32-v1")
        red, green, blue = np.moveaxis(small, 3, 0)
        grey = small.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)
        inner = grey[:, 1:-1, 1:-1]
        around = grey[:, :-2, 1:-1] + grey[:, 2:, 1:-1] + grey[:, 1:-1, :-2] + grey[:, 1:-1, 2:]
        # Plane by plane: to look for the largest of three values at a time takes ten times as long.
        span = np.maximum(np.maximum(red, green), blue) - np.minimum(np.minimum(red, green), blue)
        parts.append(
            [
                grey.mean(axis=(1, 2)),
                grey.std(axis=(1, 2)),
                np.abs(4 * inner - around).mean(axis=(1, 2)),
                span.mean(axis=(1, 2), dtype=np.float32),
            ]
        )
    names = ("brightness", "contrast", "sharpness", "colour")
    return {name: np.concatenate([part[i] for part in parts]) for i, name in enumerate(names)}


def _sizes(images: ImageSet) -> dict[str, Floats]:
    sides = np.sqrt(images.sizes().prod(axis=1))
    return {"size": sides} if len(np.unique(sides)) > 3 else {}


def _banded(edges: Floats, band: NDArray[Any], right: NDArray[np.bool_]) -> list[dict[str, Any]]:
    return [
        {
            "low": round(float(edges[number]), 3),
            "high": round(float(edges[number + 1]), 3),
            **share_interval(right[band == number]),
        }
        for number in range(len(edges) - 1)
        if (band == number).any()
    ]


def kinds(
    probabilities: Floats, labels: NDArray[Any], classes: Sequence[str] = CLASS_NAMES
) -> list[dict[str, Any]]:
    """Animals and vehicles: how often the kind is right, and how often the very class.

    Of other classes than CIFAR-10's nobody knows which are animals: [].
    """
    animals = animals_among(classes)
    if not animals:
        return []
    predicted = probabilities.argmax(axis=1)
    animal, says_animal = np.isin(labels, animals), np.isin(predicted, animals)
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
