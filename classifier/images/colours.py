"""What is decoded becomes what a browser shows: 8 bits, in a screen's brightness, over white, in sRGB."""

from __future__ import annotations

import io
import logging
from typing import Any

from PIL import Image, ImageChops, ImageCms

from classifier.images.headers import Outline

logger = logging.getLogger(__name__)

SCREEN_GAMMA, GAMMA_TOLERANCE = 2.2, 0.05


def as_seen(image: Image.Image, outline: Outline) -> Image.Image:
    """Return 8 bits a sample, in the brightness that a screen shows them in."""
    expanded = _expand(image, outline.depth)
    gamma = outline.gamma
    # So near to a screen's that browsers leave it as it is; or no light at all.
    if gamma is None or gamma <= 0 or abs(gamma * SCREEN_GAMMA - 1) < GAMMA_TOLERANCE:
        return expanded
    brighter = [round(255 * _srgb((value / 255) ** (1 / gamma))) for value in range(256)]
    bands = [
        band if name == "A" else band.point(brighter)
        for name, band in zip(expanded.getbands(), expanded.split(), strict=True)
    ]
    return Image.merge(expanded.mode, bands)


def _srgb(light: float) -> float:
    """sRGB's curve: what a sample is for a share of the full light (IEC 61966-2-1)."""
    return 12.92 * light if light <= 0.0031308 else 1.055 * light ** (1 / 2.4) - 0.055


def _expand(image: Image.Image, depth: int) -> Image.Image:
    """Return 8 bits a sample: RGB, L or CMYK, or RGBA where something is transparent."""
    transparent: Any = image.info.get("transparency")
    if image.mode == "CMYK":
        return image
    if image.mode.startswith("I"):  # 16 bits a sample; Pillow's own conversion clips
        image = image.convert("I")
        grey = image.point([value >> 8 for value in range(65_536)], "L")
        if transparent is None:
            return grey
        return _with_alpha(grey, image.point([255 * (value != transparent) for value in range(65_536)], "L"))
    if image.mode in ("1", "L"):
        grey = image.convert("L")
        if not isinstance(transparent, int):
            return grey
        # PNG names the grey in the file's own depth, Pillow gives the pixels in 8 bits.
        scaled = transparent * 255 // (2**depth - 1) if image.mode == "L" and depth < 8 else transparent
        return _with_alpha(grey, grey.point([255 * (value != scaled) for value in range(256)]))
    if image.mode == "RGB" and isinstance(transparent, tuple):
        colour = [value >> 8 if depth == 16 else value for value in transparent]
        differs = [
            band.point([255 * (value != sample) for value in range(256)])
            for band, sample in zip(image.split(), colour, strict=True)
        ]
        return _with_alpha(image, ImageChops.lighter(ImageChops.lighter(differs[0], differs[1]), differs[2]))
    if image.mode == "RGB":
        return image
    return image.convert("RGBA" if image.has_transparency_data else "RGB")


def _with_alpha(image: Image.Image, alpha: Image.Image) -> Image.Image:
    opaque = image.convert("RGB")
    opaque.info.clear()
    opaque.putalpha(alpha)
    return opaque


def over_white(image: Image.Image) -> Image.Image:
    if image.mode != "RGBA":
        return image
    white = Image.new("RGB", image.size, "white")
    white.paste(image.convert("RGB"), mask=image.getchannel("A"))
    return white


def convert_to_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    if profile:
        try:
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            if "srgb" not in ImageCms.getProfileDescription(source).lower():
                target = ImageCms.createProfile("sRGB")
                converted = ImageCms.profileToProfile(image, source, target, outputMode="RGB")
                if converted is not None:
                    return converted
        except Exception as error:  # a broken or foreign profile: the plain conversion is near enough
            logger.info("colour profile ignored: %s", error)
    return image.convert("RGB")
