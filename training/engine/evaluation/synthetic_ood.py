"""Images made by rule that show none of the ten: noise, text, plain colours, screens.

The same seed gives the same images. Pillow and NumPy only.
"""

from __future__ import annotations

import string
from collections.abc import Callable
from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

Picture = NDArray[np.uint8]
Colour = tuple[int, int, int]
# From a small picture to a phone's screen, pixels.
SIDES = (32, 64, 128, 256, 400)


def make(kind: str, count: int, seed: int) -> list[Picture]:
    """``count`` images of a kind in ``KINDS``, uint8 [H, W, 3] of different sizes."""
    number = list(KINDS).index(kind)
    return [KINDS[kind](np.random.default_rng([seed, number, i])) for i in range(count)]


def noise(rng: np.random.Generator) -> Picture:
    """Uniform or Gaussian, in colour or grey, each pixel by itself."""
    height, width = rng.choice(SIDES, 2)
    channels = 3 if rng.random() < 0.7 else 1
    shape = (height, width, channels)
    if rng.random() < 0.5:
        values = rng.uniform(0, 256, shape)
    else:
        values = rng.normal(rng.uniform(60, 200), rng.uniform(15, 90), shape)
    return np.repeat(np.clip(values, 0, 255).astype(np.uint8), 3 // channels, axis=2)


def plain(rng: np.random.Generator) -> Picture:
    """One colour, or one that turns into another along a line or from a point."""
    height, width = rng.choice(SIDES, 2)
    first, second = (np.array(_colour(rng), np.float64) for _ in range(2))
    if rng.random() < 0.4:
        return np.broadcast_to(first, (height, width, 3)).astype(np.uint8)
    y, x = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j]
    if rng.random() < 0.5:
        angle = rng.uniform(0, 2 * np.pi)
        along = x * np.cos(angle) + y * np.sin(angle)
    else:
        along = np.hypot(x - rng.random(), y - rng.random())
    share = ((along - along.min()) / max(float(np.ptp(along)), 1e-9))[:, :, None]
    return np.asarray(first + share * (second - first), np.uint8)


def text(rng: np.random.Generator) -> Picture:
    """Lines of letters on a page, dark on light or light on dark."""
    width, height = (int(side) for side in rng.integers(160, 700, 2))
    page, ink = _ink_on_paper(rng)
    image = Image.new("RGB", (width, height), page)
    _lines(image, (8, 8, width - 8, height - 8), ink, int(rng.integers(10, 49)), rng)
    return np.asarray(image)


def screen(rng: np.random.Generator) -> Picture:
    """A window: a title bar, a column of entries, text, boxes and buttons."""
    wide = rng.random() < 0.6
    width, height = (int(rng.integers(480, 800)), int(rng.integers(320, 520)))
    if not wide:
        width, height = height, width
    page, ink = _ink_on_paper(rng)
    accent = _colour(rng)
    image = Image.new("RGB", (width, height), page)
    draw = ImageDraw.Draw(image)
    bar = int(rng.integers(24, 56))
    draw.rectangle((0, 0, width, bar), fill=accent)
    _lines(image, (12, 6, width // 2, bar - 4), page, bar // 2, rng)
    left = int(width * rng.uniform(0.15, 0.3)) if wide else 0
    if left:
        draw.rectangle((0, bar, left, height), fill=_between(page, ink, 0.08))
        for top in range(bar + 12, height - 20, 26):
            _lines(image, (10, top, left - 8, top + 18), ink, 12, rng)
    top = bar + 14
    while top < height - 60:
        tall = int(rng.integers(40, 130))
        right, end = width - 14, min(top + tall, height - 10)
        block = rng.integers(4)
        if block == 0:
            _lines(image, (left + 14, top, right, end), ink, int(rng.integers(11, 20)), rng)
        elif block == 1:
            draw.rectangle((left + 14, top, right, end), outline=_between(page, ink, 0.3))
            _lines(image, (left + 22, top + 8, right - 8, end - 6), ink, 13, rng)
        elif block == 2:
            for x in range(left + 14, right - 60, 84):
                draw.rounded_rectangle((x, top, x + 72, top + 28), 6, fill=accent)
                _lines(image, (x + 8, top + 6, x + 66, top + 24), page, 13, rng)
            end = top + 30
        else:
            for y in range(top, end - 14, 18):
                draw.line((left + 14, y, right, y), fill=_between(page, ink, 0.2))
                for x in range(left + 18, right - 40, 90):
                    _lines(image, (x, y + 2, x + 70, y + 17), ink, 11, rng)
        top = end + 14
    return np.asarray(image)


KINDS: dict[str, Callable[[np.random.Generator], Picture]] = {
    "noise": noise,
    "text": text,
    "plain": plain,
    "screen": screen,
}


def _colour(rng: np.random.Generator) -> Colour:
    red, green, blue = (int(value) for value in rng.integers(0, 256, 3))
    return red, green, blue


def _ink_on_paper(rng: np.random.Generator) -> tuple[Colour, Colour]:
    light, dark = (int(v) for v in (rng.integers(215, 256), rng.integers(0, 60)))
    paper, ink = (light, light, light), (dark, dark, dark)
    return (paper, ink) if rng.random() < 0.7 else (ink, paper)


def _between(first: Colour, second: Colour, share: float) -> Colour:
    red, green, blue = (round(a + share * (b - a)) for a, b in zip(first, second, strict=True))
    return red, green, blue


@cache
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def _lines(
    image: Image.Image, box: tuple[int, int, int, int], ink: Colour, size: int, rng: np.random.Generator
) -> None:
    """Fill a box with lines of made-up words."""
    left, top, right, bottom = box
    if right - left < 8 or bottom - top < 8:
        return
    area = Image.new("L", (right - left, bottom - top), 0)
    draw = ImageDraw.Draw(area)
    letters = np.array(list(string.ascii_lowercase))
    for y in range(0, max(1, bottom - top - size), int(size * 1.4)):
        words = ["".join(rng.choice(letters, rng.integers(2, 10))) for _ in range(12)]
        # What lies beyond the box is not drawn: even the narrowest letter is wider than a fifth of the size.
        shown = " ".join(words).capitalize()[: 5 * (right - left) // size + 2]
        draw.text((0, y), shown, fill=255, font=_font(size))
    image.paste(Image.new("RGB", area.size, ink), (left, top), area)
