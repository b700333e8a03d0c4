"""Is an uploaded file a photo that can be shown and classified? One decode answers and makes the copies.

The order: bytes counted, format found by content, size read from the header, then the decode,
reduced as early as possible. Nothing of the original file reaches what is stored.
"""

from __future__ import annotations

import io
import logging
from dataclasses import asdict, dataclass, replace
from typing import Any, BinaryIO

from PIL import Image

from classifier.images.colours import as_seen, convert_to_srgb, over_white
from classifier.images.decoding import (
    DISPLAY_SIDE,
    SIDEWAYS,
    Decoded,
    Limits,
    check_size,
    decode,
    too_many_pixels,
)
from classifier.images.errors import ImageRefused
from classifier.images.headers import Outline, read_outline
from classifier.images.inputs import pack
from classifier.images.quality import measure_quality
from training.engine.data.preprocessing import find_version, hash_pixels, make_input

logger = logging.getLogger(__name__)

THUMBNAIL_SIDE = 320
JPEG_QUALITY = 85
# Behind a JPEG without its end: a decoder that still wants data takes these for pixels.
END_OF_JPEG = b"\xff\xd9"
NO_PIXELS = bytes(1 + 37 * n * n % 253 for n in range(4096))


@dataclass(frozen=True)
class CheckedImage:
    """A photo as the site stores it.

    Attributes:
        display: JPEG, sRGB, longest side at most 1600 pixels, no metadata.
        thumbnail: the same at 320 pixels.
        input: what the model sees, packed by ``inputs.pack``, made from the picture in ``display``
            before its JPEG compression.
        width, height: of the original, upright, in pixels.
        size: of the original file, in bytes.
        format: what the upload was, one of ``FORMATS``.
        damaged: part of the file was damaged, so the picture shows less than there was.
        pixel_sha256: hash of the upright sRGB pixels in ``display`` before its JPEG
            compression, and their size. Two files that differ in metadata alone share it.
        input_sha256: hash of the model input's pixels and size.
        brightness, contrast, sharpness: see ``classifier.images.quality``.
    """

    display: bytes
    thumbnail: bytes
    input: bytes
    width: int
    height: int
    size: int
    format: str
    damaged: bool
    pixel_sha256: str
    input_sha256: str
    brightness: float
    contrast: float
    sharpness: float | None


@dataclass(frozen=True)
class Opened:
    """A stranger's file, decoded.

    Attributes:
        photo: RGB, upright, sRGB, without metadata.
        size: width and height of the original, upright, in pixels.
        bytes: of the file.
        format, damaged: as of ``CheckedImage``.
    """

    photo: Image.Image
    size: tuple[int, int]
    bytes: int
    format: str
    damaged: bool


def limits_from_settings() -> Limits:
    """Read ``UPLOAD_MAX_MB`` and ``UPLOAD_MAX_MEGAPIXELS`` of the site."""
    from django.conf import settings

    return Limits(
        max_bytes=int(settings.UPLOAD_MAX_MB * 1024 * 1024),
        max_pixels=int(settings.UPLOAD_MAX_MEGAPIXELS * 1_000_000),
    )


def read_limited(file: BinaryIO | bytes, limits: Limits) -> bytes:
    """Return the bytes of ``file``, never reading more than one byte past the limit.

    Raises:
        ImageRefused: ``empty`` or ``too_large``.
    """
    data = file if isinstance(file, bytes) else file.read(limits.max_bytes + 1)
    if not data:
        raise ImageRefused.because("empty")
    if len(data) > limits.max_bytes:
        raise ImageRefused.because("too_large", limit=f"{limits.max_bytes / 1024 / 1024:g}")
    return data


def declared_pixels(data: bytes, limits: Limits) -> int:
    """How many pixels a file says it has, before anything is decoded.

    HEIC says it only to its decoder, so it counts as the largest that may come.

    Raises:
        ImageRefused: as ``check_image``, for what can be told without decoding.
    """
    outline = read_outline(data)
    if outline.size is None:
        return limits.max_pixels
    check_size(outline.size, outline, limits)
    return outline.size[0] * outline.size[1]


def check_image(file: BinaryIO | bytes, *, preprocessing: str, limits: Limits) -> CheckedImage:
    """Decode an upload once and make everything that is stored of it.

    This runs native decoders on a stranger's bytes; a web process calls
    ``classifier.images.sandbox.check_isolated``, which runs this in a process of its own.

    Args:
        file: the bytes, or a file open for reading.
        preprocessing: a version of ``training.engine.data.preprocessing``.
        limits: see ``limits_from_settings``.

    Raises:
        ImageRefused: the file is not an acceptable image, whatever the reason.
        UnknownPreprocessing: ``preprocessing`` does not exist.
    """
    find_version(preprocessing)
    opened = open_photo(file, limits)
    photo = opened.photo
    made = make_input(photo, preprocessing)
    return CheckedImage(
        display=_save(photo, "JPEG", quality=JPEG_QUALITY),
        thumbnail=_save(_at_most(photo, THUMBNAIL_SIDE, gap=1.0), "JPEG", quality=JPEG_QUALITY),
        input=pack(made),
        width=opened.size[0],
        height=opened.size[1],
        size=opened.bytes,
        format=opened.format,
        damaged=opened.damaged,
        pixel_sha256=hash_pixels(photo),
        input_sha256=hash_pixels(made),
        **asdict(measure_quality(photo)),
    )


def open_photo(file: BinaryIO | bytes, limits: Limits, side: int = DISPLAY_SIDE) -> Opened:
    """Decode a stranger's file into an upright sRGB picture, at most ``side`` long.

    Raises:
        ImageRefused: the file is not an acceptable image, whatever the reason.
    """
    data = read_limited(file, limits)
    outline = read_outline(data)
    bytes_read = len(data)
    del data
    if outline.size:
        check_size(outline.size, outline, limits)
    try:
        photo, size, damaged = _decode(outline, limits, side)
    except ImageRefused:
        raise
    except Image.DecompressionBombError:
        megapixels = f">{2 * (Image.MAX_IMAGE_PIXELS or 0) // 1_000_000}"
        raise too_many_pixels(megapixels, limits) from None
    except MemoryError:
        raise ImageRefused.because("too_costly") from None
    except Exception as error:  # decoders raise anything: SyntaxError, struct.error, EOFError ...
        logger.info("%s refused: %s: %s", outline.format, type(error).__name__, error)
        truncated = isinstance(error, OSError) and "truncated" in str(error).lower()
        reason = "truncated" if truncated else "damaged"
        raise ImageRefused.because(reason, format=outline.format) from error
    return Opened(photo, size, bytes_read, outline.format, damaged)


def _decode(
    outline: Outline, limits: Limits, side: int = DISPLAY_SIDE
) -> tuple[Image.Image, tuple[int, int], bool]:
    """Return the upright sRGB picture, at most ``side`` long, its original size, and any damage."""
    damaged = outline.damaged
    whole = outline if outline.has_end else replace(outline, data=outline.data + END_OF_JPEG)
    decoded = decode(whole, limits, side)
    photo = _flatten_and_reduce(decoded, outline, side)
    if outline.format == "JPEG" and (not outline.has_end or _ends_in_grey(photo)):
        lacks_pixels = _lacks_pixels(outline, photo, limits, side)
        if lacks_pixels and not outline.has_end:
            raise ImageRefused.because("truncated", format="JPEG")
        damaged = damaged or lacks_pixels
    photo = convert_to_srgb(_at_most(photo, side), decoded.profile)
    width, height = decoded.size
    if decoded.turn is not None:
        photo = photo.transpose(decoded.turn)
        if decoded.turn in SIDEWAYS:
            width, height = height, width
    photo.info.clear()
    return photo, (width, height), damaged


def _ends_in_grey(photo: Image.Image) -> bool:
    """What decoders show where a JPEG has no more data, in its last corner."""
    corner = photo.crop((photo.width - 1, photo.height - 1, photo.width, photo.height)).convert("RGB")
    return all(low >= 127 and high <= 129 for low, high in corner.getextrema())  # type: ignore[misc]


def _lacks_pixels(outline: Outline, photo: Image.Image, limits: Limits, side: int) -> bool:
    """Whether another end of the file changes the picture: the decoder then wanted more data."""
    cut = outline.data.removesuffix(END_OF_JPEG)
    other = decode(replace(outline, data=cut + NO_PIXELS + END_OF_JPEG), limits, side)
    return _flatten_and_reduce(other, outline, side).tobytes() != photo.tobytes()


def _flatten_and_reduce(decoded: Decoded, outline: Outline, side: int) -> Image.Image:
    """Return RGB, L or CMYK over white, shrunk by a whole number.

    The number leaves the longer side above ``side``. It goes strip by strip, so a second
    copy of a large picture is never held.
    """
    width, height = decoded.drawn
    factor = max(width, height) // side
    if factor <= 1:
        return over_white(as_seen(decoded.rows(0, height), outline))
    rows = factor * max(1, 256 // factor)
    reduced: Image.Image | None = None
    for top in range(0, height, rows):
        strip = as_seen(decoded.rows(top, min(height, top + rows)), outline)
        strip = over_white(strip.reduce(factor))
        if reduced is None:
            reduced = Image.new(strip.mode, (strip.width, -(-height // factor)))
        reduced.paste(strip, (0, top // factor))
    assert reduced is not None
    return reduced


def _at_most(image: Image.Image, side: int, gap: float = 2.0) -> Image.Image:
    """Shrink to ``side``; beyond ``gap`` times that, whole blocks of pixels are averaged first.

    A small gap is the quicker one, and a little softer: of a thumbnail nobody sees it.
    """
    longest = max(image.size)
    if longest <= side:
        return image
    width, height = (max(1, round(length * side / longest)) for length in image.size)
    # Hamming: as sharp as bicubic when it shrinks, at the price of bilinear.
    return image.resize((width, height), Image.Resampling.HAMMING, reducing_gap=gap)


def _save(image: Image.Image, format: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()
