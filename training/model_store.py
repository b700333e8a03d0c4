"""Model files: immutable, named by their sha256, checked before each load.

The shared copy lies in the storage (``models/<sha256>.keras``), so every host finds it; a
worker keeps a local one under ``MODELS_DIR``.
"""

from __future__ import annotations

import hashlib
import json
import logging
import time
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.db import transaction

from training.engine.checkpoints import write_durably
from training.models import DatasetVersion, EvaluationReport, ModelVersion, Promotion, TrainingJob

if TYPE_CHECKING:
    from training.engine.package import Package
    from training.engine.predictor import Predictor

PRETRAINED_DIR = Path(__file__).parent / "pretrained"
# The recipe whose shipped model answers from the first start on.
SHIPPED_CHAMPION = "photo_net"
TEST_SET = "CIFAR-10 test"
# How far back a worker looks for a model that loads, where the champion's file is damaged.
EARLIER = 20
LOOK_AGAIN_SECONDS = 15.0

logger = logging.getLogger(__name__)
_refused: dict[str, tuple[str, float]] = {}


class ModelFileError(Exception):
    """A model's file is missing or is not what was registered; the message says what to do."""


def champion() -> ModelVersion | None:
    """The version that answers now; None before one is installed."""
    return ModelVersion.objects.filter(is_champion=True).first()


def live_preprocessing() -> str:
    """What makes a new photo's model input: the champion's version."""
    name = ModelVersion.objects.filter(is_champion=True).values_list("preprocessing", flat=True).first()
    return name or "squash32-v1"


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


def earlier_champions() -> list[ModelVersion]:
    """What was live before, the latest first."""
    ids = Promotion.objects.order_by("-id").values_list("promoted", flat=True)[:EARLIER]
    found = ModelVersion.objects.filter(is_champion=False).in_bulk(list(ids))
    return [found[pk] for pk in dict.fromkeys(ids) if pk in found]


def predictor(version: ModelVersion) -> Predictor:
    """The model, loaded and ready; kept in this process until another two are asked for.

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
    from training.engine.model_files import UnsafeModelFile
    from training.engine.predictor import Predictor
    from training.engine.verdict import Judge

    try:
        made = Predictor(model_file(version), Judge.from_card(version.card["judge"]))
    except UnsafeModelFile as error:
        raise ModelFileError(str(error)) from error
    made.warm_up()
    return made


@lru_cache(maxsize=2)
def _loaded(pk: int, sha256: str, judge: str) -> Predictor:
    return load(ModelVersion.objects.get(pk=pk))


def register(package: Package, *, job: TrainingJob | None, name: str = "") -> ModelVersion:
    """Keep a model's file and write its rows: the version and the report on the test split."""
    dataset = job.dataset if job else None
    return _register(package.content, package.card, package.test, name=name, job=job, dataset=dataset)


def install_pretrained() -> list[ModelVersion]:
    """Register the models that ship with the project; the first becomes champion if there is none.

    A model that is there already gets the card of this release: its calibration may have become better.

    Returns:
        What was new.
    """
    known = {version.sha256: version for version in ModelVersion.objects.all()}
    installed = []
    for folder in shipped_folders():
        card = shipped_card(folder.name)
        test = json.loads((folder / "test.json").read_text())
        if card["sha256"] in known:
            _renew(known[card["sha256"]], card, test)
            continue
        content = shipped_file(folder.name).read_bytes()
        name = f"{folder.name}-shipped-{card['sha256'][:6]}"
        installed.append(_register(content, card, test, name=name, job=None, dataset=None))
    _crown_shipped()
    return installed


def shipped_folders() -> list[Path]:
    """Where the models that ship lie, a folder each."""
    return [folder for folder in sorted(PRETRAINED_DIR.iterdir()) if (folder / "card.json").is_file()]


def shipped_card(name: str) -> dict[str, Any]:
    """The card of a model that ships, by its folder's name."""
    card: dict[str, Any] = json.loads((PRETRAINED_DIR / name / "card.json").read_text())
    return card


def shipped_file(name: str) -> Path:
    """The file of a model that ships.

    Raises:
        ModelFileError: it is not what its card says.
    """
    file = PRETRAINED_DIR / name / "model.keras"
    if hashlib.sha256(file.read_bytes()).hexdigest() != shipped_card(name)["sha256"]:
        raise ModelFileError(f"{file} does not match its card: get the project's files again.")
    return file


def cifar10_version(sha256: str) -> DatasetVersion:
    """The row that stands for plain CIFAR-10 with this hash."""
    version, _ = DatasetVersion.objects.get_or_create(
        sha256=sha256, defaults={"name": "CIFAR-10", "manifest": {"cifar10": sha256, "added": []}}
    )
    return version


def _register(
    content: bytes,
    card: dict[str, Any],
    test: dict[str, Any],
    *,
    name: str,
    job: TrainingJob | None,
    dataset: DatasetVersion | None,
) -> ModelVersion:
    sha256 = hashlib.sha256(content).hexdigest()
    stored = f"models/{sha256}.keras"
    if not default_storage.exists(stored):
        default_storage.save(stored, ContentFile(content))
    settings.MODELS_DIR.mkdir(parents=True, exist_ok=True)
    write_durably(settings.MODELS_DIR / f"{sha256}.keras", content)
    with transaction.atomic():
        version, created = ModelVersion.objects.get_or_create(
            sha256=sha256,
            defaults={
                "name": name or f"{card['recipe']}-{job.pk if job else sha256[:8]}",
                "recipe": card["recipe"],
                "size": len(content),
                "preprocessing": card["preprocessing"],
                "job": job,
                "dataset": dataset or cifar10_version(card["data"]["sha256"]),
                "card": card,
                "val_accuracy": card["validation"]["accuracy"],
                "test_accuracy": card["test"]["accuracy"],
            },
        )
        if created:
            EvaluationReport.objects.create(
                model=version,
                dataset=TEST_SET,
                dataset_sha256=card["data"]["sha256"],
                n=test["n"],
                accuracy=test["accuracy"],
                figures=test,
            )
    return version


def _renew(version: ModelVersion, card: dict[str, Any], test: dict[str, Any]) -> None:
    """Give a shipped version the card that ships now; a report with single answers stays as it is."""
    if version.card == card or version.job_id is not None:
        return
    with transaction.atomic():
        ModelVersion.objects.filter(pk=version.pk).update(card=card)
        for report in version.reports.filter(dataset_sha256=card["data"]["sha256"]):
            if "panels" not in report.figures:
                report.figures = test
                report.save(update_fields=["figures"])


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


def _crown_shipped() -> None:
    """Let the shipped model answer where none does, or where an older shipped one still does.

    A model that somebody promoted or went back to stays.
    """
    card = shipped_card(SHIPPED_CHAMPION)
    with transaction.atomic():
        shipped = ModelVersion.objects.get(sha256=card["sha256"])
        last = Promotion.objects.first()
        if last and (last.action != Promotion.Action.INSTALL or last.promoted == shipped):
            return
        ModelVersion.objects.filter(is_champion=True).update(is_champion=False)
        ModelVersion.objects.filter(pk=shipped.pk).update(is_champion=True)
        Promotion.objects.create(
            action=Promotion.Action.INSTALL,
            previous=last.promoted if last else None,
            promoted=shipped,
            report=shipped.reports.first(),
            reason="Ships with the project.",
        )
