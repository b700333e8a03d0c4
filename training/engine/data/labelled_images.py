"""The images of a project with their classes, read one at a time when they are needed."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from training.engine.data.image_set import ImageSet

TRAINING, VALIDATION, TEST = SPLITS = ("training", "validation", "test")
LEAST_CLASSES = 2
# With fewer test images of some class, a model is measured by cross-validation over all images.
LEAST_TEST_IMAGES = 30
CROSS_VALIDATION, TEST_SPLIT = "cross-validation", "test"
Read = Callable[[int], NDArray[np.uint8]]


@dataclass(frozen=True, eq=False)
class LabelledImages:
    """N images of K classes, in an order that never changes.

    Attributes:
        classes: K different names, in the order of the labels.
        ids: N different names of the images' content, such as its sha256.
        labels: integers [N] in 0..K-1.
        splits: [N], each one of ``SPLITS``.
        read: the number of an image to its pixels, RGB, uint8 [H, W, 3], of any size. It is called by
            several threads.
        project: its name; empty: it has none.
        dataset_sha256: of the dataset version that they are; empty: they are none.
        photos: N numbers by which the site knows whose photos they are, 0: nobody's; empty: all are.
        files: N names of files, or empty.

    Raises:
        ValueError: the parts do not fit each other.
    """

    classes: tuple[str, ...]
    ids: list[str]
    labels: NDArray[Any]
    splits: NDArray[Any]
    read: Read
    project: str = ""
    dataset_sha256: str = ""
    photos: Sequence[int] = ()
    files: Sequence[str] = ()

    def __post_init__(self) -> None:
        if len(self.classes) < LEAST_CLASSES or len(set(self.classes)) < len(self.classes):
            raise ValueError(f"A model needs {LEAST_CLASSES} different classes or more: {self.classes!r}.")
        if not len(self.ids) == len(self.labels) == len(self.splits):
            raise ValueError(
                f"There are {len(self.ids)} ids, {len(self.labels)} labels and {len(self.splits)} splits: "
                "each image needs one of each."
            )
        if len(self.labels) and not 0 <= int(self.labels.min()) <= int(self.labels.max()) < len(self.classes):
            raise ValueError(f"Labels must lie between 0 and {len(self.classes) - 1}.")
        if not np.isin(self.splits, SPLITS).all():
            raise ValueError(f"Each image is in one of {', '.join(SPLITS)}.")

    def __len__(self) -> int:
        return len(self.ids)

    def rows(self, *splits: str) -> NDArray[np.int64]:
        """Numbers of the images in these splits; of all without any."""
        return np.flatnonzero(np.isin(self.splits, splits or SPLITS))

    def counts(self, *splits: str) -> NDArray[np.int64]:
        """How many images of each class are in these splits: int64 [K]."""
        return np.bincount(self.labels[self.rows(*splits)].astype(int), minlength=len(self.classes))

    def sha256(self, rows: NDArray[Any] | None = None) -> str:
        """A hash of the classes and of these images' ids and labels, in their order; of all without any."""
        digest = hashlib.sha256("\n".join(self.classes).encode())
        for row in self.rows() if rows is None else rows:
            digest.update(f"\n{self.ids[row]} {int(self.labels[row])}".encode())
        return digest.hexdigest()

    def measured(self, *, may_cross: bool = True) -> tuple[str, NDArray[np.int64]]:
        """By what a model is measured, ``TEST_SPLIT`` or ``CROSS_VALIDATION``, and on which of the images.

        Args:
            may_cross: False of a model whose features were learned from the training images.
        """
        if not may_cross or int(self.counts(TEST).min()) >= LEAST_TEST_IMAGES:
            return TEST_SPLIT, self.rows(TEST)
        return CROSS_VALIDATION, self.rows()

    def image_set(self, name: str, rows: NDArray[Any], sha256: str = "") -> ImageSet:
        """These images as a set to measure a model on, still unread."""
        photos = [self.photos[row] for row in rows] if self.photos else []
        return ImageSet(
            name,
            sha256 or self.sha256(rows),
            Unread(self.read, rows),
            self.labels[rows].astype(np.int64),
            files=[self.files[row] for row in rows] if self.files else (),
            photos=photos if any(photos) else (),
            classes=self.classes,
        )


class Unread(Sequence[NDArray[np.uint8]]):
    """Images that are read each time they are asked for."""

    def __init__(self, read: Read, rows: NDArray[Any]) -> None:
        self._read, self._rows = read, rows

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, place: int) -> NDArray[np.uint8]: ...
    @overload
    def __getitem__(self, place: slice) -> Unread: ...
    def __getitem__(self, place: int | slice) -> NDArray[np.uint8] | Unread:
        if isinstance(place, slice):
            return Unread(self._read, self._rows[place])
        return self._read(int(self._rows[place]))

    def __iter__(self) -> Iterator[NDArray[np.uint8]]:
        return (self._read(int(row)) for row in self._rows)
