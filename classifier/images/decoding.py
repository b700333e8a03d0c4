"""Decoders make a picture of a file, in as little memory as each of them allows."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from PIL import AvifImagePlugin, Image, WebPImagePlugin  # noqa: F401 (registers WebP)

from classifier.images.errors import ImageRefused
from classifier.images.formats import FORMATS, MAX_DECODED_BYTES
from classifier.images.headers import Outline

DISPLAY_SIDE = 1600
MAX_SIDE = 65_535  # what a JPEG can hold; Pillow's memory grows with the number of rows
ORIENTATION = 0x0112
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
SIDEWAYS = {
    *(Image.Transpose.TRANSPOSE, Image.Transpose.TRANSVERSE),
    *(Image.Transpose.ROTATE_90, Image.Transpose.ROTATE_270),
}
ROTATIONS = {  # counter-clockwise
    90: Image.Transpose.ROTATE_90,
    180: Image.Transpose.ROTATE_180,
    270: Image.Transpose.ROTATE_270,
}
ROTATION_BOX = re.compile(rb"\0\0\0\x09irot.", re.DOTALL)
# How much more than 4:2:0 with 8 bits a sample an HEIC or AVIF takes, measured.
MORE_BYTES_A_PIXEL = {444: 4.6, 422: 2.3}
DEEP_FACTOR, ALPHA_BYTES = 1.7, 3.0

AvifImagePlugin.DEFAULT_MAX_THREADS = 1  # each thread holds pictures of its own


@dataclass(frozen=True)
class Limits:
    """What an upload may weigh: bytes of the file, pixels of the picture (width times height)."""

    max_bytes: int
    max_pixels: int


@dataclass
class Decoded:
    """A picture that a decoder has made, in rows.

    Attributes:
        size: of the original, as stored.
        drawn: of what was decoded, which may be smaller.
        rows: the picture from one row to before another one.
        turn: what the file says about its turn and the decoder has not done.
    """

    size: tuple[int, int]
    drawn: tuple[int, int]
    rows: Callable[[int, int], Image.Image]
    profile: bytes | None
    turn: Image.Transpose | None


def decode(outline: Outline, limits: Limits, side: int = DISPLAY_SIDE) -> Decoded:
    """Decode the first frame, smaller than it is where the decoder can, but never below ``side``."""
    if outline.format == "HEIC":
        return _decode_heic(outline.data, limits)
    return _decode_with_pillow(outline, limits, side)


def check_size(size: tuple[int, int], outline: Outline, limits: Limits) -> None:
    width, height = size
    if width * height > limits.max_pixels:
        raise too_many_pixels(f"{width * height / 1_000_000:.1f}", limits)
    if width * height * outline.bytes_a_pixel > MAX_DECODED_BYTES:
        raise ImageRefused.because(
            "too_many_pixels_of_kind",
            format=outline.format,
            megapixels=f"{width * height / 1_000_000:.1f}",
            limit=int(MAX_DECODED_BYTES / outline.bytes_a_pixel / 1_000_000),
        )
    if max(size) > MAX_SIDE:
        raise ImageRefused.because("too_long", side=max(size), limit=MAX_SIDE)


def too_many_pixels(megapixels: str, limits: Limits) -> ImageRefused:
    limit = f"{limits.max_pixels / 1_000_000:g}"
    return ImageRefused.because("too_many_pixels", megapixels=megapixels, limit=limit)


def _decode_with_pillow(outline: Outline, limits: Limits, side: int) -> Decoded:
    opener = FORMATS[outline.format].opener
    with Image.open(io.BytesIO(outline.data), formats=[opener]) as image:
        width, height = size = image.size
        weight = outline.bytes_a_pixel
        if outline.format == "AVIF":
            weight = FORMATS["AVIF"].bytes_a_pixel + ALPHA_BYTES * (image.mode == "RGBA")
        check_size(size, replace(outline, bytes_a_pixel=weight), limits)
        factor = max(width, height) // side
        if outline.format == "JPEG" and factor > 1:
            # libjpeg decodes to 1/2, 1/4 or 1/8 for much less work; the result is never too small.
            image.draft(None, (max(1, width // factor), max(1, height // factor)))
        profile = image.info.get("icc_profile")
        if outline.format in ("WebP", "AVIF"):
            rows = _rows_as_they_come(image)
        else:
            image.load()
            rows = _rows_of(image, outline.frame)
        turn = TURNS.get(_find_orientation(image.info.get("exif")))
        return Decoded(size, image.size, rows, profile, turn)


def _rows_of(
    image: Image.Image, frame: tuple[int, int, int, int] | None
) -> Callable[[int, int], Image.Image]:
    def rows(top: int, bottom: int) -> Image.Image:
        strip = image.crop((0, top, image.width, bottom))
        if frame is None or frame == (0, 0, *image.size):
            return strip
        # Pillow fills what is beside the frame with the background's colour, browsers leave it transparent.
        inside = (frame[0], max(frame[1] - top, 0), frame[2], min(frame[3], bottom) - top)
        blank = Image.new("RGBA", strip.size)
        if inside[0] < inside[2] and inside[1] < inside[3]:
            blank.paste(strip.crop(inside).convert("RGBA"), inside)
        return blank

    return rows


def _rows_as_they_come(image: Any) -> Callable[[int, int], Image.Image]:
    """Pillow's ``load`` would copy what these decoders hand out, of which there is much."""
    if image.format == "AVIF":
        data, raw = image._decoder.get_frame(0)[0], image.mode
    else:
        frame = image._decoder.get_next()
        if frame is None:
            raise EOFError("no first frame")
        data, raw = frame[0], image.rawmode
    image._decoder = None  # and its canvases
    return _rows_in(data, image.mode, image.size, raw, len(raw) * image.width)


def _rows_in(
    data: bytes | memoryview, mode: str, size: tuple[int, int], raw: str, stride: int
) -> Callable[[int, int], Image.Image]:
    view = memoryview(data)
    if len(view) < stride * size[1]:
        raise ValueError("fewer rows than were promised")
    return lambda top, bottom: Image.frombytes(
        mode, (size[0], bottom - top), bytes(view[stride * top : stride * bottom]), "raw", raw, stride, 1
    )


def _decode_heic(data: bytes, limits: Limits) -> Decoded:
    """Not through Pillow's plugin, which copies the whole picture twice."""
    image = _open_heic(data)
    steps = image._c_image.transformations
    turn = None
    if not any(kind in ("irot", "imir") for kind, *_how in steps):
        # Some phones and apps write the turn as cameras do.
        turn = TURNS.get(_find_orientation(image.info.get("exif")))
    elif len(steps) == 1 and steps[0][0] == "irot":
        # Turned later, when it is small: the decoder would hold the whole picture once more.
        turn = ROTATIONS.get(steps[0][1])
        image = _open_heic(_without_rotation(data))
    chroma, deep, alpha = image.info.get("chroma", 420), image.info["bit_depth"] > 8, image.has_alpha
    weight = FORMATS["HEIC"].bytes_a_pixel + MORE_BYTES_A_PIXEL.get(chroma, 0)
    weight = weight * (DEEP_FACTOR if deep else 1) + ALPHA_BYTES * alpha
    outline = Outline("HEIC", image.size, b"", bytes_a_pixel=weight)
    check_size(image.size, outline, limits)
    pixels = image.data
    check_size(image.size, outline, limits)  # the true size is known only now
    rows = _rows_in(pixels, image.mode, image.size, image.mode, image.stride)
    return Decoded(image.size, image.size, rows, image.info.get("icc_profile"), turn)


def _open_heic(data: bytes) -> Any:
    import pillow_heif  # its library takes 3 MB, and only processes that decode need it

    options = pillow_heif.options
    options.DECODE_THREADS = 1
    options.THUMBNAILS = options.AUX_IMAGES = options.DEPTH_IMAGES = False
    file = pillow_heif.open_heif(data, convert_hdr_to_8bit=True, remove_stride=False)
    return file[file.primary_index]


def _without_rotation(data: bytes) -> bytes:
    """The same file with every rotation set to none."""
    at = 0
    while at + 8 <= len(data):
        length = int.from_bytes(data[at : at + 4], "big") or len(data) - at
        if length == 1:
            length = int.from_bytes(data[at + 8 : at + 16], "big")
        if data[at + 4 : at + 8] == b"meta":
            meta = ROTATION_BOX.sub(b"\0\0\0\x09irot\0", data[at : at + length])
            return data[:at] + meta + data[at + length :]
        at += max(length, 8)
    return data


def _find_orientation(exif: bytes | None) -> int:
    """From EXIF alone: browsers do not turn by XMP, as Pillow's ``getexif`` would."""
    if not exif:
        return 1
    try:
        found = Image.Exif()
        found.load(exif)
        return int(found.get(ORIENTATION, 1))
    except Exception:  # a broken EXIF block is no reason to refuse the picture
        return 1
