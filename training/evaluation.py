"""Evaluation: run a model over a set of images once, keep what a report shows, read it again.

The figures are a row; beside them lie small files in the storage: each answer's ten
probabilities and place on the map (``reports/<model>/<hash>.npz``), and the set's images as
rows of equal tiles (``sets/<hash>/``), so that a web host needs neither the model nor the data.
"""

from __future__ import annotations

import hashlib
import io
import tempfile
from collections.abc import Callable
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

from training import datasets, model_store
from training.engine.data import CLASS_NAMES, Cifar10, load_cifar10
from training.engine.image_set import ImageSet
from training.models import EvaluationReport, ModelVersion
from training.tiles import NotKept, keep_data_facts, keep_tiles, read

if TYPE_CHECKING:
    from training.engine.predictor import Predictor
    from training.engine.report import Measured, Outputs

Say = Callable[[str], None]


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
        cifar: describe this data in the report, too, if the images are its own.
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
    content: bytes,
    card: dict[str, Any],
    cifar: Cifar10,
    outputs: Outputs,
    say: Say = lambda sentence: None,
    patiently: Callable[[Callable[[], Any]], Any] = lambda read: read(),
) -> list[tuple[ImageSet, Measured]]:
    """Measure a model that has no row yet: on CIFAR-10's test images, and on people's corrections
    where there are some that measure.

    Args:
        content, card, outputs: as in ``training.engine.package``.
        patiently: does what it is given again while the database or the store of files is away.
    """
    from training.engine.report import measure

    predictor = new_predictor(content, card)
    distorted = settings.REPORT_DISTORTED_IMAGES
    images, preprocessing = cifar10_test(cifar), card["preprocessing"]
    made = [(images, measure(predictor, images, preprocessing, say, distorted=distorted, outputs=outputs))]
    photos = patiently(datasets.newest_measuring_set)
    if photos is not None:
        say("Now the corrected photos.")
        made.append((photos, measure(predictor, photos, preprocessing, say, distorted=distorted)))
    return made


def new_predictor(content: bytes, card: dict[str, Any]) -> Predictor:
    """The model of a package, ready."""
    from training.engine.predictor import Predictor
    from training.engine.verdict import Judge

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.keras"
        path.write_bytes(content)
        return Predictor(path, Judge.from_card(card["judge"]))


def measure_champion(cifar: Cifar10, sets: list[ImageSet], say: Say = lambda sentence: None) -> None:
    """Measure the model that answers now on those of the sets that it has no report on, so that a
    new one can be held against it.

    Raises:
        ModelFileError: its file is missing or damaged.
    """
    champion = model_store.champion()
    if champion is None:
        return
    known = set(champion.reports.values_list("dataset_sha256", flat=True))
    for images in sets:
        if images.sha256 not in known:
            say(f"Measuring {champion} on the same images: {images.name}.")
            evaluate(champion, images, cifar=cifar, say=say)


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
        StorageAway: the store of files does not answer. Doing it again does it once.
    """
    panels = measured.figures["panels"]
    panels["tile"] = keep_tiles(images)
    if cifar is not None and cifar.sha256 == images.sha256:
        panels["data"] = keep_data_facts(cifar)
    panels["answers"] = keep_answers(sha256, packed_answers(measured))
    panels["computed_at"] = timezone.now().isoformat(timespec="seconds")


def keep_row(version: ModelVersion, images: ImageSet, measured: Measured) -> EvaluationReport:
    """The row of a report whose files were kept; an earlier one on the same images is replaced."""
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


def evaluate_on_corrections(
    version: ModelVersion, dataset: str = "", say: Say = lambda sentence: None
) -> EvaluationReport:
    """The report on people's accepted corrections: those photos of a dataset version that no model
    is trained on.

    Args:
        dataset: name or number of the dataset version; empty: the newest.

    Raises:
        NothingToMeasure: there are none.
        DatasetError: a photo's file is damaged.
        ModelFileError: the model's file is missing or damaged.
    """
    return evaluate(version, datasets.find_measuring_set(dataset), say=say)


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
