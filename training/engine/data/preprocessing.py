"""From a photo of any size to the small image that a model sees.

Every way is a named version that never changes once a model was trained with it: serving,
evaluation and corrections all call ``make_input`` with the version that the model's recipe names.
Pillow and NumPy only, so a web process may import this.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from PIL import Image

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class UnknownPreprocessing(KeyError):
    """No version has this name; the message lists those that exist."""

    def __str__(self) -> str:
        return str(self.args[0])


@dataclass(frozen=True)
class Preprocessing:
    """One version.

    Attributes:
        name: what recipes and stored photos refer to.
        size: height and width of the model input, pixels.
        make: takes an RGB image of any size, returns an RGB image of ``size``.
        description: one sentence for people.
        kept: share of height and width that is kept, but no less than ``size``.
    """

    name: str
    size: tuple[int, int]
    make: Callable[[Image.Image], Image.Image]
    description: str
    kept: float = 1.0


def squash(height: int, width: int) -> Callable[[Image.Image], Image.Image]:
    """Return a function that resizes the full frame and gives up the aspect ratio.

    Nothing of the photo is cut away, so an object at the edge is still seen. The filter is
    Pillow's bicubic, whose support grows with the scale: every source pixel counts, so there is
    no aliasing. Beyond three times the size, whole blocks of pixels are averaged first
    (``reducing_gap``), for a tenth of the time. An image that already has the size passes
    through bit for bit.
    """

    def make(image: Image.Image) -> Image.Image:
        if image.size == (width, height):
            return image.copy()
        return image.resize((width, height), Image.Resampling.BICUBIC, reducing_gap=3.0)

    return make


def centre(side: int, share: float) -> Callable[[Image.Image], Image.Image]:
    """Return a function that cuts out the middle of a photo and squashes it to ``side`` x ``side``.

    Of height and width the given share is kept, and never less than ``side`` pixels: a small image loses
    nothing, since each of its pixels is needed. The filter is ``squash``'s.
    """

    def make(image: Image.Image) -> Image.Image:
        width, height = image.size
        if image.size == (side, side):
            return image.copy()
        kept_width, kept_height = (max(share * length, min(length, side)) for length in image.size)
        left, top = (width - kept_width) / 2, (height - kept_height) / 2
        box = (left, top, left + kept_width, top + kept_height)
        return image.resize((side, side), Image.Resampling.BICUBIC, box=box, reducing_gap=3.0)

    return make


VERSIONS: dict[str, Preprocessing] = {
    version.name: version
    for version in (
        Preprocessing("squash32-v1", (32, 32), squash(32, 32), "The full frame, squashed to 32x32 pixels."),
        Preprocessing(
            "squash128-v1", (128, 128), squash(128, 128), "The full frame, squashed to 128x128 pixels."
        ),
        Preprocessing(
            "centre224-v1",
            (224, 224),
            centre(224, 0.85),
            "The middle 85 % of height and width, squashed to 224x224 pixels; of small images all.",
            kept=0.85,
        ),
    )
}


def find_version(name: str) -> Preprocessing:
    """Return the version of that name.

    Raises:
        UnknownPreprocessing: there is none.
    """
    try:
        return VERSIONS[name]
    except KeyError:
        known = ", ".join(sorted(VERSIONS))
        raise UnknownPreprocessing(f"There is no preprocessing '{name}'; there are: {known}.") from None


def make_input(image: Image.Image, version: str) -> Image.Image:
    """Turn a photo into a model's input.

    Args:
        image: RGB, any size from 1x1 pixels, already turned upright.
        version: a name in ``VERSIONS``.

    Returns:
        A new RGB image of the version's size, without metadata.

    Raises:
        UnknownPreprocessing: there is no such version.
        ValueError: ``image`` is not RGB.
    """
    preprocessing = find_version(version)
    if image.mode != "RGB":
        raise ValueError(f"Preprocessing takes an RGB image, not {image.mode}: convert it first.")
    made = preprocessing.make(image)
    made.info.clear()
    return made


def to_array(image: Image.Image) -> NDArray[np.uint8]:
    """Return an RGB image as uint8 [H, W, 3] in 0..255.

    Raises:
        ValueError: ``image`` is not RGB.
    """
    import numpy as np

    if image.mode != "RGB":
        raise ValueError(f"to_array takes an RGB image, not {image.mode}: convert it first.")
    return np.asarray(image, dtype=np.uint8).copy()


def make_inputs(images: NDArray[np.uint8] | Sequence[NDArray[np.uint8]], version: str) -> NDArray[np.uint8]:
    """``make_input`` over many images.

    Args:
        images: uint8 [N, h, w, 3], or N arrays uint8 [h, w, 3] of different sizes.

    Returns:
        uint8 [N, H, W, 3] of the version's size; the array itself where it has that size already.
    """
    import numpy as np

    if isinstance(images, np.ndarray) and images.shape[1:3] == find_version(version).size:
        return images
    return np.stack([to_array(make_input(Image.fromarray(image), version)) for image in images])


def hash_pixels(image: Image.Image) -> str:
    """sha256 of a picture's size and pixels."""
    digest = hashlib.sha256(f"{image.width}x{image.height}:".encode())
    digest.update(image.tobytes())
    return digest.hexdigest()
