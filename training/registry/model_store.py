"""Model files: immutable, named by their sha256, checked before each load.

The shared copy lies in the storage (``models/<sha256>.keras``), so every host finds it; a
worker keeps a local one under ``MODELS_DIR``.
"""

from __future__ import annotations

import hashlib
import json
import logging
import time
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.db import transaction

from training.engine.data.cifar10 import CLASS_NAMES
from training.engine.data.labelled_images import CROSS_VALIDATION
from training.engine.training.checkpoints import write_durably
from training.models import (
    DEFAULT_PROJECT,
    DatasetVersion,
    EvaluationReport,
    ModelVersion,
    Promotion,
    TrainingJob,
)
from training.registry import conversion

if TYPE_CHECKING:
    from training.engine.inference.predictor import Predictor
    from training.engine.packaging.package import Package

TEST_SET = "CIFAR-10 test"
# What a project's set of all images is called, each answered by a model that was fitted without it.
CROSS_VALIDATED = ", cross-validated"
# How far back a worker looks for a model that loads, where the champion's file is damaged.
EARLIER = 20
LOOK_AGAIN_SECONDS = 15.0
# Loaded models a process: the champions of the projects that are asked, and one that is tried beside them.
MODELS_KEPT = 4

logger = logging.getLogger(__name__)
_refused: dict[str, tuple[str, float]] = {}


class ModelFileError(Exception):
    """A model's file is missing or is not what was registered; the message says what to do."""


def champion(project: str = DEFAULT_PROJECT) -> ModelVersion | None:
    """The version that answers for a project now; None before it has one."""
    return ModelVersion.objects.filter(project=project, is_champion=True).first()


def live_preprocessing(project: str = DEFAULT_PROJECT) -> str:
    """What makes the model input of a project's new photo: its champion's version."""
    rows = ModelVersion.objects.filter(project=project, is_champion=True)
    return rows.values_list("preprocessing", flat=True).first() or "squash32-v1"


def test_set(project: str) -> str:
    """The name of a project's own test images, as reports have it."""
    return TEST_SET if project == DEFAULT_PROJECT else f"{project} test"


def own_sets(project: str) -> tuple[str, str]:
    """What the sets are called that a project's models are measured on; earlier reports have the first."""
    return test_set(project), f"{project}{CROSS_VALIDATED}"


def made_on(project: str, card: dict[str, Any]) -> str:
    """The name of the set that a model was measured on when it was made."""
    return own_sets(project)[card.get("measured_by") == CROSS_VALIDATION]


def main_report(version: ModelVersion) -> EvaluationReport | None:
    """A model's report on the test images that it was registered with; None where it has none.

    A model of a project may have others on its project's later images.
    """
    own = version.reports.filter(dataset_sha256=measured_on(version.card)).first()
    named = version.reports.filter(dataset__in=own_sets(version.project_id))
    return own or named.order_by("id").first()


def measured_on(card: dict[str, Any]) -> str:
    """The hash of the images that a model was measured on when it was made."""
    data = card.get("data", {})
    return str(data.get("measured_sha256") or data.get("sha256", ""))


def model_file(version: ModelVersion) -> Path:
    """A local copy of the model's file whose hash was just checked.

    A damaged one is replaced by the storage's copy, if that is whole.

    Raises:
        ModelFileError: neither copy is there and whole.
    """
    path: Path = settings.MODELS_DIR / f"{version.sha256}.keras"
    if path.exists():
        if hashlib.sha256(path.read_bytes()).hexdigest() == version.sha256:
            return path
        logger.error("%s is damaged: it is not loaded but fetched again.", path)
    content = _stored_content(version)
    if hashlib.sha256(content).hexdigest() != version.sha256:
        raise ModelFileError(
            f"The file of model '{version}' is damaged (its sha256 differs): it is not loaded. Restore "
            f"models/{version.sha256[:12]}….keras from the backup, or roll back to another version."
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    write_durably(path, content)
    return path


def earlier_champions(project: str = DEFAULT_PROJECT) -> list[ModelVersion]:
    """What was live in a project before, the latest first."""
    lines = Promotion.objects.filter(promoted__project=project).order_by("-id")
    ids = lines.values_list("promoted", flat=True)[:EARLIER]
    found = ModelVersion.objects.filter(is_champion=False).in_bulk(list(ids))
    return [found[pk] for pk in dict.fromkeys(ids) if pk in found]


def predictor(version: ModelVersion) -> Predictor:
    """The model, loaded and ready; kept in this process until ``MODELS_KEPT`` others are asked for.

    Raises:
        ModelFileError: see ``model_file``. The file is then left alone for a while, since each look
            at it reads all of it.
    """
    refusal, until = _refused.get(version.sha256, ("", 0.0))
    if time.monotonic() < until:
        raise ModelFileError(refusal)
    try:
        return _loaded(version.pk, version.sha256, json.dumps(version.card["judge"]))
    except ModelFileError as error:
        _refused[version.sha256] = str(error), time.monotonic() + LOOK_AGAIN_SECONDS
        raise


def load(version: ModelVersion) -> Predictor:
    """The model, loaded anew; for whoever keeps it themselves.

    Raises:
        ModelFileError: see ``model_file``.
    """
    from training.engine.inference.network import load_network
    from training.engine.inference.predictor import Predictor
    from training.engine.inference.verdict import DecisionPolicy

    file = model_file(version)
    try:
        network = load_network(file, partial(conversion.converted, file))
        made = Predictor(network, DecisionPolicy.from_card(version.card["judge"]), version.classes)
    except ValueError as error:
        raise ModelFileError(str(error)) from error
    network.warm_up()
    return made


@lru_cache(maxsize=MODELS_KEPT)
def _loaded(pk: int, sha256: str, judge: str) -> Predictor:
    return load(ModelVersion.objects.get(pk=pk))


def register(package: Package, *, job: TrainingJob | None, name: str = "") -> ModelVersion:
    """Write the rows of a model whose file is kept: the version and the report on the test split.

    It belongs to the job's project, with the classes that its card names; CIFAR-10's where it names none.
    """
    dataset = job.dataset if job else None
    return register_card(package.sha256, package.card, package.test, name=name, job=job, dataset=dataset)


def keep_file(content: bytes, converted: bytes | None = None) -> str:
    """Write a model's file to the storage and to the models folder; returns its sha256.

    Args:
        converted: what LiteRT answers with, where it is known.

    Not inside a transaction: the storage may take long, and others would wait for the lock.
    """
    sha256 = hashlib.sha256(content).hexdigest()
    stored = f"models/{sha256}.keras"
    if not default_storage.exists(stored):
        default_storage.save(stored, ContentFile(content))
    settings.MODELS_DIR.mkdir(parents=True, exist_ok=True)
    file = settings.MODELS_DIR / f"{sha256}.keras"
    write_durably(file, content)
    if converted:
        conversion.keep(file, converted)
    return sha256


def cifar10_version(sha256: str) -> DatasetVersion:
    """The row that stands for plain CIFAR-10 with this hash."""
    version, _ = DatasetVersion.objects.get_or_create(
        sha256=sha256, defaults={"name": "CIFAR-10", "manifest": {"cifar10": sha256, "added": []}}
    )
    return version


def register_card(
    sha256: str,
    card: dict[str, Any],
    test: dict[str, Any],
    *,
    name: str,
    job: TrainingJob | None,
    dataset: DatasetVersion | None,
) -> ModelVersion:
    project = job.project_id if job else DEFAULT_PROJECT
    with transaction.atomic():
        version, created = ModelVersion.objects.get_or_create(
            sha256=sha256,
            defaults={
                "project_id": project,
                "classes": card.get("classes") or list(CLASS_NAMES),
                "name": name or f"{card['recipe']}-{job.pk if job else sha256[:8]}",
                "recipe": card["recipe"],
                "size": (settings.MODELS_DIR / f"{sha256}.keras").stat().st_size,
                "preprocessing": card["preprocessing"],
                "job": job,
                "dataset": dataset or cifar10_version(card["data"]["sha256"]),
                "card": card,
                # A project of a few images has none to validate on.
                "val_accuracy": card.get("validation", {}).get("accuracy"),
                "test_accuracy": card["test"]["accuracy"],
            },
        )
        if created:
            EvaluationReport.objects.create(
                model=version,
                dataset=made_on(project, card),
                dataset_sha256=measured_on(card),
                n=test["n"],
                accuracy=test["accuracy"],
                figures=test,
            )
    return version


def _stored_content(version: ModelVersion) -> bytes:
    try:
        with default_storage.open(f"models/{version.sha256}.keras", "rb") as file:
            content: bytes = file.read()
            return content
    except FileNotFoundError as error:
        raise ModelFileError(
            f"The file {version.sha256[:12]}….keras of model '{version}' is in neither the storage nor the "
            "models folder, or damaged there: restore it from the backup, or roll back to another version."
        ) from error
