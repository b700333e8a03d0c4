"""Photos that are withdrawn or deleted: left out of every version, and of what reports kept of each."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from functools import partial
from uuid import UUID

from django.core.files.storage import default_storage
from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone

from training.models import DatasetImage, EvaluationReport, MeasuredPhoto, ModelVersion


def withdraw(sources: Iterable[UUID]) -> int:
    """Leave photos out for good, and remove what reports kept of each. Returns how many marks are new.

    Reports that were measured on such a photo keep their figures and lose all single answers: what a
    model said of each image, and its place on the map.
    """
    sources = list(sources)
    with transaction.atomic():
        marks = leave_out(sources, timezone.now())
        held = MeasuredPhoto.objects.filter(image__source__in=sources)
        reports = EvaluationReport.objects.filter(pk__in=set(held.values_list("report", flat=True)))
        for report in reports.select_for_update():
            drop_answers(report)
        held.delete()
    return marks


def leave_out(sources: Iterable[UUID], at: datetime) -> int:
    """Mark photos in every version that holds them: no run uses them, no report shows them.

    Returns:
        How many marks are new.
    """
    images = DatasetImage.objects.filter(source__in=list(sources), withdrawn_at=None)
    return images.update(withdrawn_at=at)


def admit_again(sources: Iterable[UUID], at: datetime) -> int:
    """Take back the marks that ``leave_out`` set with this very time. Returns how many."""
    images = DatasetImage.objects.filter(source__in=list(sources), withdrawn_at=at)
    return images.update(withdrawn_at=None)


def drop_answers(report: EvaluationReport) -> None:
    """Take the single answers out of a report; their file goes with the transaction."""
    name = report.figures.get("panels", {}).pop("answers", "")
    if name:
        report.save(update_fields=["figures"])
        # A store that is away keeps it until the sweeper finds that no report names it.
        transaction.on_commit(partial(default_storage.delete, name), robust=True)


def models_trained_on(source: UUID) -> QuerySet[ModelVersion]:
    """The models whose dataset holds this photo."""
    return ModelVersion.objects.filter(dataset__images__source=source)
