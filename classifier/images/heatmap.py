"""A heat map as a picture to lay over a photo. NumPy and Pillow alone: web processes draw it."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from classifier.images.crops import Crop

# What speaks for a label, and what against it; told apart by people who see no red or green, too.
FOR, AGAINST = (240, 120, 0), (30, 110, 255)
STRONGEST = 215
SIDE = 480
# In nats: weaker evidence than this fills no map with full colour.
LEAST_SCALE = 0.5


def draw(grid: list[list[float]], scale: float, size: tuple[int, int], crop: Crop | None) -> bytes:
    """A PNG, transparent where nothing speaks either way.

    Args:
        grid: nats, rows from the top.
        scale: the nats that get the full colour.
        size: width and height of the photo, which the picture's proportions follow.
        crop: where on the photo the map lies.
    """
    longest = max(size)
    width, height = (max(1, round(SIDE * side / longest)) for side in size)
    left, top, right, bottom = crop.box((width, height)) if crop else (0, 0, width, height)
    plane = Image.fromarray(np.asarray(grid, np.float32))
    plane = plane.resize((right - left, bottom - top), Image.Resampling.BICUBIC)
    values = np.clip(np.asarray(plane) / max(scale, LEAST_SCALE), -1, 1)
    pixels = np.zeros((height, width, 4), np.uint8)
    part = pixels[top:bottom, left:right]
    part[..., :3] = np.where(values[..., None] >= 0, FOR, AGAINST)
    part[..., 3] = np.rint(STRONGEST * np.abs(values))
    file = io.BytesIO()
    Image.fromarray(pixels, "RGBA").save(file, "PNG", optimize=True)
    return file.getvalue()
