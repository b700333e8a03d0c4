"""Real photos with the right answers: what CIFAR-10's test split cannot tell.

A folder ``ten_classes/<class>/`` and a folder ``none_of_the_ten/``, JPEG or PNG files in each.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from training.engine.data import CLASS_NAMES

ENDINGS = (".jpg", ".jpeg", ".png")
NONE = "none_of_the_ten"


class PhotosError(Exception):
    """The folder does not hold such photos; the message says what to do."""


@dataclass(frozen=True)
class PhotoSet:
    """Photos as uint8 [H, W, 3] of many sizes, upright.

    Attributes:
        ten: photos of the ten classes; labels: integers in 0..9, one each.
        other: photos of other things.
    """

    ten: list[NDArray[np.uint8]]
    labels: NDArray[Any]
    other: list[NDArray[np.uint8]]


def load_photos(folder: str | Path) -> PhotoSet:
    """Read all photos in a fixed order.

    Raises:
        PhotosError: one of the two kinds is missing, or a file cannot be read.
    """
    root = Path(folder)
    found = [
        (CLASS_NAMES.index(name), image)
        for name in CLASS_NAMES
        for image in _images(root / "ten_classes" / name)
    ]
    other = list(_images(root / NONE))
    if not found or not other:
        raise PhotosError(
            f"No photos in {root}: expected ten_classes/<class>/*.jpg and none_of_the_ten/*.jpg there."
        )
    return PhotoSet([image for _, image in found], np.array([label for label, _ in found]), other)


def _images(folder: Path) -> Iterator[NDArray[np.uint8]]:
    for file in sorted(folder.glob("*")):
        if file.suffix.lower() in ENDINGS:
            try:
                with Image.open(file) as image:
                    yield np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
            except OSError as error:
                raise PhotosError(f"{file} cannot be read ({error}): mend it or leave it out.") from error
