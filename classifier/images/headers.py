"""What a file is and how large its picture, read from its first bytes and its outline: no decoding.

``read_outline`` also drops whatever the first frame does not need (comments, text, thumbnails,
later frames). So a decoder never sees ten thousand comments or fifty megabytes of text, and a
size past the limit is known before anything is allocated for it.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from classifier.images.errors import ImageRefused
from classifier.images.formats import FORMATS
from classifier.images.signatures import find_format

# A file in more pieces than this was made to keep a parser busy. (GIF data comes in pieces of 255.)
PIECES, BYTES_A_PIECE, GIF_BYTES_A_PIECE = 50_000, 512, 64
# Encoders write up to 14 scans; each scan of a progressive JPEG walks over the whole picture.
MAX_JPEG_SCANS = 100
MAX_ICC_BYTES, MAX_XMP_BYTES = 4_000_000, 1_000_000
END_OF_SCAN = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")
# What may stand between the scans of a JPEG: tables, restart interval, number of lines, texts.
BETWEEN_SCANS = {0xC4, 0xCC, 0xDB, 0xDC, 0xDD, 0xFE, *range(0xE0, 0xF0)}
NO_MARKER = memoryview(b"\xff\x01")
COEFFICIENT_BYTES = 2


@dataclass(frozen=True)
class Outline:
    """A file as the decoder shall get it.

    Attributes:
        format: one of ``FORMATS``.
        size: width and height in pixels as stored, before any turn; None for HEIC and AVIF, whose
            decoders read it without allocating.
        data: the file, less what the first frame does not need.
        depth: bits a sample of a PNG, else 8.
        gamma: of a PNG that says no more about its colours: samples are light to this power; else None.
        bytes_a_pixel: what the decoder holds of the whole picture, where it cannot shrink it while
            it decodes; 0 where the ordinary limit on pixels is bound enough.
        frame: of a GIF, where the first frame lies; what is beside it is transparent.
        damaged: something stands in the data that no encoder writes; decoders pass over it and show
            less than there was.
        has_end: False for a JPEG whose end is missing, though perhaps none of its pixels.
    """

    format: str
    size: tuple[int, int] | None
    data: bytes
    depth: int = 8
    gamma: float | None = None
    frame: tuple[int, int, int, int] | None = None
    bytes_a_pixel: float = 0
    damaged: bool = False
    has_end: bool = True


def read_outline(data: bytes) -> Outline:
    """Say what a file is and how large, and strip it to what its first frame needs.

    Raises:
        ImageRefused: ``empty``, ``not_an_image``, ``unsupported_format`` or ``truncated``.
    """
    name = find_format(data)
    try:
        return READERS[name](data)
    except (IndexError, struct.error):
        # Every reader walks forward; running out of bytes is the only way to get here.
        raise ImageRefused.because("truncated", format=name) from None


def _read_jpeg(data: bytes) -> Outline:
    view = memoryview(data)
    kept = [view[:2]]
    size = None
    samples = 0.0
    exif = xmp = progressive = damaged = False
    scans = icc_bytes = 0
    at = 2
    for _ in range(PIECES + len(data) // BYTES_A_PIECE):
        at = data.find(b"\xff", at)
        marker = data[at + 1] if 0 <= at < len(data) - 1 else 0xD9
        if marker == 0xFF:
            at += 1
            continue
        if marker == 0 or 0xD0 <= marker <= 0xD8:  # stuffing, restart, start of image: no length
            at += 2
            continue
        if marker == 0xD9:
            break
        if scans and not _is_segment(data, at):
            # In the middle of a scan. Behind a marker that means nothing decoders look for the next
            # restart; at others they give up, or take what follows for tables.
            damaged = True
            end = _end_of_scan(data, at + 2)
            kept += (NO_MARKER, view[at + 2 : end])
            at = end
            continue
        (length,) = struct.unpack_from(">H", data, at + 2)
        body = at + 4
        end = at + 2 + max(length, 2)
        if end > len(data):
            raise ImageRefused.because("truncated", format="JPEG")
        keep = True
        if marker == 0xDA:
            scans += 1
            end = _end_of_scan(data, end)
        elif 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack_from(">HH", data, body + 1)
            size = (width, height)
            samples = _samples_a_pixel(data[body + 5 : end])
            progressive = marker not in (0xC0, 0xC1)
        elif marker == 0xE1 and data.startswith(b"Exif\0\0", body):
            keep, exif = not exif, True
        elif marker == 0xE1 and data.startswith(b"http://ns.adobe.com/xap/1.0/\0", body):
            keep, xmp = not xmp, True
        elif marker == 0xE2 and data.startswith(b"ICC_PROFILE\0", body) and length >= 16:
            icc_bytes += length
            keep = icc_bytes <= MAX_ICC_BYTES
        elif marker == 0xEE:
            keep = data.startswith(b"Adobe", body)
        elif 0xE0 < marker <= 0xEF or marker == 0xFE:
            keep = False
        if keep:
            kept.append(view[at:end])
        at = end
    else:
        raise ImageRefused.because("damaged", format="JPEG")
    has_end = data[at : at + 2] == b"\xff\xd9" if at >= 0 else False
    if not has_end and not scans:
        raise ImageRefused.because("truncated", format="JPEG")
    if size is None or not 0 < scans <= MAX_JPEG_SCANS:
        raise ImageRefused.because("damaged", format="JPEG")
    if has_end:
        kept.append(view[at : at + 2])
    # In several scans, all coefficients of the picture wait for the last one.
    weight = COEFFICIENT_BYTES * samples if progressive or scans > 1 else 0
    return Outline("JPEG", size, b"".join(kept), bytes_a_pixel=weight, damaged=damaged, has_end=has_end)


def _end_of_scan(data: bytes, start: int) -> int:
    after = END_OF_SCAN.search(data, start)
    return after.start() if after else len(data)


def _is_segment(data: bytes, at: int) -> bool:
    """Whether what looks like a marker behind the first scan is one, and not a damaged byte of the scan."""
    marker, (length,) = data[at + 1], struct.unpack_from(">H", data.ljust(at + 4, b"\0"), at + 2)
    if marker == 0xDA:
        components = data[at + 4] if at + 4 < len(data) else 0
        return 1 <= components <= 4 and length == 6 + 2 * components
    return marker in BETWEEN_SCANS and length >= 2 and data[at + 2 + length : at + 3 + length] == b"\xff"


def _samples_a_pixel(components: bytes) -> float:
    """Of a JPEG's frame header from its number of components on: 3 for 4:4:4, 1.5 for 4:2:0."""
    factors = [components[at] for at in range(2, 1 + 3 * components[0], 3)]
    areas = [max(1, factor >> 4) * max(1, factor & 15) for factor in factors]
    widest = max((max(1, factor >> 4) for factor in factors), default=1)
    highest = max((max(1, factor & 15) for factor in factors), default=1)
    return sum(areas) / (widest * highest) + (len(areas) > 3)  # CMYK is held twice while it is converted


def _read_png(data: bytes) -> Outline:
    kept = [data[:8]]
    wanted = {b"IHDR", b"PLTE", b"tRNS", b"iCCP", b"gAMA", b"sRGB", b"IDAT", b"IEND", b"eXIf"}
    gamma = None
    seen: set[bytes] = set()
    at = 8
    for _ in range(PIECES + len(data) // BYTES_A_PIECE):
        length, kind = struct.unpack_from(">I4s", data, at)
        end = at + 12 + length
        if end > len(data):
            raise ImageRefused.because("truncated", format="PNG")
        xmp = kind == b"iTXt" and data.startswith(b"XML:com.adobe.xmp\0", at + 8) and length <= MAX_XMP_BYTES
        too_long = kind in (b"iCCP", b"eXIf") and length > MAX_ICC_BYTES
        again = kind != b"IDAT" and kind in seen
        if (kind in wanted or xmp) and not too_long and not again:
            chunk = data[at:end]
            if zlib.crc32(chunk[4:-4]) == int.from_bytes(chunk[-4:], "big"):
                seen.add(kind)
                kept.append(chunk)
                if kind == b"gAMA" and b"IDAT" not in seen and length == 4:
                    gamma = int.from_bytes(chunk[8:12], "big") / 100_000
            elif kind[:1].isupper():  # the others are not needed to show the picture
                break
        at = end
        if kind == b"IEND":
            break
    if data[12:16] != b"IHDR" or b"IEND" not in seen:
        raise ImageRefused.because("damaged", format="PNG")
    width, height = struct.unpack_from(">II", data, 16)
    if not seen.isdisjoint((b"iCCP", b"sRGB")):
        gamma = None  # these go before it
    return Outline("PNG", (width, height), b"".join(kept), depth=data[24], gamma=gamma)


def _read_gif(data: bytes) -> Outline:
    width, height, flags = struct.unpack_from("<HHB", data, 6)
    at = 13 + _palette_bytes(flags)
    kept = [data[:at]]
    pieces = 0
    frame_seen = False
    frame = None
    pieces_allowed = PIECES + len(data) // GIF_BYTES_A_PIECE
    try:
        while at < len(data) and data[at] != 0x3B and pieces <= pieces_allowed:
            start = at
            pieces += 1
            if data[at] == 0x21:
                at += 2
            elif data[at] == 0x2C:
                left, top, wide, high, flags = struct.unpack_from("<HHHHB", data, at + 1)
                at += 11 + _palette_bytes(flags)
                if not frame_seen:  # a frame may reach beyond the canvas, and then counts
                    frame = (left, top, left + wide, top + high)
                    width, height = max(width, left + wide), max(height, top + high)
            elif frame_seen:
                break  # junk after a frame: viewers ignore it
            else:
                at += 1
                continue
            while data[at] and pieces <= pieces_allowed:
                at += 1 + data[at]
                pieces += 1
            if pieces > pieces_allowed:
                break
            at += 1
            if not frame_seen and (data[start] == 0x2C or data[start + 1] == 0xF9):
                kept.append(data[start:at])
            frame_seen = frame_seen or data[start] == 0x2C
    except IndexError:
        if frame_seen:
            raise
        # Too short even for the first frame: its size counts first, then the decoder says so.
        return Outline("GIF", (width, height), data)
    if not frame_seen:
        reason = "truncated" if at >= len(data) else "damaged"
        raise ImageRefused.because(reason, format="GIF")
    return Outline("GIF", (width, height), b"".join((*kept, b";")), frame=frame)


def _palette_bytes(flags: int) -> int:
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def _read_webp(data: bytes) -> Outline:
    (length,) = struct.unpack_from("<I", data, 4)
    if length + 8 > len(data):
        raise ImageRefused.because("truncated", format="WebP")
    kind = data[12:16]
    if kind == b"VP8X":
        size = (1 + int.from_bytes(data[24:27], "little"), 1 + int.from_bytes(data[27:30], "little"))
    elif kind == b"VP8L":
        (bits,) = struct.unpack_from("<I", data, 21)
        size = (1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF))
    elif kind == b"VP8 ":
        width, height = struct.unpack_from("<HH", data, 26)
        size = (width & 0x3FFF, height & 0x3FFF)
    else:
        raise ImageRefused.because("damaged", format="WebP")
    return Outline("WebP", size, data, bytes_a_pixel=FORMATS["WebP"].bytes_a_pixel)


def _read_bmp(data: bytes) -> Outline:
    (header,) = struct.unpack_from("<I", data, 14)
    width, height = struct.unpack_from("<HH" if header == 12 else "<ii", data, 18)
    return Outline("BMP", (abs(width), abs(height)), data)


def _read_boxes(name: str, data: bytes) -> Outline:
    """HEIC and AVIF: whether the boxes are all there; what is in them the decoder says."""
    at = 0
    for _ in range(PIECES):
        if at >= len(data):
            return Outline(name, None, data)
        length = int.from_bytes(data[at : at + 4], "big")
        header = 8
        if length == 1:
            (length,) = struct.unpack_from(">Q", data, at + 8)
            header = 16
        if length == 0:  # the last box, to the end of the file
            return Outline(name, None, data)
        if length < header:
            break
        at += length
        if at > len(data):
            raise ImageRefused.because("truncated", format=name)
    raise ImageRefused.because("damaged", format=name)


READERS: dict[str, Callable[[bytes], Outline]] = {n: partial(_read_boxes, n) for n in ("HEIC", "AVIF")}
READERS |= {"JPEG": _read_jpeg, "PNG": _read_png, "WebP": _read_webp, "GIF": _read_gif, "BMP": _read_bmp}
