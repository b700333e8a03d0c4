"""Images that lie in a file and are read when a batch needs them, for sets that no memory should hold."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class ImageFile:
    """Images of one shape, one after the other in an open file.

    Attributes:
        file: to write and to read; nobody else writes to it.
        shape: of one image; dtype: of its numbers.
    """

    file: BinaryIO
    shape: tuple[int, ...]
    dtype: type[np.generic] = np.float16

    def append(self, images: NDArray[Any]) -> None:
        """Write images [N, ...] behind the others. Raises ``OSError`` where the disk is full."""
        self.file.write(np.ascontiguousarray(images, self.dtype).tobytes())

    def read(self, rows: NDArray[Any]) -> NDArray[Any]:
        """The images of these numbers, [N, ...]. Raises ``OSError`` where they cannot be read."""
        self.file.flush()
        made = np.empty((len(rows), *self.shape), self.dtype)
        for place, row in enumerate(rows):
            # Not a mapped file: a disk that fails would end the process there.
            one = memoryview(made[place]).cast("B")
            if os.preadv(self.file.fileno(), [one], int(row) * len(one)) != len(one):
                raise OSError(f"Image {row} is not in the file.")
        return made


@dataclass(frozen=True)
class Stored:
    """N images of a file, as ``TrainingData`` may have them in the place of an array.

    Attributes:
        rows: int [N], their numbers in the file.
        view: of images [V, ...] this one alone; None: all of them.
    """

    images: ImageFile
    rows: NDArray[Any]
    view: int | None = None

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def shape(self) -> tuple[int, ...]:
        """As of an array."""
        one = self.images.shape if self.view is None else self.images.shape[1:]
        return (len(self), *one)

    @property
    def dtype(self) -> type[np.generic]:
        return self.images.dtype

    def read(self, places: NDArray[Any]) -> NDArray[Any]:
        """The images at these places of the N."""
        found = self.images.read(self.rows[places])
        return found if self.view is None else found[:, self.view]
