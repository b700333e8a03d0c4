"""Keep what a report shows, and read it again; ``training.evaluation.measuring`` makes it.

The figures are a row; beside them lie small files in the storage: each answer's
probabilities and place on the map (``reports/<model>/<hash>.npz``), and the set's images as
rows of equal tiles (``sets/<hash>/``), so that a web host needs neither the model nor the data.
Of people's photos no tiles are made; what is kept of them goes when they are withdrawn.
"""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.db import transaction
from django.utils import timezone
from numpy.typing import NDArray

from training.data import withdrawals
from training.data.image_sheets import ArtifactMissing, keep_data_facts, keep_tiles, read, tile_side
from training.engine.data.cifar10 import Cifar10
from training.engine.data.class_numbers import unpacked
from training.engine.data.image_set import ImageSet
from training.models import DatasetImage, EvaluationReport, MeasuredPhoto, ModelVersion

if TYPE_CHECKING:
    from training.engine.evaluation.report import Measured


@dataclass(frozen=True)
class Answers:
    """What a model said to each image: float16 [N, K], and its place on the map, float16 [N, 2]."""

    probabilities: NDArray[np.float16]
    embedding: NDArray[np.float16]


def keep(
    version: ModelVersion, images: ImageSet, measured: Measured, *, cifar: Cifar10 | None = None
) -> EvaluationReport:
    """Write the report's files and row; an earlier one on the same images is replaced."""
    keep_files(version.sha256, images, measured, cifar=cifar)
    return keep_row(version, images, measured)


def keep_files(sha256: str, images: ImageSet, measured: Measured, *, cifar: Cifar10 | None = None) -> None:
    """What of a report lies in the storage, noted in the figures; the model needs no row yet.

    Args:
        sha256: of the model's file.
        cifar: see ``evaluate``.

    Raises:
        StorageUnavailable: the store of files does not answer. Doing it again does it once.
    """
    panels = measured.figures["panels"]
    # Of a set of people's photos no tiles are made; among a project's images theirs are grey.
    panels["tile"] = tile_side(images) if images.photos and all(images.photos) else keep_tiles(images)
    if cifar is not None and cifar.sha256 == images.sha256:
        panels["data"] = keep_data_facts(cifar)
    panels["answers"] = keep_answers(sha256, packed_answers(measured))
    panels["computed_at"] = timezone.now().isoformat(timespec="seconds")


def keep_row(version: ModelVersion, images: ImageSet, measured: Measured) -> EvaluationReport:
    """The row of a report whose files were kept; an earlier one on the same images is replaced.

    Where a photo was withdrawn while the model looked at it, the figures alone are kept.
    """
    with transaction.atomic():
        # A withdrawal waits for this lock, and then finds the rows that are written here.
        numbers = [number for number in images.photos if number]
        photos = DatasetImage.objects.filter(pk__in=numbers).order_by("pk").select_for_update()
        standing = {photo.pk for photo in photos if photo.withdrawn_at is None}
        report = _write_row(version, images, measured)
        report.photos.all().delete()
        MeasuredPhoto.objects.bulk_create(
            [
                MeasuredPhoto(report=report, row=row, image_id=photo, file=file)
                for row, (photo, file) in enumerate(zip(images.photos, images.files, strict=False))
                if photo in standing
            ],
            batch_size=500,
        )
        if len(standing) < len(numbers):
            withdrawals.drop_answers(report)
    return report


def _write_row(version: ModelVersion, images: ImageSet, measured: Measured) -> EvaluationReport:
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
    _forget(
        before.figures.get("panels", {}).get("answers", "") if before else "",
        measured.figures["panels"]["answers"],
    )
    return report


def has_panels(report: EvaluationReport) -> bool:
    """False of a report that came with a model: it has the figures, but not the images."""
    return "answers" in report.figures.get("panels", {})


def answers(report: EvaluationReport) -> Answers:
    """Each image's answer.

    Raises:
        ArtifactMissing: the report was made without them, or their file is gone.
    """
    name = report.figures.get("panels", {}).get("answers")
    if not name:
        raise ArtifactMissing(
            f"This report has no single predictions: run 'manage.py evaluate {report.model_id}'."
        )
    return _read_answers(name)


def truth_and_predicted(report: EvaluationReport) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Class numbers, int64 [N] each."""
    return unpacked(report.figures["truth"]), unpacked(report.figures["predicted"])


def class_names(report: EvaluationReport) -> list[str]:
    """The classes that the report's numbers mean, those of the set first."""
    return [row["name"] for row in report.figures["classes"]]


def confusion(report: EvaluationReport) -> list[list[int]]:
    """How often each class (rows) was taken for each (columns)."""
    known: list[list[int]] | None = report.figures.get("confusion")
    if known is None:  # of many classes it is not kept
        side = len(class_names(report))
        counts = np.zeros((side, side), int)
        np.add.at(counts, truth_and_predicted(report), 1)
        known = counts.tolist()
    return known


def ranked_probabilities(report: EvaluationReport, row: int) -> list[tuple[str, float]]:
    """(class, probability) of one image, most probable first.

    Raises:
        ArtifactMissing: see ``answers``.
    """
    chances = answers(report).probabilities[row].astype(float)
    names = class_names(report)
    return [(names[i], float(chances[i])) for i in np.argsort(-chances, kind="stable")]


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


@lru_cache(maxsize=4)
def _read_answers(name: str) -> Answers:
    with np.load(io.BytesIO(read(name)), allow_pickle=False) as stored:
        return Answers(stored["probabilities"], stored["embedding"])


def packed_answers(measured: Measured) -> bytes:
    """The file that ``answers`` reads."""
    packed = io.BytesIO()
    np.savez_compressed(packed, probabilities=measured.probabilities, embedding=measured.embedding)
    return packed.getvalue()


def keep_answers(sha256: str, content: bytes) -> str:
    """Keep a model's ``packed_answers`` in the storage; returns the file's name there."""
    name = f"reports/{sha256[:16]}/{hashlib.sha256(content).hexdigest()[:16]}.npz"
    if not default_storage.exists(name):
        default_storage.save(name, ContentFile(content))
    return name


def _forget(old: str, new: str) -> None:
    if old and old != new:
        default_storage.delete(old)
