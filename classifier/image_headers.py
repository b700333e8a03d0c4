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

from classifier.image_refusals import ImageRefused

# A file in more pieces than this was made to keep a parser busy. (GIF data comes in pieces of 255.)
PIECES, BYTES_A_PIECE, GIF_BYTES_A_PIECE = 50_000, 512, 64
# Encoders write up to 14 scans; each scan of a progressive JPEG walks over the whole picture.
MAX_JPEG_SCANS = 100
MAX_ICC_BYTES = 4_000_000
MAX_XMP_BYTES = 1_000_000
END_OF_SCAN = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")

# Measured: canvas, last frame and copy of a WebP; planes and picture of an HEIC.
COEFFICIENT_BYTES = 2
WEBP_BYTES_A_PIXEL, HEIC_BYTES_A_PIXEL = 18, 9
ACCEPTED = ("JPEG", "PNG", "WebP", "GIF", "BMP", "HEIC")

# First bytes of image formats (and the like) that people try, and that are not accepted.
UNSUPPORTED = (
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"II+\0", "TIFF"),
    (b"MM\0+", "TIFF"),
    (b"%PDF-", "PDF"),
    (b"8BPS", "Photoshop"),
    (b"\0\0\1\0", "ICO"),
    (b"\0\0\2\0", "CUR"),
    (b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG 2000"),
    (b"\xff\x4f\xff\x51", "JPEG 2000"),
    (b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"),
    (b"\xff\x0a", "JPEG XL"),
    (b"DDS ", "DDS"),
    (b"icns", "ICNS"),
    (b"qoif", "QOI"),
    (b"%!PS", "PostScript"),
    (b"gimp xcf", "GIMP"),
    (b"FUJIFILMCCD-RAW", "camera raw"),
)
HEIC_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"}
AVIF_BRANDS = {b"avif", b"avis"}
VIDEO_BRANDS = {b"isom", b"iso2", b"mp41", b"mp42", b"qt  ", b"M4V ", b"3gp4", b"3gp5"}


@dataclass(frozen=True)
class Outline:
    """A file as the decoder shall get it.

    Attributes:
        format: one of ``ACCEPTED``.
        size: width and height in pixels as stored, before any turn; None for HEIC, whose
            decoder reads it without allocating.
        data: the file, less what the first frame does not need.
        depth: bits a sample of a PNG, else 8.
        bytes_a_pixel: what the decoder holds of the whole picture, where it cannot shrink it while
            it decodes; 0 where the ordinary limit on pixels is bound enough.
    """

    format: str
    size: tuple[int, int] | None
    data: bytes
    depth: int = 8
    bytes_a_pixel: float = 0


def find_format(data: bytes) -> str:
    """Return the format by content, one of ``ACCEPTED``.

    Raises:
        ImageRefused: ``empty``, ``unsupported_format`` or ``not_an_image``.
    """
    if not data:
        raise ImageRefused.because("empty")
    if data.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WebP"
    if data.startswith((b"GIF87a", b"GIF89a")):
        return "GIF"
    if data.startswith(b"BM"):
        return "BMP"
    if data[4:8] == b"ftyp":
        return _find_format_of_boxes(data)
    for start, name in UNSUPPORTED:
        if data.startswith(start):
            raise ImageRefused.because("unsupported_format", format=name)
    if re.match(rb"(\xef\xbb\xbf)?\s*<", data) and b"<svg" in data[:4096]:
        raise ImageRefused.because("unsupported_format", format="SVG")
    raise ImageRefused.because("not_an_image")


def _find_format_of_boxes(data: bytes) -> str:
    end = min(int.from_bytes(data[:4], "big"), len(data), 512)
    brands = {data[8:12]} | {data[at : at + 4] for at in range(16, end, 4)}
    if data[8:12] in AVIF_BRANDS or (brands & AVIF_BRANDS and not brands & HEIC_BRANDS):
        raise ImageRefused.because("unsupported_format", format="AVIF")
    if brands & HEIC_BRANDS or data[8:12] in (b"mif1", b"msf1"):
        return "HEIC"
    if data[8:12] == b"crx ":
        raise ImageRefused.because("unsupported_format", format="camera raw")
    if brands & VIDEO_BRANDS:
        raise ImageRefused.because("unsupported_format", format="video")
    raise ImageRefused.because("not_an_image")


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
    exif = xmp = progressive = False
    scans = icc_bytes = 0
    at = 2
    for _ in range(PIECES + len(data) // BYTES_A_PIECE):
        at = data.find(b"\xff", at)
        marker = data[at + 1] if at >= 0 else 0xD9
        if marker == 0xFF:
            at += 1
            continue
        if marker == 0 or 0xD0 <= marker <= 0xD8:  # stuffing, restart, start of image: no length
            at += 2
            continue
        if marker == 0xD9:
            break
        (length,) = struct.unpack_from(">H", data, at + 2)
        body = at + 4
        end = at + 2 + max(length, 2)
        if end > len(data):
            raise ImageRefused.because("truncated", format="JPEG")
        keep = True
        if marker == 0xDA:
            scans += 1
            after = END_OF_SCAN.search(data, end)
            end = after.start() if after else len(data)
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
    if at < 0 and not scans:
        raise ImageRefused.because("truncated", format="JPEG")
    if size is None or not 0 < scans <= MAX_JPEG_SCANS:
        raise ImageRefused.because("damaged", format="JPEG")
    if at >= 0:
        kept.append(view[at : at + 2])
    # In several scans, all coefficients of the picture wait for the last one.
    weight = COEFFICIENT_BYTES * samples if progressive or scans > 1 else 0
    return Outline("JPEG", size, b"".join(kept), bytes_a_pixel=weight)


def _samples_a_pixel(components: bytes) -> float:
    """Of a JPEG's frame header from its number of components on: 3 for 4:4:4, 1.5 for 4:2:0."""
    factors = [components[at] for at in range(2, 1 + 3 * components[0], 3)]
    areas = [max(1, factor >> 4) * max(1, factor & 15) for factor in factors]
    widest = max((max(1, factor >> 4) for factor in factors), default=1)
    highest = max((max(1, factor & 15) for factor in factors), default=1)
    return sum(areas) / (widest * highest) + (len(areas) > 3)  # CMYK is held twice while it is converted


def _read_png(data: bytes) -> Outline:
    kept = [data[:8]]
    wanted = {b"IHDR", b"PLTE", b"tRNS", b"iCCP", b"IDAT", b"IEND", b"eXIf"}
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
            elif kind[:1].isupper():  # the others are not needed to show the picture
                break
        at = end
        if kind == b"IEND":
            break
    if data[12:16] != b"IHDR" or b"IEND" not in seen:
        raise ImageRefused.because("damaged", format="PNG")
    width, height = struct.unpack_from(">II", data, 16)
    return Outline("PNG", (width, height), b"".join(kept), depth=data[24])


def _read_gif(data: bytes) -> Outline:
    width, height, flags = struct.unpack_from("<HHB", data, 6)
    at = 13 + _palette_bytes(flags)
    kept = [data[:at]]
    pieces = 0
    frame_seen = False
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
    return Outline("GIF", (width, height), b"".join((*kept, b";")))


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
    return Outline("WebP", size, data, bytes_a_pixel=WEBP_BYTES_A_PIXEL)


def _read_bmp(data: bytes) -> Outline:
    (header,) = struct.unpack_from("<I", data, 14)
    width, height = struct.unpack_from("<HH" if header == 12 else "<ii", data, 18)
    return Outline("BMP", (abs(width), abs(height)), data)


def _read_heic(data: bytes) -> Outline:
    at = 0
    for _ in range(PIECES):
        if at >= len(data):
            return Outline("HEIC", None, data, bytes_a_pixel=HEIC_BYTES_A_PIXEL)
        length = int.from_bytes(data[at : at + 4], "big")
        header = 8
        if length == 1:
            (length,) = struct.unpack_from(">Q", data, at + 8)
            header = 16
        if length == 0:  # the last box, to the end of the file
            return Outline("HEIC", None, data, bytes_a_pixel=HEIC_BYTES_A_PIXEL)
        if length < header:
            break
        at += length
        if at > len(data):
            raise ImageRefused.because("truncated", format="HEIC")
    raise ImageRefused.because("damaged", format="HEIC")


READERS: dict[str, Callable[[bytes], Outline]] = {
    "JPEG": _read_jpeg,
    "PNG": _read_png,
    "WebP": _read_webp,
    "GIF": _read_gif,
    "BMP": _read_bmp,
    "HEIC": _read_heic,
}
