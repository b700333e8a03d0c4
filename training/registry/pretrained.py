"""The models that ship with the project."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from django.db import transaction

from training.models import ModelVersion, Promotion

if TYPE_CHECKING:
    pass
from training.registry.model_store import ModelFileError, champion, keep_file, register_card

PRETRAINED_DIR = Path(__file__).parents[1] / "pretrained"
# The recipe whose shipped model answers from the first start on.
SHIPPED_CHAMPION = "photo_net"


def install_pretrained() -> list[ModelVersion]:
    """Register the models that ship with the project; one becomes champion if there is none.

    Where a model answers already, staff are offered what is new and decide, through the gate.

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
        sha256 = keep_file(content)
        installed.append(register_card(sha256, card, test, name=name, job=None, dataset=None))
    install_default_champion()
    return installed


def offered() -> ModelVersion | None:
    """The model that ships to answer, where another one answers and it never did."""
    rows = ModelVersion.objects.filter(sha256=shipped_card(SHIPPED_CHAMPION)["sha256"], is_champion=False)
    return rows.filter(promotions=None).defer("card").first()


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


def install_default_champion() -> None:
    """Let the shipped model answer where none does."""
    card = shipped_card(SHIPPED_CHAMPION)
    with transaction.atomic():
        if champion() is not None:
            return
        shipped = ModelVersion.objects.get(sha256=card["sha256"])
        ModelVersion.objects.filter(pk=shipped.pk).update(is_champion=True)
        Promotion.objects.create(
            action=Promotion.Action.INSTALL,
            promoted=shipped,
            report=shipped.reports.first(),
            reason="Ships with the project.",
        )
