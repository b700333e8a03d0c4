"""Is a photo nearly one of CIFAR-10's test images? Then a model must not train on it.

A difference hash: 64 bits that say where a small grey copy of the picture gets brighter from
left to right. Source of the idea: N. Krawetz, "Kind of Like That", 2013. Measured on CIFAR-10:
of test images enlarged eight times and saved as JPEG of quality 60, 98 % differ from
their own hash in at most 4 bits and 99 % in at most 5. Of 4,000 training images 22 lie within 6
bits of a test image; most of these 22 are the near-duplicates that CIFAR-10 is known to hold.
A strong crop is not found.

``python -m training.engine.data.near_duplicates FOLDER`` makes the hashes that ship with the project.
"""

from __future__ import annotations

import sys
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from training.engine.data.cifar10 import Images, load_cifar10

MAX_BITS = 6
FILE = Path(__file__).parent / "cifar10_test_dhash.npy"

Hashes = NDArray[np.uint64]


def difference_hash(image: Image.Image) -> int:
    """64 bits of an RGB image of any size."""
    grey = image.convert("L").resize((9, 8), Image.Resampling.LANCZOS)
    levels = np.asarray(grey, dtype=np.int16)
    return int.from_bytes(np.packbits(levels[:, 1:] > levels[:, :-1]).tobytes(), "big")


def hash_images(images: Images) -> Hashes:
    """Hashes uint64 [N] of images uint8 [N, H, W, 3]."""
    return np.array([difference_hash(Image.fromarray(image)) for image in images], dtype=np.uint64)


@lru_cache(maxsize=1)
def test_hashes() -> Hashes:
    """Those of CIFAR-10's 10,000 test images, in their order; they ship with the project."""
    hashes: Hashes = np.load(FILE, allow_pickle=False)
    return hashes


def find_near_duplicate(image: Image.Image, hashes: Hashes | None = None) -> int | None:
    """The place of the nearest test image within ``MAX_BITS`` bits, or None.

    Args:
        image: RGB, any size; what a model sees of it is compared, so 32x32 is enough.
        hashes: to look in; None: the test images.
    """
    known = test_hashes() if hashes is None else hashes
    bits = np.bitwise_count(known ^ np.uint64(difference_hash(image)))
    nearest = int(bits.argmin())
    return nearest if bits[nearest] <= MAX_BITS else None


def main() -> None:
    """Compute and write the hashes that ship."""
    np.save(FILE, hash_images(load_cifar10(sys.argv[1] if len(sys.argv) > 1 else None).x_test))


if __name__ == "__main__":
    main()
