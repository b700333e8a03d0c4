"""Which of a set's images may be shown to whom.

CIFAR-10's images and those of sets that staff added are everybody's. A project's own are everybody's who may
see the project, but for people's photos among them, whose tiles are grey. All others are people's photos:
staff see them, drawn from the photos' own files, as long as their owners let them be used.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from django.contrib.auth.models import AbstractBaseUser, AnonymousUser
from django.core.files.storage import default_storage
from numpy.typing import NDArray
from PIL import Image

from cifarsite.core.storage import StorageUnavailable
from training.data import image_sheets
from training.evaluation.reports import has_panels
from training.models import EvaluationReport, EvaluationSet
from training.registry import model_store


def are_everybodys(report: EvaluationReport) -> bool:
    """Is the set nobody's photos? What is not known to be so is held to be people's."""
    test, crossed = model_store.own_sets(report.model.project_id)
    if report.dataset in (model_store.TEST_SET, test, crossed, f"{test}, held out"):
        return True
    return EvaluationSet.objects.filter(sha256=report.dataset_sha256).exists()


def may_be_shown(report: EvaluationReport, user: AbstractBaseUser | AnonymousUser) -> bool:
    """Are there images that this person may see?"""
    if not has_panels(report):
        return False
    if are_everybodys(report):
        return image_sheets.are_kept(report.dataset_sha256)
    return bool(getattr(user, "is_staff", False)) and report.photos.exists()


def photo_sheet(report: EvaluationReport, rows: Sequence[int]) -> bytes:
    """A PNG with people's photos, ten in a line; grey where one is withdrawn, deleted or gone.

    Raises:
        StorageUnavailable: the store of files does not answer.
    """
    side = report.figures["panels"]["tile"]
    standing = report.photos.filter(row__in=rows, image__withdrawn_at=None)
    files = dict(standing.values_list("row", "file"))
    blank = np.full((side, side, 3), image_sheets.GREY, np.uint8)
    return image_sheets.draw(np.stack([_read(files[row], blank) if row in files else blank for row in rows]))


def _read(file: str, otherwise: NDArray[np.uint8]) -> NDArray[np.uint8]:
    try:
        with default_storage.open(file, "rb") as opened, Image.open(opened, formats=["PNG"]) as image:
            return np.asarray(image.convert("RGB"))
    except StorageUnavailable:
        raise
    except (OSError, SyntaxError):
        return otherwise
