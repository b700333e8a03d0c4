"""Tables of corrections and accepted examples."""

from __future__ import annotations

from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from classifier.models.accounts import User
from classifier.models.labels import LabelField
from classifier.models.photos import Photo


class Correction(models.Model):
    """What one person says is in a photo; 'right' is the model's own label."""

    class State(models.TextChoices):
        PROPOSED = "proposed", _("proposed")
        ACCEPTED = "accepted", _("accepted")
        REJECTED = "rejected", _("rejected")

    photo = models.ForeignKey(
        Photo, on_delete=models.CASCADE, related_name="corrections", verbose_name=_("photo")
    )
    by = models.ForeignKey(User, on_delete=models.CASCADE, related_name="corrections", verbose_name=_("by"))
    label = LabelField(_("label"))
    predicted = LabelField(_("model's prediction"), blank=True)
    confidence = models.FloatField(_("the model's confidence"), null=True)
    state = models.CharField(_("state"), max_length=8, choices=State.choices, default=State.PROPOSED)
    created_at = models.DateTimeField(_("made at"), auto_now_add=True)
    changed_at = models.DateTimeField(_("changed at"), auto_now=True)
    reviewed_by = models.ForeignKey(
        User,
        on_delete=models.SET_NULL,
        null=True,
        blank=True,
        related_name="+",
        verbose_name=_("reviewed by"),
    )
    reviewed_at = models.DateTimeField(_("reviewed at"), null=True, blank=True)

    class Meta:
        ordering = ["-id"]
        constraints = [models.UniqueConstraint(fields=["photo", "by"], name="one_correction_a_person")]
        indexes = [
            models.Index(fields=["label"], condition=Q(state="proposed"), name="correction_open"),
            models.Index(
                fields=["by", "created_at"],
                # PostgreSQL adds a person's answers up without looking at the rows.
                include=["label", "predicted", "state"],
                name="correction_answers",
            ),
        ]
        verbose_name = _("correction")
        verbose_name_plural = _("corrections")

    def __str__(self) -> str:
        return f"{self.photo_id}: {self.label}"

    @property
    def agrees(self) -> bool:
        """The person says what the model said."""
        return bool(self.predicted) and self.label == self.predicted


def example_path(example: Example, filename: str) -> str:
    return f"photos/{example.photo_id.hex[:2]}/{example.photo_id}/example.png"


class Example(models.Model):
    """The label that a reviewer accepted for a photo, and the 32x32 pixels that may train a model."""

    photo = models.OneToOneField(
        Photo, on_delete=models.CASCADE, related_name="example", verbose_name=_("photo")
    )
    label = LabelField(_("label"))
    image = models.FileField(_("32x32 image"), upload_to=example_path, max_length=200)
    sha256 = models.CharField(_("sha256 of the pixels"), max_length=64)
    # The place of a nearly equal image in CIFAR-10's test split: such a photo never trains.
    near_duplicate_of = models.PositiveIntegerField(_("near duplicate of test image"), null=True, blank=True)
    accepted_by = models.ForeignKey(
        User, on_delete=models.SET_NULL, null=True, related_name="+", verbose_name=_("accepted by")
    )
    accepted_at = models.DateTimeField(_("accepted at"), auto_now_add=True)

    class Meta:
        ordering = ["-id"]
        verbose_name = _("accepted example")
        verbose_name_plural = _("accepted examples")

    def __str__(self) -> str:
        return f"{self.photo_id}: {self.label}"
