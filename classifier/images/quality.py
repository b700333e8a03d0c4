"""Is a photo dark or blurred? Measured once, from the decoded picture, with Pillow alone.

The thresholds come from 137 photos that were set apart for choosing, and from copies of them
that were made darker and more blurred. There the shipped photo_net was right in 89 % of the 63
photos of its ten things; in 76 % after a blur of 1 % of the longer side, in 71 % after 1.5 %; in
84 % when the mean lightness was about 0.09, in 76 % at 0.07.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate

from PIL import Image, ImageChops, ImageStat

# Looked at about as coarsely as models do: blur that is gone in their input does not count.
SIDE = 128
# One of the 137 photos is darker.
DARK = 0.1
# 2 of the 137 photos are less sharp, and so are all of them after a blur of 1 % of the longer side.
BLURRED = 0.39
# The half percent of the places with the most detail: how sharp the sharpest edges are.
EDGES = 0.995
# Levels of 0..255: where the coarse edges are weaker than this there is nothing that could be sharp.
PLAIN = 8


@dataclass(frozen=True)
class Quality:
    """What can be measured without knowing what is in the photo.

    Attributes:
        brightness: mean lightness, 0 (black) to 1 (white).
        contrast: standard deviation of the lightness, 0 to 0.5.
        sharpness: the strongest of the finest detail against the strongest of detail eight times
            as coarse, about 0.75 in a photo; None where there is hardly any detail.
    """

    brightness: float
    contrast: float
    sharpness: float | None


def measure_quality(picture: Image.Image) -> Quality:
    """Measure an upright RGB picture of any size from 1x1 pixels."""
    grey = picture.convert("L")
    levels = ImageStat.Stat(grey)
    brightness, contrast = levels.mean[0] / 255, levels.stddev[0] / 255
    grey.thumbnail((SIDE, SIDE), Image.Resampling.BOX, reducing_gap=None)
    strengths = []
    for _octave in range(4):
        halved = grey.resize((max(1, grey.width // 2), max(1, grey.height // 2)), Image.Resampling.BOX)
        restored = halved.resize(grey.size, Image.Resampling.BILINEAR)
        strengths.append(_strongest(ImageChops.difference(grey, restored)))
        grey = halved
    fine, coarse = strengths[0], strengths[-1]
    return Quality(
        round(brightness, 4), round(contrast, 4), round(fine / coarse, 4) if coarse >= PLAIN else None
    )


def _strongest(difference: Image.Image) -> int:
    """The level, 0..255, that a share of ``EDGES`` of the places does not exceed."""
    counts = difference.histogram()
    wanted = EDGES * sum(counts)
    return next(level for level, seen in enumerate(accumulate(counts)) if seen >= wanted)
