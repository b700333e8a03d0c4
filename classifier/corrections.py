"""People say what is really in a photo; reviewers accept; accepted photos may train models."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from functools import partial

from django.core.files.base import ContentFile
from django.db import transaction
from django.db.models import (
    Case,
    Count,
    Exists,
    ExpressionWrapper,
    F,
    FloatField,
    OuterRef,
    Q,
    QuerySet,
    Value,
    When,
)
from django.db.models.functions import Coalesce
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from PIL import Image

from classifier.image_checks import encode_input
from classifier.models import ANSWER_CHOICES, Consent, Correction, Example, Photo, Prediction, User
from classifier.stored_files import remove_files
from training import datasets
from training.engine.data import CLASS_NAMES
from training.engine.near_duplicates import find_twin
from training.engine.preprocessing import make_input
from training.models import DatasetVersion, ModelVersion

logger = logging.getLogger(__name__)

State = Correction.State
OwnerSays = Prediction.OwnerSays
NOT_SURE = "not_sure"
NONE = "none_of_the_ten"
LABELS = [label for label, _text in ANSWER_CHOICES]
# What CIFAR-10's own images are: training adds to them.
PREPROCESSING = "squash32-v1"


class UnknownLabel(ValueError):
    """The label is none that a person can give; the message lists those that are."""


# --- What people say --------------------------------------------------------------------------


def correct(photo: Photo, by: User, label: str) -> Correction:
    """Note what a person says is in a photo; a later answer of theirs replaces the former.

    Args:
        label: one of the ten classes, 'none_of_the_ten' or 'not_sure'.

    Raises:
        UnknownLabel: it is something else.
    """
    if label not in LABELS:
        raise UnknownLabel(_("'%(label)s' is no answer. Say one of: %(labels)s.") % _named(label))
    prediction = photo.prediction
    known = Correction.objects.filter(photo=photo, by=by).first()
    if known and known.label == label and known.predicted == said(prediction):
        return known
    with transaction.atomic():
        correction, _created = Correction.objects.update_or_create(
            photo=photo,
            by=by,
            defaults={
                "label": label,
                "predicted": said(prediction),
                "confidence": prediction.confidence,
                "state": State.PROPOSED,
                "reviewed_by": None,
                "reviewed_at": None,
            },
        )
        _note(photo, by, owner_says(correction))
    return correction


def take_back(photo: Photo, by: User) -> bool:
    """Forget what a person said about a photo; what a reviewer accepted meanwhile stays."""
    with transaction.atomic():
        _note(photo, by, "")
        return bool(Correction.objects.filter(photo=photo, by=by).delete()[0])


def owner_says(correction: Correction) -> str:
    """A correction in the words that the history filters by."""
    if correction.label == NOT_SURE:
        return OwnerSays.NOT_SURE
    return OwnerSays.AGREES if correction.agrees else OwnerSays.DIFFERS


def _note(photo: Photo, by: User, says: str) -> None:
    if by.pk == photo.owner_id:
        photo.predictions.filter(is_current=True).update(owner_says=says)


def said(prediction: Prediction) -> str:
    """What the model's answer amounts to: what 'right' agrees to; empty before there is one."""
    if prediction.status != Prediction.Status.DONE:
        return ""
    return NONE if prediction.verdict == Prediction.Verdict.NONE_OF_THE_TEN else prediction.label


def _named(label: str) -> dict[str, str]:
    return {"label": label[:50], "labels": ", ".join(LABELS)}


# --- Consent ----------------------------------------------------------------------------------


def consent(user: User) -> bool | None:
    """May this person's corrected photos train models? None: not asked yet."""
    return Consent.objects.filter(user=user).values_list("given", flat=True).first()


def set_consent(user: User, given: bool) -> None:
    """Remember the answer. Taking it back marks every dataset version that holds such a photo."""
    with transaction.atomic():
        Consent.objects.update_or_create(user=user, defaults={"given": given})
        if not given:
            datasets.withdraw(Example.objects.filter(photo__owner=user).values_list("photo_id", flat=True))


# --- Review -----------------------------------------------------------------------------------


def waiting() -> QuerySet[Correction]:
    """Proposals about photos that may be shown to a reviewer, the most valuable first.

    The value adds: how unsure the model was (0 to 1), 1 where the person disagrees with it, 1/2
    where people disagree with each other, and how rare the class is among accepted photos (0
    to 1). 'Not sure' counts 1 less.
    """
    rows = Correction.objects.filter(
        state=State.PROPOSED, photo__deleted_at=None, photo__owner__consent__given=True
    )
    others = Correction.objects.filter(photo=OuterRef("photo")).exclude(label=OuterRef("label"))
    value = (
        1.0
        - Coalesce(F("confidence"), 0.5)
        + Case(When(label=F("predicted"), then=0.0), default=1.0, output_field=FloatField())
        + Case(When(Exists(others), then=0.5), default=0.0, output_field=FloatField())
        + Case(*_rarity(), When(label=NOT_SURE, then=-1.0), default=0.0, output_field=FloatField())
    )
    number = ExpressionWrapper(value, output_field=FloatField())
    return rows.annotate(value=number).select_related("photo", "photo__owner").order_by("-value", "id")


def _rarity() -> list[When]:
    counts = dict(Example.objects.order_by().values_list("label").annotate(n=Count("pk")))
    most = max(counts.values(), default=0) or 1
    return [When(label=name, then=Value(1 - counts.get(name, 0) / most)) for name in CLASS_NAMES]


def tallies(photo: Photo) -> list[tuple[str, int]]:
    """(label, how many people say so), most first."""
    return Counter(photo.corrections.values_list("label", flat=True)).most_common()


def accept(photo: Photo, label: str, *, by: User) -> Example:
    """Make this the photo's label, and keep the pixels that a model may train on.

    Raises:
        UnknownLabel: no class and not 'none_of_the_ten'.
        OSError: the photo's file cannot be read.
    """
    if label not in LABELS or label == NOT_SURE:
        raise UnknownLabel(_("'%(label)s' is no answer. Say one of: %(labels)s.") % _named(label))
    made = training_image(photo)
    content, _hash = encode_input(made)
    example = Example.objects.filter(photo=photo).first() or Example(photo=photo)
    example.label, example.accepted_by, example.twin = label, by, find_twin(made)
    example.sha256 = datasets.pixels_sha256(made)
    if not example.image:
        example.image.save("", ContentFile(content.read()), save=False)
    with transaction.atomic():
        example.save()
        _review(photo, by, Q(label=label), State.ACCEPTED)
        _review(photo, by, ~Q(label=label), State.REJECTED)
    return example


def reject(photo: Photo, *, by: User) -> int:
    """None of what people say about this photo is right, or it is no use. Returns how many."""
    with transaction.atomic():
        rejected = _review(photo, by, Q(), State.REJECTED)
        _forget_example(photo)
    return rejected


def reopen(photo: Photo) -> int:
    """Undo a review: the proposals wait again."""
    with transaction.atomic():
        _forget_example(photo)
        return photo.corrections.update(state=State.PROPOSED, reviewed_by=None, reviewed_at=None)


def training_image(photo: Photo) -> Image.Image:
    """The photo in CIFAR-10's size, by the same function that serves a 32x32 model."""
    prediction = photo.prediction
    exact = prediction.preprocessing == PREPROCESSING and prediction.input
    field, kind = (prediction.input, "PNG") if exact else (photo.display, "JPEG")
    with field.open("rb") as file, Image.open(file, formats=[kind]) as image:
        return make_input(image.convert("RGB"), PREPROCESSING)


def _review(photo: Photo, by: User, which: Q, state: str) -> int:
    return photo.corrections.filter(which).update(state=state, reviewed_by=by, reviewed_at=timezone.now())


def _forget_example(photo: Photo) -> None:
    for example in Example.objects.filter(photo=photo):
        name = example.image.name or ""
        example.delete()
        datasets.withdraw([photo.pk])
        transaction.on_commit(partial(remove_files, [name]))


# --- Dataset versions -------------------------------------------------------------------------


def trainable() -> QuerySet[Example]:
    """Accepted photos that may train: consent given, not deleted, no twin of a test image."""
    return Example.objects.filter(
        label__in=CLASS_NAMES, twin=None, photo__deleted_at=None, photo__owner__consent__given=True
    )


def training_rows() -> Iterator[dict[str, str]]:
    """What a dataset version is frozen of; see ``training.datasets``."""
    for photo_id, image, label, sha256 in trainable().values_list("photo_id", "image", "label", "sha256"):
        yield {"source": str(photo_id), "file": image, "label": label, "sha256": sha256}


def accepted_since(moment: datetime | None) -> int:
    """How many photos that may train were accepted after a moment (None: ever)."""
    rows = trainable()
    return (rows.filter(accepted_at__gt=moment) if moment else rows).count()


def freeze(by: User | None, name: str) -> DatasetVersion:
    """Freeze CIFAR-10 and what was accepted so far.

    Raises:
        datasets.NothingToFreeze: nothing was accepted yet, or no CIFAR-10 is known.
    """
    return datasets.freeze(name, training_rows(), by=by)


def freeze_for_schedule() -> DatasetVersion | None:
    """The version that a scheduled run trains on; None where nobody corrected anything."""
    if not ModelVersion.objects.exclude(job=None).exists():
        # The first run here is on plain CIFAR-10: it tells which copy of it this site has.
        return None
    try:
        name = _("CIFAR-10 and corrections, %(day)s") % {"day": timezone.now().date()}
        return freeze(None, str(name))
    except datasets.NothingToFreeze:
        return None
