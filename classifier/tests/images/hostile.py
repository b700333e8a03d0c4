"""Files made to do harm, and what a decoder process spends on them."""

from __future__ import annotations

import os
import re
import struct
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from classifier.images import sandbox
from classifier.tests.images import test_bombs as bombs
from classifier.tests.images.test_validation import encode

PROC = Path("/proc/self/clear_refs").exists()


def png_with_text_as_it_is() -> bytes:
    """50 MB of text chunks: too large as a file, and harmless where larger files are let in."""
    text = bombs.chunk(b"tEXt", b"Comment\0" + b"x" * 1_000_000)
    return bombs.png(32, 32, *[text] * 50, bombs.idat(32 * 97))


def webp_at_its_limit() -> bytes:
    return encode(Image.new("RGBA", (4330, 4330), (90, 120, 200, 128)), "WEBP", method=0)


def webp_past_its_limit() -> bytes:
    return encode(Image.new("RGB", (4400, 4400), "teal"), "WEBP", method=0)


def jpeg_of_coefficients_at_its_limit() -> bytes:
    """Four full colour planes in several scans: all of it waits in memory for the last one."""
    image = Image.new("CMYK", (4890, 4890), (10, 200, 30, 40))
    return encode(image, "JPEG", progressive=True, subsampling=0)


def jpeg_of_coefficients_past_its_limit() -> bytes:
    image = Image.new("CMYK", (5000, 5000), (10, 200, 30, 40))
    return encode(image, "JPEG", progressive=True, subsampling=0)


def png_of_fifty_one_megapixels() -> bytes:
    header = bombs.chunk(b"IHDR", struct.pack(">IIBBBBB", 8500, 6000, 8, 6, 0, 0, 0))
    packer = zlib.compressobj(6)
    rows = [packer.compress(b"\0" + bytes([row % 251]) * 34_000) for row in range(6000)]
    body = bombs.chunk(b"IDAT", b"".join([*rows, packer.flush()]))
    return b"\x89PNG\r\n\x1a\n" + header + body + bombs.chunk(b"IEND", b"")


# name: (how it is made, what it is answered with; None: either way)
Made = Callable[[], bytes]
FILES: dict[str, tuple[Made, str | None]] = {
    "PNG of 50,000 x 50,000": (bombs.huge_png, "too_many_pixels"),
    "PNG of 1 x 100,000,000": (bombs.thin_png, "too_many_pixels"),
    "PNG of 1 x 30,000,000": (bombs.long_png, "too_many_pixels"),
    "PNG with 100 MB of packed text": (bombs.png_with_much_text, ""),
    "PNG with 50 MB of plain text": (png_with_text_as_it_is, "too_large"),
    "PNG with a colour profile of 100 MB": (bombs.png_with_huge_profile, None),
    "PNG in a million pieces": (bombs.png_in_splinters, "not_an_image"),
    "PNG with 1 GB of pixels for 32 x 32": (bombs.png_with_endless_data, ""),
    "PNG of 51 megapixels with alpha": (png_of_fifty_one_megapixels, ""),
    "APNG with frames of 30,000 x 30,000": (bombs.apng_with_huge_frames, ""),
    "JPEG with 10,000 markers": (bombs.jpeg_with_ten_thousand_comments, ""),
    "JPEG with a million EXIF blocks": (bombs.jpeg_with_a_million_exif_blocks, "not_an_image"),
    "JPEG with 1,000 scans": (bombs.jpeg_with_a_thousand_scans, "not_an_image"),
    "JPEG of 65,535 x 65,535": (bombs.jpeg_of_the_largest_size, "too_many_pixels"),
    "JPEG, progressive CMYK, 24 megapixels": (jpeg_of_coefficients_at_its_limit, ""),
    "JPEG, progressive CMYK, 25 megapixels": (jpeg_of_coefficients_past_its_limit, "too_many_pixels"),
    "GIF with a canvas of 65,535 x 65,535": (bombs.gif_of_the_largest_canvas, "too_many_pixels"),
    "GIF with a frame beyond its canvas": (bombs.gif_with_a_frame_beyond_its_canvas, "too_many_pixels"),
    "GIF with comments in 8 million pieces": (bombs.gif_with_comments_in_splinters, None),
    "GIF with 100,000 frames": (bombs.gif_with_a_hundred_thousand_frames, ""),
    "WebP with a canvas of 16,383 x 16,383": (bombs.webp_of_the_largest_canvas, "too_many_pixels"),
    "WebP that says 16,000 x 16,000": (bombs.webp_of_a_large_size, "too_many_pixels"),
    "WebP of 18 megapixels with alpha": (webp_at_its_limit, ""),
    "WebP of 19 megapixels": (webp_past_its_limit, "too_many_pixels"),
    "HEIC that says 30,000 x 30,000": (bombs.heic_of_a_large_size, None),
    "BMP of the largest size": (bombs.bmp_of_the_largest_size, "too_many_pixels"),
    "BMP of runs that claims 40 megapixels": (bombs.bmp_of_runs, None),
}


@dataclass
class Spent:
    """What the decoder processes took: memory at its peak in MB, processor time in seconds."""

    megabytes: float = 0
    seconds: float = 0


@contextmanager
def measured() -> Iterator[Spent]:
    """Measure the children of the shared pool; Linux alone can."""
    spent = Spent()
    before = {}
    for pid in sandbox._shared_pool().pids():
        Path(f"/proc/{pid}/clear_refs").write_text("5")  # forget the peak so far
        before[pid] = _seconds(pid)
    yield spent
    for pid in sandbox._shared_pool().pids():
        status = Path(f"/proc/{pid}/status").read_text()
        found = re.search(r"VmHWM:\s*(\d+)", status)
        spent.megabytes = max(spent.megabytes, int(found[1]) / 1024 if found else 0)
        spent.seconds += _seconds(pid) - before.get(pid, 0)


def _seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
