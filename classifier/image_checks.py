"""Is an uploaded file a photo that can be shown and classified? One decode answers and makes the copies.

The order: bytes counted, format found by content, size read from the header, then the decode,
reduced as early as possible. Nothing of the original file reaches what is stored.
"""

from __future__ import annotations

import hashlib
import io
import logging
import zlib
from dataclasses import dataclass
from typing import Any, BinaryIO

import pillow_heif
from django.core.files.base import ContentFile
from PIL import Image, ImageChops, ImageCms, ImageOps, WebPImagePlugin  # noqa: F401 (registers WebP)

from classifier.image_headers import Outline, read_outline
from classifier.image_quality import measure_quality
from classifier.image_refusals import ImageRefused
from training.engine.preprocessing import find_version, make_input

__all__ = [
    "CheckedImage",
    "ImageRefused",
    "Limits",
    "check_image",
    "encode_input",
    "limits_from_settings",
    "read_limited",
]

logger = logging.getLogger(__name__)

DISPLAY_SIDE = 1600
THUMBNAIL_SIDE = 320
JPEG_QUALITY = 85
# Less than half the time of Pillow's level 6 without the strategy, and on photos 3 % more bytes.
PNG = {"compress_level": 1, "compress_type": zlib.Z_RLE}
# What a decoder may hold of one picture, in bytes: with the rest of the process less than 300 MB.
MAX_DECODED_BYTES = 240_000_000
MAX_SIDE = 65_535  # what a JPEG can hold; Pillow's memory grows with the number of rows
ORIENTATION = 0x0112
OPENERS = {"JPEG": "JPEG", "PNG": "PNG", "WebP": "WEBP", "GIF": "GIF", "BMP": "BMP", "HEIC": "HEIF"}
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

pillow_heif.register_heif_opener(decode_threads=1, thumbnails=False, aux_images=False)


@dataclass(frozen=True)
class Limits:
    """What an upload may weigh: bytes of the file, pixels of the picture (width times height)."""

    max_bytes: int
    max_pixels: int


@dataclass(frozen=True)
class CheckedImage:
    """A photo as the site stores it.

    Attributes:
        display: JPEG, sRGB, longest side at most 1600 pixels, no metadata.
        thumbnail: the same at 320 pixels.
        input: PNG (lossless) of what the model sees, made from the picture in ``display``
            before its JPEG compression.
        width, height: of the original, upright, in pixels.
        size: of the original file, in bytes.
        format: what the upload was: JPEG, PNG, WebP, GIF, BMP or HEIC.
        pixel_sha256: hash of the upright sRGB pixels in ``display`` before its JPEG
            compression, and their size. Two files that differ in metadata alone share it.
        input_sha256: hash of the model input's pixels and size.
        brightness, contrast, sharpness: see ``classifier.image_quality``.
    """

    display: bytes
    thumbnail: bytes
    input: bytes
    width: int
    height: int
    size: int
    format: str
    pixel_sha256: str
    input_sha256: str
    brightness: float
    contrast: float
    sharpness: float | None


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


def check_image(file: BinaryIO | bytes, *, preprocessing: str, limits: Limits) -> CheckedImage:
    """Decode an upload once and make everything that is stored of it.

    This runs native decoders on a stranger's bytes; a web process calls
    ``classifier.decoder.check_isolated``, which runs this in a process of its own.

    Args:
        file: the bytes, or a file open for reading.
        preprocessing: a version of ``training.engine.preprocessing``.
        limits: see ``limits_from_settings``.

    Raises:
        ImageRefused: the file is not an acceptable image, whatever the reason.
        UnknownPreprocessing: ``preprocessing`` does not exist.
    """
    find_version(preprocessing)
    data = read_limited(file, limits)
    outline = read_outline(data)
    bytes_read = len(data)
    del data
    if outline.size:
        _check_size(outline.size, outline, limits)
    try:
        photo, (width, height) = _decode(outline, limits)
    except ImageRefused:
        raise
    except Image.DecompressionBombError:
        megapixels = f">{2 * (Image.MAX_IMAGE_PIXELS or 0) // 1_000_000}"
        raise _too_many_pixels(megapixels, limits) from None
    except MemoryError:
        raise ImageRefused.because("too_costly") from None
    except Exception as error:  # decoders raise anything: SyntaxError, struct.error, EOFError ...
        logger.info("%s refused: %s: %s", outline.format, type(error).__name__, error)
        truncated = isinstance(error, OSError) and "truncated" in str(error).lower()
        reason = "truncated" if truncated else "damaged"
        raise ImageRefused.because(reason, format=outline.format) from error

    made = make_input(photo, preprocessing)
    quality = measure_quality(photo)
    return CheckedImage(
        display=_save(photo, "JPEG", quality=JPEG_QUALITY),
        thumbnail=_save(_at_most(photo, THUMBNAIL_SIDE, gap=1.0), "JPEG", quality=JPEG_QUALITY),
        input=_save(made, "PNG", **PNG),
        width=width,
        height=height,
        size=bytes_read,
        format=outline.format,
        pixel_sha256=_hash(photo),
        input_sha256=_hash(made),
        brightness=quality.brightness,
        contrast=quality.contrast,
        sharpness=quality.sharpness,
    )


def encode_input(made: Image.Image) -> tuple[ContentFile[bytes], str]:
    """Return a model input as a PNG file (lossless, without metadata) and the hash of its pixels."""
    return ContentFile(_save(made, "PNG", **PNG)), _hash(made)


def _check_size(size: tuple[int, int], outline: Outline, limits: Limits) -> None:
    width, height = size
    if width * height > limits.max_pixels:
        raise _too_many_pixels(f"{width * height / 1_000_000:.1f}", limits)
    if width * height * outline.bytes_a_pixel > MAX_DECODED_BYTES:
        raise ImageRefused.because(
            "too_many_pixels_of_kind",
            format=outline.format,
            megapixels=f"{width * height / 1_000_000:.1f}",
            limit=f"{MAX_DECODED_BYTES / outline.bytes_a_pixel / 1_000_000:.0f}",
        )
    if max(size) > MAX_SIDE:
        raise ImageRefused.because("too_long", side=max(size), limit=MAX_SIDE)


def _too_many_pixels(megapixels: str, limits: Limits) -> ImageRefused:
    limit = f"{limits.max_pixels / 1_000_000:g}"
    return ImageRefused.because("too_many_pixels", megapixels=megapixels, limit=limit)


def _decode(outline: Outline, limits: Limits) -> tuple[Image.Image, tuple[int, int]]:
    """Return the upright sRGB picture, its longer side at most ``DISPLAY_SIDE``, and its original size."""
    with Image.open(io.BytesIO(outline.data), formats=[OPENERS[outline.format]]) as image:
        _check_size(image.size, outline, limits)
        width, height = image.size
        factor = max(width, height) // DISPLAY_SIDE
        if outline.format == "JPEG" and factor > 1:
            # libjpeg decodes to 1/2, 1/4 or 1/8 for much less work; the result is never too small.
            image.draft(None, (max(1, width // factor), max(1, height // factor)))
        profile = image.info.get("icc_profile")
        image.load()
        if outline.format == "HEIC":
            _check_size(image.size, outline, limits)  # the true size is known only now
            width, height = image.size
        orientation = _find_orientation(image)
        photo = _flatten_and_reduce(image, outline.depth)
    photo = _convert_to_srgb(_at_most(photo, DISPLAY_SIDE), profile)
    if orientation in TURNS:
        photo = photo.transpose(TURNS[orientation])
    if orientation in (5, 6, 7, 8):
        width, height = height, width
    photo.info.clear()
    return photo, (width, height)


def _find_orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(ORIENTATION, 1))
    except Exception:  # a broken EXIF block is no reason to refuse the picture
        return 1


def _flatten_and_reduce(image: Image.Image, depth: int) -> Image.Image:
    """Return RGB, L or CMYK over white, shrunk by a whole number.

    The number leaves the longer side above ``DISPLAY_SIDE``. It goes strip by strip, so a second
    copy of a large picture is never held.
    """
    width, height = image.size
    factor = max(width, height) // DISPLAY_SIDE
    if factor <= 1:
        return _over_white(_expand(image, depth))
    rows = factor * max(1, 256 // factor)
    reduced: Image.Image | None = None
    for top in range(0, height, rows):
        strip = _expand(image.crop((0, top, width, min(height, top + rows))), depth)
        strip = _over_white(strip.reduce(factor))
        if reduced is None:
            reduced = Image.new(strip.mode, (strip.width, -(-height // factor)))
        reduced.paste(strip, (0, top // factor))
    assert reduced is not None
    return reduced


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


def _over_white(image: Image.Image) -> Image.Image:
    if image.mode != "RGBA":
        return image
    white = Image.new("RGB", image.size, "white")
    white.paste(image.convert("RGB"), mask=image.getchannel("A"))
    return white


def _convert_to_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
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


def _hash(image: Image.Image) -> str:
    digest = hashlib.sha256(f"{image.width}x{image.height}:".encode())
    digest.update(image.tobytes())
    return digest.hexdigest()
