"""A part of a photo that somebody points at, and the model input that is made of it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, astuple, dataclass, fields
from typing import Any

from django.utils.translation import gettext_lazy as _
from PIL import Image

from classifier.images.decoding import DISPLAY_SIDE
from classifier.models import Photo
from training.engine.data.preprocessing import make_input

# The smallest part, as a share of a side and in pixels of the stored copy.
LEAST_SHARE, LEAST_PIXELS = 0.02, 16
DIGITS = 4

# Parts that can be asked about with one press, in percent of the sides.
PRESETS: dict[str, tuple[Any, Mapping[str, float]]] = {
    "middle": (_("Middle"), {"left": 25, "top": 25, "width": 50, "height": 50}),
    "left": (_("Left half"), {"left": 0, "top": 0, "width": 50, "height": 100}),
    "right": (_("Right half"), {"left": 50, "top": 0, "width": 50, "height": 100}),
    "upper": (_("Upper half"), {"left": 0, "top": 0, "width": 100, "height": 50}),
    "lower": (_("Lower half"), {"left": 0, "top": 50, "width": 100, "height": 50}),
}


class CropRefused(ValueError):
    """No part of the photo can be made of this; ``detail`` says what to do."""

    def __init__(self, detail: Any) -> None:
        super().__init__(detail)
        self.detail = detail


@dataclass(frozen=True)
class Crop:
    """A part of an upright photo, each figure a share of its width or height from 0 to 1."""

    left: float
    top: float
    width: float
    height: float

    def box(self, size: tuple[int, int]) -> tuple[int, int, int, int]:
        """Left, top, right, bottom in whole pixels of a picture of ``size`` (width, height)."""
        width, height = size
        left = min(round(self.left * width), width - 1)
        top = min(round(self.top * height), height - 1)
        right = min(max(round((self.left + self.width) * width), left + 1), width)
        bottom = min(max(round((self.top + self.height) * height), top + 1), height)
        return left, top, right, bottom

    @property
    def shares(self) -> dict[str, float]:
        """The four figures by name."""
        return asdict(self)

    @property
    def percents(self) -> dict[str, float]:
        """The four figures as percent, for forms and drawings."""
        return {name: round(100 * share, 2) for name, share in self.shares.items()}


def read_crop(values: Mapping[str, Any], photo: Photo, *, whole: float = 1.0) -> Crop | None:
    """The part that four figures name; None where they name the whole photo.

    Args:
        values: ``left``, ``top``, ``width``, ``height``.
        whole: what stands for a whole side: 1 for shares, 100 for percents.

    Raises:
        CropRefused: a figure is missing or no number, or the part lies outside or is too small.
    """
    try:
        left, top, width, height = (float(values[field.name]) / whole for field in fields(Crop))
    except (KeyError, TypeError, ValueError):
        raise CropRefused(_("Give four numbers: left, top, width and height.")) from None
    if not all(map(math.isfinite, (left, top, width, height))):
        raise CropRefused(_("Give four numbers: left, top, width and height."))
    # A hand that drags or types is a little over the edge now and then.
    slack = 0.01
    if min(left, top) < 0 or left + width > 1 + slack or top + height > 1 + slack:
        raise CropRefused(_("The part goes beyond the photo: make it smaller, or move it."))
    width, height = min(width, 1 - left), min(height, 1 - top)
    shown = max(photo.width, photo.height)
    scale = min(1.0, DISPLAY_SIDE / shown) if shown else 1.0
    pixels = min(width * photo.width, height * photo.height) * scale
    if min(width, height) < LEAST_SHARE or pixels < LEAST_PIXELS:
        raise CropRefused(
            _("The part is too small: at least %(percent)d %% of each side, and %(pixels)d pixels.")
            % {"percent": 100 * LEAST_SHARE, "pixels": LEAST_PIXELS}
        )
    crop = Crop(*(round(value, DIGITS) for value in (left, top, width, height)))
    return None if min(crop.width, crop.height) > 1 - slack else crop


def stored_crop(values: list[float] | None) -> Crop | None:
    """A prediction's ``crop`` as it is stored."""
    return Crop(*values) if values else None


def to_store(crop: Crop | None) -> list[float] | None:
    return list(astuple(crop)) if crop else None


def input_from_display(photo: Photo, crop: Crop | None, preprocessing: str) -> Image.Image:
    """What a model sees of a photo, or of a part of it, made from the stored display copy.

    The original file is not kept: the copy is a JPEG of at most 1,600 pixels.

    Raises:
        OSError, ValueError: the stored copy cannot be read.
    """
    with photo.display.open("rb") as file, Image.open(file, formats=["JPEG"]) as image:
        picture = image.convert("RGB")
    return make_input(picture.crop(crop.box(picture.size)) if crop else picture, preprocessing)
