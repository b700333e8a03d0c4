"""Reports of the models that ship: made beforehand by ``manage.py ship_report``, whole from the start.

Beside each shipped model lie its figures (``test.json``) and its single answers
(``answers.npz``); no image of CIFAR-10 ships. The images join as soon as this site has a copy of
the data: at the next start where CIFAR10_DIR names one, or at the end of the first run.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from django.conf import settings
from django.utils import timezone

from training.data import cifar10_copy, image_sheets
from training.engine.data.cifar10 import Cifar10, load_cifar10
from training.evaluation import measuring
from training.evaluation import reports as evaluation
from training.models import EvaluationReport
from training.registry import model_store, pretrained

logger = logging.getLogger(__name__)
Say = Callable[[str], None]
ANSWERS = "answers.npz"


def complete() -> list[EvaluationReport]:
    """Give the shipped models' reports the panels and answers that ship.

    A report that was made here since, by 'manage.py evaluate', stays as it is; one that came with
    an earlier release is replaced.

    Returns:
        Those that were completed.
    """
    completed = []
    for folder in pretrained.shipped_folders():
        card, file = pretrained.shipped_card(folder.name), folder / ANSWERS
        report = (
            EvaluationReport.objects.filter(
                model__sha256=card["sha256"], dataset_sha256=card["data"]["sha256"]
            )
            .select_related("model")
            .first()
        )
        if report is None or not file.is_file():
            continue
        figures, packed = json.loads((folder / "test.json").read_text()), file.read_bytes()
        if not belong_together(figures, packed):
            logger.warning(
                "The report of %s does not fit its model: run 'manage.py ship_report'.", folder.name
            )
            continue
        made_at = figures["panels"]["computed_at"]
        if evaluation.has_panels(report) and report.figures["panels"].get("shipped") in (None, made_at):
            continue
        figures["panels"]["shipped"] = made_at
        figures["panels"]["answers"] = evaluation.keep_answers(report.model.sha256, packed)
        report.figures = figures
        report.save(update_fields=["figures"])
        completed.append(report)
    return completed


def belong_together(figures: dict[str, Any], packed: bytes) -> bool:
    """Were the panels of a ``test.json`` and these answers made in one go?"""
    panels = figures.get("panels", {})
    return bool(panels.get("answers_sha256") == hashlib.sha256(packed).hexdigest())


def show_images(cifar: Cifar10 | None = None) -> int:
    """Keep the images of reports on CIFAR-10's test split that have none yet.

    Args:
        cifar: the data, where it is loaded; None: what CIFAR10_DIR names or was fetched on the
            site, never a download.

    Returns:
        How many reports have images now that had none.

    Raises:
        DatasetError: CIFAR10_DIR holds no CIFAR-10.
    """
    reports = EvaluationReport.objects.filter(dataset=model_store.TEST_SET).select_related("model")
    # A report of figures alone does not say which image was which.
    whole = (report for report in reports if "truth" in report.figures)
    bare = [report for report in whole if not image_sheets.are_kept(report.dataset_sha256)]
    known = cifar10_copy.folder()
    if bare and cifar is None and known:
        cifar = load_cifar10(known)
    return sum(image_sheets.lend(cifar, report) for report in bare) if cifar else 0


def ship(name: str, cifar: Cifar10, say: Say = lambda sentence: None) -> Path:
    """Measure a model of ``training/pretrained`` and write what of its report ships.

    Returns:
        The folder with the new ``test.json`` and ``answers.npz``.

    Raises:
        ModelFileError: there is no such model, or its file is not what its card says.
    """
    from training.engine.data.statistics import data_facts
    from training.engine.evaluation.report import measure
    from training.engine.inference.predictor import Predictor
    from training.engine.inference.verdict import DecisionPolicy

    card = pretrained.shipped_card(name)
    images = measuring.cifar10_test(cifar)
    measured = measure(
        Predictor(
            pretrained.shipped_file(name), DecisionPolicy.from_card(card["judge"]), card.get("classes")
        ),
        images,
        card["preprocessing"],
        say,
        distorted=settings.REPORT_DISTORTED_IMAGES,
    )
    say("Describing the data.")
    packed = evaluation.packed_answers(measured)
    measured.figures["panels"] |= {
        "tile": images.images[0].shape[0],
        "data": data_facts(cifar),
        "computed_at": timezone.now().isoformat(timespec="seconds"),
        "answers_sha256": hashlib.sha256(packed).hexdigest(),
    }
    folder = pretrained.PRETRAINED_DIR / name
    (folder / "test.json").write_text(json.dumps(measured.figures))
    (folder / ANSWERS).write_bytes(packed)
    return folder
