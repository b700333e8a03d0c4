"""How fast does a 12-megapixel photo come in? Against the way that a site without this has.

    python -m benchmarks.intake [--n 15] [--quick]

Ours (``check_image``): checked, turned, converted to sRGB, display copy, thumbnail, model input,
hashes. Plain: ``Image.open``, ``exif_transpose``, then the same three pictures from the full
frame, the display copy at full size. Shortest: the same, but only one small picture. Isolated:
ours through the decoder process, as the web site calls it; and a small photo both ways, for what
the process costs. All run in turn; the processor's time is given too, since it hardly changes
when other work makes the clock slower.
"""

from __future__ import annotations

import argparse
import io
import statistics
import time
from collections.abc import Callable

import numpy as np
import PIL
from PIL import Image, ImageOps

from benchmarks import results
from classifier.images.decoding import Limits
from classifier.images.sandbox import check_isolated
from classifier.images.validation import JPEG_QUALITY, check_image

GOAL = 3.5
LIMITS = Limits(max_bytes=20 * 1024 * 1024, max_pixels=40_000_000)
VERSION = "squash32-v1"
UPRIGHT_PHONE = 6  # the EXIF turn of a phone held upright


def make_photo(width: int, height: int, seed: int = 0) -> bytes:
    """A JPEG with soft shapes, edges and some noise: about 0.3 bytes a pixel, as phones make."""
    random = np.random.default_rng(seed)
    coarse = Image.fromarray(random.integers(0, 256, (30, 40, 3), dtype=np.uint8))
    soft = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC), dtype=np.int16)
    noise = random.normal(0, 9, (height, width, 1)).astype(np.int16)
    image = Image.fromarray((soft + noise).clip(0, 255).astype(np.uint8))
    exif = Image.Exif()
    exif[0x0112] = UPRIGHT_PHONE
    file = io.BytesIO()
    image.save(file, "JPEG", quality=90, exif=exif)
    return file.getvalue()


def ours(photo: bytes) -> None:
    check_image(photo, preprocessing=VERSION, limits=LIMITS)


def isolated(photo: bytes) -> None:
    check_isolated(photo, preprocessing=VERSION, limits=LIMITS)


def plain(photo: bytes) -> None:
    image = _open_turned(photo)
    image.save(io.BytesIO(), "JPEG", quality=JPEG_QUALITY)
    image.resize((240, 320)).save(io.BytesIO(), "JPEG", quality=JPEG_QUALITY)
    image.resize((32, 32)).save(io.BytesIO(), "PNG")


def shortest(photo: bytes) -> None:
    image = _open_turned(photo)
    image.save(io.BytesIO(), "JPEG", quality=JPEG_QUALITY)
    image.resize((32, 32)).save(io.BytesIO(), "PNG")


def _open_turned(photo: bytes) -> Image.Image:
    return ImageOps.exif_transpose(Image.open(io.BytesIO(photo))).convert("RGB")


Medians = dict[str, float]


def measure(ways: dict[str, tuple[Callable[[bytes], None], bytes]], n: int) -> tuple[Medians, Medians]:
    """Median milliseconds of each way by the clock and by this process's processor time.

    All run in turn, after one run that does not count.
    """
    clock: dict[str, list[float]] = {name: [] for name in ways}
    processor: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(n + 1):
        for name, (way, photo) in ways.items():
            start, start_processor = time.perf_counter(), time.process_time()
            way(photo)
            if turn:
                clock[name].append(time.perf_counter() - start)
                processor[name].append(time.process_time() - start_processor)
    return _medians(clock), _medians(processor)


def _medians(seconds: dict[str, list[float]]) -> Medians:
    return {name: round(statistics.median(values) * 1000, 2) for name, values in seconds.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--n", type=int, default=15)
    parser.add_argument("--quick", action="store_true", help="only to see that it runs")
    arguments = parser.parse_args()
    n = 1 if arguments.quick else arguments.n
    photo, small = make_photo(4000, 3000), make_photo(500, 375)
    clock, processor = measure(
        {
            "ours": (ours, photo),
            "plain": (plain, photo),
            "shortest": (shortest, photo),
            "isolated": (isolated, photo),
            "small": (ours, small),
            "small_isolated": (isolated, small),
        },
        n,
    )
    what = "taking in a 12-megapixel JPEG, against plain Pillow"
    rows = [
        results.ratio(what, 1000 / clock["ours"], 1000 / clock["plain"], "photos/s", n, at_least=GOAL),
        results.ratio(
            f"{what}: by the processor's time",
            1000 / processor["ours"],
            1000 / processor["plain"],
            "photos/s",
            n,
        ),
        results.ratio(
            f"{what}, one small picture only", 1000 / clock["ours"], 1000 / clock["shortest"], "photos/s", n
        ),
        results.figure(
            "what a decoder's process of its own adds, a small photo",
            clock["small_isolated"] - clock["small"],
            "ms",
            n,
        ),
    ]
    results.write(
        "intake",
        rows,
        quick=arguments.quick,
        photo={"pixels": [4000, 3000], "bytes": len(photo)},
        n=n,
        median_ms=clock,
        median_processor_ms={name: processor[name] for name in ("ours", "plain", "shortest")},
        pillow=PIL.__version__,
    )


if __name__ == "__main__":
    main()
