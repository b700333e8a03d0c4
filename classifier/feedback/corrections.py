"""People say what is really in a photo; reviewers accept; accepted photos may train models."""

from __future__ import annotations

import io
from functools import partial

from django.core.files.base import ContentFile
from django.db import transaction
from django.db.models import Case, Count, ExpressionWrapper, F, FloatField, Q, QuerySet, Value, When
from django.db.models.functions import Coalesce
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from PIL import Image

from cifarsite.core.storage import remove_files
from classifier.images.crops import input_from_display
from classifier.images.inputs import read_input
from classifier.models import NOT_SURE, Consent, Correction, Example, Photo, Prediction, User
from classifier.models import UNKNOWN as NONE
from classifier.photos.access import photos_for_review
from classifier.photos.labels import in_words
from training.data import withdrawals
from training.engine.data.near_duplicates import find_near_duplicate
from training.engine.data.preprocessing import hash_pixels
from training.models import DEFAULT_PROJECT, ProjectImage
from training.projects import images
from training.projects.access import class_names

State = Correction.State
UserFeedback = Prediction.UserFeedback
# So many pairs of project and class say how rare a class is; others are.
COUNTED_CLASSES = 200
# What CIFAR-10's own images are: training adds to them.
PREPROCESSING = "squash32-v1"


class UnknownLabel(ValueError):
    """The label is none that a person can give; the message lists those that are."""


class NotTheOwner(PermissionError):
    """Only who uploaded a photo says what is in it: that opens it to reviewers."""


class NotAllowed(Exception):
    """The photo may not be used: its owner does not let it, or deleted it; the message says so."""


# --- What people say --------------------------------------------------------------------------


def correct(photo: Photo, by: User, label: str) -> Correction:
    """Note what the owner says is in a photo; a later answer replaces the former.

    Args:
        label: a class of the photo's project, what the model said, 'unknown' or 'not_sure'.

    Raises:
        NotTheOwner: it is another person's photo.
        UnknownLabel: the label is something else.
    """
    if by.pk != photo.owner_id:
        raise NotTheOwner(_("Only the owner of a photo can label it."))
    prediction = photo.prediction
    _refuse_unknown(label, [*_labels(photo), NOT_SURE], prediction.outcome)
    known = Correction.objects.filter(photo=photo, by=by).first()
    if known and known.label == label and known.predicted == prediction.outcome:
        return known
    with transaction.atomic():
        correction, _created = Correction.objects.update_or_create(
            photo=photo,
            by=by,
            defaults={
                "label": label,
                "predicted": prediction.outcome,
                "confidence": prediction.confidence,
                "state": State.PROPOSED,
                "reviewed_by": None,
                "reviewed_at": None,
            },
        )
        _note(photo, user_feedback(correction))
    return correction


def take_back(photo: Photo, by: User) -> bool:
    """Forget what the owner said about a photo; what a reviewer accepted meanwhile stays."""
    if by.pk != photo.owner_id:
        return False
    with transaction.atomic():
        _note(photo, "")
        return bool(Correction.objects.filter(photo=photo, by=by).delete()[0])


def user_feedback(correction: Correction) -> str:
    """A correction in the words that the history filters by."""
    if correction.label == NOT_SURE:
        return UserFeedback.NOT_SURE
    return UserFeedback.AGREES if correction.agrees else UserFeedback.DIFFERS


def _note(photo: Photo, says: str) -> None:
    photo.predictions.filter(is_current=True).update(user_feedback=says)


def _labels(photo: Photo) -> list[str]:
    return [*class_names(photo.project_id), NONE]


def _refuse_unknown(label: str, labels: list[str], also: str = "") -> None:
    if not label or (label not in labels and label != also):
        named = {"label": label[:50], "labels": in_words(labels)}
        raise UnknownLabel(_("'%(label)s' is not a valid label. Choose one of: %(labels)s.") % named)


# --- Consent ----------------------------------------------------------------------------------


def consent(user: User) -> bool | None:
    """May this person's corrected photos train models? None: not asked yet."""
    return Consent.objects.filter(user=user).values_list("given", flat=True).first()


def set_consent(user: User, given: bool) -> None:
    """Remember the answer. Taking it back removes the copies that were made for training, and marks
    every dataset version that holds such a photo; given again, the photos wait for review again.
    """
    with transaction.atomic():
        # First: whoever freezes or accepts holds this row, and what they made is found below.
        Consent.objects.update_or_create(user=user, defaults={"given": given})
        if not given:
            _forget_examples(Example.objects.filter(photo__owner=user))
            made_of = ProjectImage.objects.filter(photo__in=user.photos.values("pk"))
            photos = [pk for pk in made_of.values_list("photo", flat=True) if pk]
            images.remove(made_of)
            withdrawals.withdraw(photos)
            accepted = Correction.objects.filter(photo__owner=user, state=State.ACCEPTED)
            accepted.update(state=State.PROPOSED, reviewed_by=None, reviewed_at=None)


# --- Review -----------------------------------------------------------------------------------


def waiting(project: str = "") -> QuerySet[Correction]:
    """Proposals about photos that may be shown to a reviewer, the most valuable first.

    Args:
        project: of which alone; empty: of all.

    The value adds: how unsure the model was (0 to 1), 1 where the owner disagrees with it, and how
    rare the class is among accepted photos (0 to 1). 'Not sure' counts 1 less.
    """
    rows = Correction.objects.filter(
        state=State.PROPOSED, by=F("photo__owner"), photo__in=photos_for_review()
    )
    if project:
        rows = rows.filter(photo__project=project)
    value = (
        1.0
        - Coalesce(F("confidence"), 0.5)
        + Case(When(label=F("predicted"), then=0.0), default=1.0, output_field=FloatField())
        + Case(
            When(label=NOT_SURE, then=-1.0),
            When(label=NONE, then=0.0),
            *_rarity(),
            default=1.0,
            output_field=FloatField(),
        )
    )
    number = ExpressionWrapper(value, output_field=FloatField())
    return rows.annotate(value=number).select_related("photo", "photo__owner").order_by("-value", "id")


def _rarity() -> list[When]:
    """How rare the label of a proposal is among the accepted photos of its project, 0 to 1."""
    pairs = Example.objects.order_by().values_list("photo__project", "label").annotate(n=Count("pk"))
    counts = list(pairs.order_by("-n")[:COUNTED_CLASSES])
    most: dict[str, int] = {}
    for project, _label, n in counts:
        most.setdefault(project, n)
    return [
        When(photo__project=project, label=label, then=Value(1 - n / most[project]))
        for project, label, n in counts
        if label != NONE
    ]


def accept(photo: Photo, label: str, *, by: User) -> Example:
    """Make this the photo's label, and keep the pixels that a model may train on.

    Raises:
        UnknownLabel: no class and not 'unknown'.
        NotAllowed: its owner does not let it be used, or deleted it.
        OSError: the photo's file cannot be read.
    """
    _refuse_unknown(label, _labels(photo))
    made = training_image(photo)
    content = io.BytesIO()
    made.save(content, "PNG")
    pixels, near_duplicate_of = hash_pixels(made), near_test_image(photo, made)
    with transaction.atomic():
        # A withdrawal waits for this lock, and then finds what is kept here.
        consents = Consent.objects.filter(user=photo.owner_id, given=True).select_for_update()
        if not consents or not Photo.objects.filter(pk=photo.pk, deleted_at=None).select_for_update():
            raise NotAllowed(_("The owner deleted this photo or withdrew consent."))
        example = Example.objects.filter(photo=photo).first() or Example(
            photo=photo, sha256=pixels, near_duplicate_of=near_duplicate_of
        )
        example.label, example.accepted_by = label, by
        if not example.image:
            example.image.save("", ContentFile(content.getvalue()), save=False)
        example.save()
        _review(photo, by, Q(label=label), State.ACCEPTED)
        _review(photo, by, ~Q(label=label), State.REJECTED)
    return example


def reject(photo: Photo, *, by: User) -> int:
    """None of what people say about this photo is right, or it is no use. Returns how many."""
    with transaction.atomic():
        rejected = _review(photo, by, Q(), State.REJECTED)
        _forget_examples(Example.objects.filter(photo=photo))
    return rejected


def reopen(photo: Photo) -> int:
    """Undo a review: the proposals wait again."""
    with transaction.atomic():
        _forget_examples(Example.objects.filter(photo=photo))
        return photo.corrections.update(state=State.PROPOSED, reviewed_by=None, reviewed_at=None)


def training_image(photo: Photo) -> Image.Image:
    """The whole photo in CIFAR-10's size, by the same function that serves a 32x32 model."""
    # What a model was asked of a part of it shows that part alone.
    whole = photo.predictions.filter(preprocessing=PREPROCESSING, crop__isnull=True).exclude(input="")
    exact = whole.order_by("pk").first()
    if exact:
        with exact.input.open("rb") as file:
            return read_input(file)
    return input_from_display(photo, None, PREPROCESSING)


def near_test_image(photo: Photo, made: Image.Image) -> int | None:
    """The place of a nearly equal image in CIFAR-10's test split, for a photo of that project."""
    return find_near_duplicate(made) if photo.project_id == DEFAULT_PROJECT else None


def _review(photo: Photo, by: User, which: Q, state: str) -> int:
    return photo.corrections.filter(which).update(state=state, reviewed_by=by, reviewed_at=timezone.now())


def _forget_examples(examples: QuerySet[Example]) -> None:
    """Remove copies that were made for training. The rows first: a freeze holds them until it is done."""
    doomed = dict(examples.values_list("photo_id", "image"))
    examples.delete()
    withdrawals.withdraw(doomed)
    images.remove_of_photos(doomed)
    transaction.on_commit(partial(remove_files, list(doomed.values())))


# --- Dataset versions -------------------------------------------------------------------------
