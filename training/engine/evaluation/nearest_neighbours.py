"""The training images that look most alike to a model: nearest in the layer before its answer.

Features are centred and reduced to their main directions, and compared by the angle between them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from training.engine.data.preprocessing import make_inputs

if TYPE_CHECKING:
    from training.engine.inference.predictor import Predictor

# Main directions of the features that are kept.
DIRECTIONS = 128
# Images that go through the model together: a fraction of a second, so other work can come between.
CHUNK = 64
# Images whose own nearest neighbour says what is near.
SAMPLE = 500


@dataclass(frozen=True)
class Neighbours:
    """Images of a training split, as a model sees them.

    Attributes:
        vectors: float16 [N, D], each of length 1.
        rows: int32 [N], which row of the training images each is.
        labels: integers [N].
        mean: float32 [F] and directions: float32 [F, D] that features go through.
        typical: how alike training images are to the nearest other one: the median cosine.
    """

    vectors: NDArray[np.float16]
    rows: NDArray[np.int32]
    labels: NDArray[Any]
    mean: NDArray[np.float32]
    directions: NDArray[np.float32]
    typical: float

    def nearest(self, features: NDArray[Any], count: int) -> list[tuple[int, int, float]]:
        """The ``count`` nearest to float [F] features, nearest first: (row, label, cosine)."""
        wanted = _unit((features[None].astype(np.float32) - self.mean) @ self.directions)[0]
        cosines = self.vectors.astype(np.float32) @ wanted
        found = np.argsort(-cosines, kind="stable")[:count]
        return [(int(self.rows[i]), int(self.labels[i]), float(cosines[i])) for i in found]

    def save(self, file: BinaryIO) -> None:
        np.savez(file, **vars(self))

    @classmethod
    def load(cls, file: BinaryIO | str | Path) -> Neighbours:
        with np.load(file, allow_pickle=False) as stored:
            parts = {each.name: stored[each.name] for each in fields(cls)}
        return cls(**(parts | {"typical": float(parts["typical"])}))


def collect(
    predictor: Predictor,
    images: Any,
    labels: NDArray[Any],
    rows: NDArray[Any],
    preprocessing: str,
    step: Callable[[int], None] = lambda done: None,
) -> Neighbours:
    """Run training images through a model and keep what is needed to find the nearest.

    Args:
        images: uint8 [50000, 32, 32, 3], or what gives a list of uint8 [H, W, 3] for ``images[rows]``;
            labels: integers, one an image; rows: which of them.
        step: called with the number of images done; what it raises ends the work.
    """
    features: NDArray[np.float16] | None = None
    for start in range(0, len(rows), CHUNK):
        chunk = rows[start : start + CHUNK]
        found, _ = predictor.forward(make_inputs(images[chunk], preprocessing))
        if features is None:
            features = np.empty((len(rows), found.shape[1]), np.float16)
        features[start : start + len(chunk)] = found
        step(start + len(chunk))
    if features is None:
        raise ValueError("There are no training images to index.")
    mean, directions = _main_directions(features)
    vectors = np.concatenate(
        [
            _unit((part.astype(np.float32) - mean) @ directions).astype(np.float16)
            for part in np.array_split(features, max(1, len(features) // 5_000))
        ]
    )
    return Neighbours(vectors, rows.astype(np.int32), labels[rows], mean, directions, _typical(vectors))


def _main_directions(features: NDArray[np.float16]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Mean and the first eigenvectors of the covariance, in parts to bound memory."""
    size = features.shape[1]
    total, products = np.zeros(size), np.zeros((size, size))
    for part in np.array_split(features, max(1, len(features) // 5_000)):
        wide = part.astype(np.float32)
        total += wide.sum(axis=0, dtype=np.float64)
        products += wide.T @ wide
    mean = total / len(features)
    _, vectors = np.linalg.eigh(products / len(features) - np.outer(mean, mean))
    kept = vectors[:, ::-1][:, :DIRECTIONS]
    return mean.astype(np.float32), np.ascontiguousarray(kept, np.float32)


def _typical(vectors: NDArray[np.float16]) -> float:
    """The median cosine of evenly spread images and the nearest other one."""
    if len(vectors) < 2:
        return 1.0
    chosen = np.unique(np.linspace(0, len(vectors) - 1, SAMPLE).astype(int))
    cosines = vectors[chosen].astype(np.float32) @ vectors.astype(np.float32).T
    cosines[np.arange(len(chosen)), chosen] = -1
    return float(np.median(cosines.max(axis=1)))


def _unit(vectors: NDArray[Any]) -> NDArray[np.float32]:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(lengths, 1e-12), np.float32)
