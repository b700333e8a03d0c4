"""Evaluation: run a model over a set of images once, keep what a report shows, read it again.

The figures are a row; beside them lie small files in the storage: each answer's ten
probabilities and place on the map (``reports/<model>/<hash>.npz``), and the set's images as
rows of equal tiles (``sets/<hash>/``), so that a web host needs neither the model nor the data.
"""

from __future__ import annotations

import hashlib
import io
import json
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from django.conf import settings
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.utils import timezone
from numpy.typing import NDArray
from PIL import Image, ImageOps

from training import model_store
from training.engine.data import CLASS_NAMES, Cifar10, load_cifar10
from training.engine.image_set import ImageSet
from training.models import EvaluationReport, ModelVersion

if TYPE_CHECKING:
    from training.engine.report import Measured

Say = Callable[[str], None]
SHARD = 1_000
# Photos of many sizes are shown at this side; small images at their own.
TILE = 64
SHEET_COLUMNS = 10


class NotKept(Exception):
    """A file that the report needs is not in the storage; the message says what to do."""


@dataclass(frozen=True)
class Answers:
    """What a model said to each image: float16 [N, 10], and its place on the map, float16 [N, 2]."""

    probabilities: NDArray[np.float16]
    embedding: NDArray[np.float16]


def evaluate(
    version: ModelVersion,
    images: ImageSet,
    *,
    cifar: Cifar10 | None = None,
    say: Say = lambda sentence: None,
) -> EvaluationReport:
    """Measure a model on a set and keep the report; an earlier one on the same set is replaced.

    Args:
        cifar: describe this data in the report, too.
        say: is told what is being done.

    Raises:
        ModelFileError: the model's file is missing or damaged.
    """
    from training.engine.report import measure

    measured = measure(
        model_store.predictor(version),
        images,
        version.preprocessing,
        say,
        distorted=settings.REPORT_DISTORTED_IMAGES,
    )
    say("Keeping the report.")
    return keep(version, images, measured, cifar=cifar)


def measure_new(
    content: bytes, card: dict[str, Any], cifar: Cifar10, say: Say = lambda sentence: None
) -> Measured:
    """Measure a model that has no row yet on CIFAR-10's test images, and keep their tiles.

    Args:
        content, card: as in ``training.engine.package``.
    """
    from training.engine.predictor import Predictor
    from training.engine.report import measure
    from training.engine.verdict import Judge

    images = cifar10_test(cifar)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.keras"
        path.write_bytes(content)
        predictor = Predictor(path, Judge.from_card(card["judge"]))
    distorted = settings.REPORT_DISTORTED_IMAGES
    measured = measure(predictor, images, card["preprocessing"], say, distorted=distorted)
    keep_tiles(images)
    keep_data_facts(cifar)
    return measured


def keep(
    version: ModelVersion, images: ImageSet, measured: Measured, *, cifar: Cifar10 | None = None
) -> EvaluationReport:
    """Write the report's row and files; an earlier one on the same images is replaced."""
    panels = measured.figures["panels"]
    panels["tile"] = keep_tiles(images)
    if cifar is not None:
        panels["data"] = keep_data_facts(cifar)
    panels["answers"] = _keep_answers(version, measured)
    panels["computed_at"] = timezone.now().isoformat(timespec="seconds")
    before = EvaluationReport.objects.filter(model=version, dataset_sha256=images.sha256).first()
    report, _ = EvaluationReport.objects.update_or_create(
        model=version,
        dataset_sha256=images.sha256,
        defaults={
            "dataset": images.name,
            "n": len(images),
            "accuracy": measured.figures["accuracy"],
            "figures": measured.figures,
        },
    )
    _forget(before.figures.get("panels", {}).get("answers", "") if before else "", panels["answers"])
    return report


def evaluate_on_cifar10(
    version: ModelVersion, cifar: Cifar10 | None = None, say: Say = lambda sentence: None
) -> EvaluationReport:
    """The report that every model has: CIFAR-10's test images.

    Raises:
        DatasetError: CIFAR-10 is not to be had.
        ModelFileError: the model's file is missing or damaged.
    """
    cifar = cifar or load_cifar10(settings.CIFAR10_DIR or None)
    return evaluate(version, cifar10_test(cifar), cifar=cifar, say=say)


def cifar10_test(cifar: Cifar10) -> ImageSet:
    """CIFAR-10's test images as a set."""
    return ImageSet(model_store.TEST_SET, cifar.sha256, cifar.x_test, cifar.y_test)


def has_panels(report: EvaluationReport) -> bool:
    """False of a report that came with a model: it has the figures, but not the images."""
    return "answers" in report.figures.get("panels", {})


def answers(report: EvaluationReport) -> Answers:
    """Each image's answer.

    Raises:
        NotKept: the report was made without them, or their file is gone.
    """
    name = report.figures.get("panels", {}).get("answers")
    if not name:
        raise NotKept(f"This report holds no single answers: run 'manage.py evaluate {report.model_id}'.")
    return _read_answers(name)


def truth_and_predicted(report: EvaluationReport) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Class numbers, uint8 [N] each."""
    digits = [
        np.frombuffer(report.figures[key].encode("ascii"), np.uint8) - 48 for key in ("truth", "predicted")
    ]
    return digits[0], digits[1]


def ten_probabilities(report: EvaluationReport, row: int) -> list[tuple[str, float]]:
    """(class, probability) of one image, most probable first.

    Raises:
        NotKept: see ``answers``.
    """
    chances = answers(report).probabilities[row].astype(float)
    return [(CLASS_NAMES[i], float(chances[i])) for i in np.argsort(-chances, kind="stable")]


def as_json(report: EvaluationReport) -> dict[str, Any]:
    """The report for programs: which model, which images, all figures."""
    version = report.model
    return {
        "model": {"id": version.pk, "name": version.name, "recipe": version.recipe, "sha256": version.sha256},
        "dataset": report.dataset,
        "dataset_sha256": report.dataset_sha256,
        "n": report.n,
        "accuracy": report.accuracy,
        "created_at": report.created_at.isoformat(),
        "figures": report.figures,
    }


# --- Images as tiles ------------------------------------------------------------------------


def keep_tiles(images: ImageSet) -> int:
    """Write the set's images as tiles, once for all reports on it; returns a tile's side, pixels."""
    side = _tile_side(images)
    for start in range(0, len(images), SHARD):
        name = _shard_name(images.sha256, start // SHARD)
        if not default_storage.exists(name):
            stop = min(start + SHARD, len(images))
            _save_array(name, np.stack([_tile(images.images[row], side) for row in range(start, stop)]))
    return side


def sheet(sha256: str, rows: Sequence[int]) -> bytes:
    """A PNG with the tiles of these rows, ten in a line.

    Raises:
        NotKept: the tiles are gone, or a row is beyond the set.
    """
    tiles = []
    for row in rows:
        shard = _read_array(_shard_name(sha256, row // SHARD))
        if row % SHARD >= len(shard):
            raise NotKept("There is no such image in the set.")
        tiles.append(shard[row % SHARD])
    return _draw(np.stack(tiles))


def data_sheet(sha256: str) -> bytes:
    """A PNG with the images that ``keep_data_facts`` kept.

    Raises:
        NotKept: there are none.
    """
    return _draw(_read_array(f"sets/{sha256}/data.npy"))


def keep_data_facts(cifar: Cifar10) -> dict[str, Any]:
    """Facts on CIFAR-10 for the report, worked out once a copy of the data."""
    name = f"sets/{cifar.sha256}/data.json"
    if default_storage.exists(name):
        with default_storage.open(name, "rb") as file:
            known: dict[str, Any] = json.load(file)
            return known
    from training.engine.data_facts import data_facts

    facts, shown = data_facts(cifar)
    _save_array(f"sets/{cifar.sha256}/data.npy", shown)
    default_storage.save(name, ContentFile(json.dumps(facts).encode()))
    return facts


def sheet_size(count: int, tile: int) -> tuple[int, int]:
    """Width and height in pixels of a sheet with ``count`` tiles."""
    return min(count, SHEET_COLUMNS) * tile, -(-count // SHEET_COLUMNS) * tile


def _tile_side(images: ImageSet) -> int:
    if isinstance(images.images, np.ndarray) and images.images.shape[1] == images.images.shape[2] <= TILE:
        return int(images.images.shape[1])
    return TILE


def _tile(image: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    if image.shape[:2] == (side, side):
        return image
    return np.asarray(ImageOps.pad(Image.fromarray(image), (side, side), color=(128, 128, 128)))


def _draw(tiles: NDArray[np.uint8]) -> bytes:
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
    array: NDArray[np.uint8] = np.load(io.BytesIO(_read(name)), allow_pickle=False)
    return array


@lru_cache(maxsize=4)
def _read_answers(name: str) -> Answers:
    with np.load(io.BytesIO(_read(name)), allow_pickle=False) as stored:
        return Answers(stored["probabilities"], stored["embedding"])


def _read(name: str) -> bytes:
    try:
        with default_storage.open(name, "rb") as file:
            content: bytes = file.read()
            return content
    except FileNotFoundError as error:
        raise NotKept(f"{name} is not in the storage: run 'manage.py evaluate' again.") from error


def _keep_answers(version: ModelVersion, measured: Measured) -> str:
    packed = io.BytesIO()
    np.savez_compressed(packed, probabilities=measured.probabilities, embedding=measured.embedding)
    content = packed.getvalue()
    name = f"reports/{version.sha256[:16]}/{hashlib.sha256(content).hexdigest()[:16]}.npz"
    if not default_storage.exists(name):
        default_storage.save(name, ContentFile(content))
    return name


def _forget(old: str, new: str) -> None:
    if old and old != new:
        default_storage.delete(old)
