"""A set of labelled images to measure a model on: CIFAR-10's test split, or photos of any size."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.engine.data.cifar10 import CLASS_NAMES
from training.engine.data.preprocessing import make_inputs

Images = NDArray[np.uint8]


@dataclass(frozen=True)
class ImageSet:
    """Images with the right answers, in an order that never changes.

    Attributes:
        name: for people.
        sha256: of what the set holds; two reports with the same one can be compared image by image.
        images: uint8 [N, H, W, 3], or N arrays uint8 [H, W, 3] of different sizes.
        labels: integers [N], numbers of classes.
        files: N names of files, or empty.
        photos: N numbers by which the site knows whose photos they are; empty: they are nobody's.
        classes: names of the K classes, 2 to 1,000, in the order of the labels.
    """

    name: str
    sha256: str
    images: Images | Sequence[Images]
    labels: NDArray[Any]
    files: Sequence[str] = ()
    photos: Sequence[int] = ()
    classes: tuple[str, ...] = CLASS_NAMES

    def __len__(self) -> int:
        return len(self.labels)

    def inputs(self, rows: Sequence[int] | NDArray[Any] | range, preprocessing: str) -> Images:
        """These rows as a model sees them, uint8 [M, h, w, 3]."""
        if isinstance(self.images, np.ndarray):
            return make_inputs(self.images[np.asarray(rows)], preprocessing)
        return make_inputs([self.images[row] for row in rows], preprocessing)

    def sizes(self) -> NDArray[np.int64]:
        """Height and width of each image, int64 [N, 2]."""
        return np.array([image.shape[:2] for image in self.images], np.int64).reshape(-1, 2)


def content_sha256(images: Sequence[Images], labels: NDArray[Any]) -> str:
    """A hash of the pixels, sizes and labels, in their order."""
    digest = hashlib.sha256()
    for image, label in zip(images, labels, strict=True):
        digest.update(f"{image.shape[0]}x{image.shape[1]} {int(label)}\n".encode())
        digest.update(np.ascontiguousarray(image).data)
    return digest.hexdigest()
