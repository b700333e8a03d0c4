"""Accepted photos that may train models, and the dataset versions that are frozen of them."""

from __future__ import annotations

from datetime import datetime

from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from classifier.models import Consent, Example, User
from training.data import dataset_versions
from training.models import DEFAULT_PROJECT, DatasetVersion, ModelVersion, ProjectClass


def usable(project: str) -> QuerySet[Example]:
    """Accepted photos of a project that may train: consent given, not deleted, of one of its classes."""
    return Example.objects.filter(
        photo__project=project,
        photo__deleted_at=None,
        photo__owner__consent__given=True,
        label__in=ProjectClass.objects.filter(project=project).values("name"),
    )


def trainable(project: str = DEFAULT_PROJECT) -> QuerySet[Example]:
    """Those that are not nearly the same as a test image of CIFAR-10."""
    return usable(project).filter(near_duplicate_of=None)


def training_rows() -> list[dict[str, str]]:
    """What a dataset version is frozen of. In a transaction, which holds it.

    Whoever withdraws or deletes meanwhile waits, and then finds the version that they must mark.
    """
    consents = Consent.objects.filter(given=True, pk__in=trainable().values("photo__owner__consent"))
    list(consents.order_by("pk").select_for_update().values_list("pk"))
    # A look of its own: what was withdrawn before the lock was there is not in it any more.
    held = list(trainable().order_by("pk").select_for_update(of=("self",)))
    return [
        {"source": str(one.photo_id), "file": str(one.image.name), "label": one.label, "sha256": one.sha256}
        for one in held
    ]


def accepted_since(moment: datetime | None) -> int:
    """How many photos that may train were accepted after a moment (None: ever)."""
    rows = trainable()
    return (rows.filter(accepted_at__gt=moment) if moment else rows).count()


def freeze(by: User | None, name: str) -> DatasetVersion:
    """Freeze CIFAR-10 and what was accepted so far.

    Raises:
        datasets.NothingToFreeze: nothing was accepted yet, or no CIFAR-10 is known.
    """
    with transaction.atomic():
        return dataset_versions.freeze(name, training_rows(), by=by)


def freeze_for_schedule() -> DatasetVersion | None:
    """The version that a scheduled run trains on; None where nobody corrected anything."""
    if not ModelVersion.objects.exclude(job=None).exists():
        # The first run here is on plain CIFAR-10: it tells which copy of it this site has.
        return None
    try:
        name = _("CIFAR-10 and corrections, %(day)s") % {"day": timezone.now().date()}
        return freeze(None, str(name))
    except dataset_versions.NothingToFreeze:
        return None
