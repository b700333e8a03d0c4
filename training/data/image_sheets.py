"""A set's images as rows of equal tiles in the storage, and one PNG of those that a page shows.

Never people's photos: a copy would outlive their consent. See ``training.evaluation.measured_photos``.

They lie under ``sets/<sha256 of the set>/``, so that a web host needs no copy of the data.
"""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from numpy.typing import NDArray
from PIL import Image, ImageOps

from training.engine.data.cifar10 import Cifar10
from training.engine.data.image_set import ImageSet
from training.models import EvaluationReport

SHARD = 1_000
# Photos of many sizes are shown at this side; small images at their own.
TILE = 64
GREY = 128
SHEET_COLUMNS = 10


class ArtifactMissing(Exception):
    """A file that the report needs is not in the storage; the message says what to do."""


def keep_tiles(images: ImageSet) -> int:
    """Write the set's images as tiles, once for all reports on it; returns a tile's side, pixels.

    Where people's photos are among others, theirs are grey.
    """
    side = tile_side(images)
    blank = np.full((side, side, 3), GREY, np.uint8)
    for start in range(0, len(images), SHARD):
        name = _shard_name(images.sha256, start // SHARD)
        if not default_storage.exists(name):
            stop = min(start + SHARD, len(images))
            theirs = [bool(images.photos and images.photos[row]) for row in range(start, stop)]
            tiles = [
                blank if is_photo else _tile(images.images[row], side)
                for row, is_photo in zip(range(start, stop), theirs, strict=True)
            ]
            _save_array(name, np.stack(tiles))
    return side


def sheet(sha256: str, rows: Sequence[int]) -> bytes:
    """A PNG with the tiles of these rows, ten in a line.

    Raises:
        ArtifactMissing: the tiles are gone, or a row is beyond the set.
    """
    tiles = []
    for row in rows:
        shard = _read_array(_shard_name(sha256, row // SHARD))
        if row % SHARD >= len(shard):
            raise ArtifactMissing("There is no such image in the set.")
        tiles.append(shard[row % SHARD])
    return draw(np.stack(tiles))


def data_sheet(sha256: str) -> bytes:
    """A PNG with the images that ``keep_data_facts`` kept.

    Raises:
        ArtifactMissing: there are none.
    """
    return draw(_read_array(f"sets/{sha256}/data.npy"))


def are_kept(sha256: str) -> bool:
    """Are this set's images in the storage?"""
    return default_storage.exists(_shard_name(sha256, 0))


def lend(cifar: Cifar10, report: EvaluationReport) -> bool:
    """Keep CIFAR-10's images for a report that was measured on another copy of them.

    Copies differ in their pixels (one was packed as JPEG) and hence in their hash; the images are
    the same ones in the same order where all labels of the test split agree.

    Returns:
        Whether that was so.
    """
    truth = np.frombuffer(report.figures["truth"].encode("ascii"), np.uint8) - 48
    if not np.array_equal(truth, cifar.y_test):
        return False
    keep_tiles(ImageSet(report.dataset, report.dataset_sha256, cifar.x_test, cifar.y_test))
    name = f"sets/{report.dataset_sha256}/data.npy"
    facts = report.figures.get("panels", {}).get("data")
    if facts and not default_storage.exists(name):
        from training.engine.data.statistics import shown_images

        _save_array(name, shown_images(cifar, facts))
    return True


def keep_data_facts(cifar: Cifar10) -> dict[str, Any]:
    """Facts on CIFAR-10 for the report, worked out once a copy of the data."""
    name = f"sets/{cifar.sha256}/data.json"
    if default_storage.exists(name):
        with default_storage.open(name, "rb") as file:
            known: dict[str, Any] = json.load(file)
            return known
    from training.engine.data.statistics import data_facts, shown_images

    facts = data_facts(cifar)
    _save_array(f"sets/{cifar.sha256}/data.npy", shown_images(cifar, facts))
    default_storage.save(name, ContentFile(json.dumps(facts).encode()))
    return facts


def sheet_size(count: int, tile: int) -> tuple[int, int]:
    """Width and height in pixels of a sheet with ``count`` tiles."""
    return min(count, SHEET_COLUMNS) * tile, -(-count // SHEET_COLUMNS) * tile


def tile_side(images: ImageSet) -> int:
    """Side of the set's tiles, pixels."""
    if isinstance(images.images, np.ndarray) and images.images.shape[1] == images.images.shape[2] <= TILE:
        return int(images.images.shape[1])
    return TILE


def _tile(image: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    if image.shape[:2] == (side, side):
        return image
    return np.asarray(ImageOps.pad(Image.fromarray(image), (side, side), color=(GREY, GREY, GREY)))


def draw(tiles: NDArray[np.uint8]) -> bytes:
    """A PNG with these tiles, uint8 [N, side, side, 3], ten in a line."""
    count, side = len(tiles), tiles.shape[1]
    width, height = sheet_size(count, side)
    canvas = np.zeros((height, width, 3), np.uint8)
    for number, tile in enumerate(tiles):
        top, left = divmod(number, SHEET_COLUMNS)
        canvas[top * side : (top + 1) * side, left * side : (left + 1) * side] = tile
    packed = io.BytesIO()
    Image.fromarray(canvas).save(packed, "PNG", compress_level=3)
    return packed.getvalue()


def _shard_name(sha256: str, number: int) -> str:
    return f"sets/{sha256}/tiles-{number:03}.npy"


def _save_array(name: str, array: NDArray[Any]) -> None:
    packed = io.BytesIO()
    np.save(packed, array, allow_pickle=False)
    default_storage.save(name, ContentFile(packed.getvalue()))


@lru_cache(maxsize=6)
def _read_array(name: str) -> NDArray[np.uint8]:
    """Shards do not change once written, so a process may keep some: 3 MB each."""
    array: NDArray[np.uint8] = np.load(io.BytesIO(read(name)), allow_pickle=False)
    return array


def read(name: str) -> bytes:
    """A file of the storage.

    Raises:
        ArtifactMissing: it is gone.
    """
    try:
        with default_storage.open(name, "rb") as file:
            content: bytes = file.read()
            return content
    except FileNotFoundError as error:
        raise ArtifactMissing(f"{name} is not in the storage: run 'manage.py evaluate' again.") from error
