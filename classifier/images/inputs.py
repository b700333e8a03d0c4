"""A model's input as the site keeps it: to the pixel, and without compression.

Packing 224x224 pixels as a PNG and unpacking them takes 4 ms of the processor, a fifth of what a photo
costs in all, and saves a third of 150 kB. Who downloads an input gets a PNG.
"""

from __future__ import annotations

import io
from typing import IO, Any

from django.core.files.base import ContentFile
from PIL import Image

from training.engine.data.preprocessing import hash_pixels

# What earlier versions wrote is read too.
FORMATS = ("BMP", "PNG")


def pack(made: Image.Image) -> bytes:
    """A model input as it is stored: RGB, without metadata."""
    file = io.BytesIO()
    made.save(file, "BMP")
    return file.getvalue()


def encode_input(made: Image.Image) -> tuple[ContentFile[bytes], str]:
    """A model input's file, and the hash of its pixels."""
    return ContentFile(pack(made)), hash_pixels(made)


def read_input(file: IO[Any]) -> Image.Image:
    """The RGB pixels of a stored model input.

    Raises:
        OSError, ValueError, SyntaxError: the file is damaged.
    """
    with Image.open(file, formats=FORMATS) as image:
        return image.convert("RGB")


def input_as_png(file: IO[Any]) -> bytes:
    """A stored model input for those who download it.

    Raises:
        OSError, ValueError, SyntaxError: the file is damaged.
    """
    made = io.BytesIO()
    read_input(file).save(made, "PNG", compress_level=1)
    return made.getvalue()
