"""Which image formats are accepted, and how large: one table for checks, forms, API and documents."""

from __future__ import annotations

from dataclasses import dataclass

# What a decoder may hold of one picture, in bytes: with the rest of the process less than 300 MB.
MAX_DECODED_BYTES = 240_000_000


@dataclass(frozen=True)
class Format:
    """How a format is read.

    Attributes:
        opener: Pillow's name of it.
        bytes_a_pixel: what its decoder holds of the whole picture, measured; 0 where the picture is
            shrunk while it is decoded, or strip by strip, so that the limit of the site is bound enough.
    """

    opener: str
    bytes_a_pixel: float = 0


FORMATS = {
    "JPEG": Format("JPEG"),
    "PNG": Format("PNG"),
    "GIF": Format("GIF"),
    "BMP": Format("BMP"),
    "HEIC": Format("HEIF", 4.7),  # 4:2:0 planes and the picture
    "AVIF": Format("AVIF", 8.4),  # 4:2:0 planes and the picture, twice
    "WebP": Format("WEBP", 12.8),  # two canvases and a copy
}
FORMAT_NAMES = ", ".join(FORMATS)
# Of a file dialog: what browsers and systems do not count among images by themselves stands beside them.
ACCEPT = "image/*,.heic,.heif,.avif"


def most_megapixels(name: str, site_limit: float) -> float:
    """What an ordinary picture of the format may have; others of its kind may take more memory.

    Args:
        site_limit: ``UPLOAD_MAX_MEGAPIXELS``.
    """
    each = FORMATS[name].bytes_a_pixel
    return min(site_limit, MAX_DECODED_BYTES // (each * 1_000_000)) if each else site_limit


def limits_by_format(site_limit: float) -> list[tuple[str, float]]:
    """(formats, megapixels), the largest first: 'JPEG, PNG', 51."""
    found: dict[float, list[str]] = {}
    for name in FORMATS:
        found.setdefault(most_megapixels(name, site_limit), []).append(name)
    return [(", ".join(found[limit]), limit) for limit in sorted(found, reverse=True)]


def limits_in_words(site_limit: float) -> str:
    """For programmers; people read the form."""
    return "; ".join(f"{names}: {limit:g} megapixels" for names, limit in limits_by_format(site_limit))
