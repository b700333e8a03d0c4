"""What a file is by its first bytes."""

from __future__ import annotations

import re

from classifier.images.errors import ImageRefused

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
VIDEO_BRANDS = {b"isom", b"iso2", b"avc1", b"mp41", b"mp42", b"dash", b"MSNV", b"qt  ", b"M4V ", b"M4VP"}
# Of boxes without brands (QuickTime before 2001), AVI, Matroska and WebM, MPEG, Flash and Windows Media.
VIDEO = re.compile(
    rb"....(moov|mdat|wide|free|skip)|RIFF....AVI |\x1aE\xdf\xa3|\0\0\x01[\xba\xb3]|FLV\x01"
    rb"|0&\xb2u\x8ef\xcf\x11|G.{187}G.{187}G",
    re.DOTALL,
)


def find_format(data: bytes) -> str:
    """Return the format by content, one of ``FORMATS``.

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
    if VIDEO.match(data):
        raise ImageRefused.because("video")
    raise ImageRefused.because("not_an_image")


def _find_format_of_boxes(data: bytes) -> str:
    end = min(int.from_bytes(data[:4], "big"), len(data), 512)
    brands = {data[8:12]} | {data[at : at + 4] for at in range(16, end, 4)}
    if data[8:12] in AVIF_BRANDS or (brands & AVIF_BRANDS and not brands & HEIC_BRANDS):
        return "AVIF"
    if brands & HEIC_BRANDS or data[8:12] in (b"mif1", b"msf1"):
        return "HEIC"
    if data[8:12] == b"crx ":
        raise ImageRefused.because("unsupported_format", format="camera raw")
    if brands & VIDEO_BRANDS or data[8:11] in (b"3gp", b"3g2"):
        raise ImageRefused.because("video")
    raise ImageRefused.because("not_an_image")
