"""Tables of photos, predictions and explanations."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

from django.db import models
from django.db.models import F, Q
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from classifier.models.accounts import User
from training.models import Project, ProjectKey

if TYPE_CHECKING:
    from classifier.models.predictions import Prediction


def display_path(photo: Photo, filename: str) -> str:
    return f"photos/{photo.pk.hex[:2]}/{photo.pk}/display.jpg"


def thumbnail_path(photo: Photo, filename: str) -> str:
    return f"photos/{photo.pk.hex[:2]}/{photo.pk}/thumbnail.jpg"


def input_path(prediction: Prediction, filename: str) -> str:
    """One file for each way to look at a photo: the storage may overwrite a name that it has."""
    photo = prediction.photo
    part = "".join(f"-{share:.4f}" for share in prediction.crop or ())
    return f"photos/{photo.pk.hex[:2]}/{photo.pk}/input-{prediction.preprocessing}{part}.bmp"


class Photo(models.Model):
    """A photo as this site re-encoded it: no byte of the original file is kept."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    owner = models.ForeignKey(User, on_delete=models.CASCADE, related_name="photos", verbose_name=_("owner"))
    project = ProjectKey(
        Project,
        on_delete=models.PROTECT,
        related_name="photos",
        verbose_name=_("project"),
    )
    filename = models.CharField(
        _("file name"), max_length=255, help_text=_("The file's name on the user's device.")
    )
    display = models.FileField(_("display copy"), upload_to=display_path, max_length=200)
    thumbnail = models.FileField(_("thumbnail"), upload_to=thumbnail_path, max_length=200)
    width = models.PositiveIntegerField(_("width in pixels"))
    height = models.PositiveIntegerField(_("height in pixels"))
    size = models.PositiveIntegerField(_("size of the original in bytes"))
    # With the database's own default: while versions change, the former one writes rows too.
    damaged = models.BooleanField(
        _("damaged"),
        default=False,
        db_default=False,
        editable=False,
        help_text=_("Part of the original file was damaged."),
    )
    pixel_sha256 = models.CharField(_("sha256 of the pixels"), max_length=64, db_index=True)
    # Measured when the photo came in, see ``classifier.images.quality``; null: before that was done.
    brightness = models.FloatField(
        _("brightness"), null=True, editable=False, help_text=_("Mean brightness, from 0 to 1.")
    )
    contrast = models.FloatField(
        _("contrast"),
        null=True,
        editable=False,
        help_text=_("Standard deviation of the grey levels, from 0 to 0.5."),
    )
    sharpness = models.FloatField(
        _("sharpness"),
        null=True,
        editable=False,
        help_text=_("Ratio of fine to coarse edges; below 0.39 in a blurred photo."),
    )
    created_at = models.DateTimeField(_("uploaded at"), auto_now_add=True)
    # Set by 'delete', cleared by 'undo'; the sweeper removes row and files after a while.
    deleted_at = models.DateTimeField(_("deleted at"), null=True, blank=True, db_index=True)

    class Meta:
        ordering = ["-created_at", "-id"]
        indexes = [
            models.Index(fields=["owner", "-created_at", "-id"], name="photo_history"),
            # The admin's list: everybody's photos, newest first.
            models.Index(fields=["-created_at", "-id"], name="photo_newest"),
        ]
        verbose_name = _("photo")
        verbose_name_plural = _("photos")

    def __str__(self) -> str:
        return self.filename

    def get_absolute_url(self) -> str:
        return reverse("classifier:photo", args=[self.pk])

    @property
    def prediction(self) -> Prediction:
        """The present answer; older ones stay in ``predictions``."""
        return self.predictions.select_related("model").get(is_current=True)


class DayCount(models.Model):
    """Photos of one person and day, counted by what is in them; see ``classifier.photos.daily_counts``."""

    owner = models.ForeignKey(
        User, on_delete=models.CASCADE, related_name="day_counts", verbose_name=_("owner")
    )
    project = ProjectKey(
        Project,
        on_delete=models.CASCADE,
        related_name="+",
        verbose_name=_("project"),
    )
    day = models.DateField(_("day (UTC)"))
    photos = models.PositiveIntegerField(_("photos"), default=0)
    labels = models.JSONField(_("classified photos by class"), default=dict)
    # Photos of each quarter of an hour (0 to 95), of which a day of every time zone is made; null: not
    # counted since these are kept.
    quarters = models.JSONField(_("photos by quarter of an hour"), null=True)
    # Raised by whatever changes a photo of the day; ``counted`` is its value when the day was counted.
    changes = models.PositiveBigIntegerField(_("changes"), default=0)
    counted = models.PositiveBigIntegerField(_("changes counted"), default=0)

    class Meta:
        ordering = ["-day"]
        constraints = [models.UniqueConstraint(fields=["owner", "project", "day"], name="one_count_a_day")]
        indexes = [
            models.Index(fields=["owner", "day"], condition=~Q(changes=F("counted")), name="daycount_stale")
        ]
        verbose_name = _("daily count")
        verbose_name_plural = _("daily counts")

    def __str__(self) -> str:
        return f"{self.day}: {self.photos}"


class NameWord(models.Model):
    """A word of a photo's file name, to search names by an index; see ``classifier.photos.search``."""

    owner = models.ForeignKey(
        User, on_delete=models.CASCADE, related_name="+", verbose_name=_("owner"), db_index=False
    )
    photo = models.ForeignKey(
        Photo, on_delete=models.CASCADE, related_name="name_words", verbose_name=_("photo"), db_index=False
    )
    word = models.CharField(_("word"), max_length=40)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["photo", "word"], name="one_word_a_photo")]
        indexes = [
            models.Index(
                fields=["owner", "word", "photo"],
                # PostgreSQL alone looks at these: beginnings are found whatever the collation is.
                opclasses=["int8_ops", "varchar_pattern_ops", "uuid_ops"],
                name="nameword_search",
            ),
            # The admin's search, in everybody's photos.
            models.Index(
                fields=["word", "photo"],
                opclasses=["varchar_pattern_ops", "uuid_ops"],
                name="nameword_anybody",
            ),
        ]
        verbose_name = _("word in a file name")
        verbose_name_plural = _("words in file names")

    def __str__(self) -> str:
        return self.word


class Mail(models.Model):
    """A mail that waits to be sent; then the row goes, since it may hold a link that opens an account."""

    to = models.EmailField(_("to"))
    subject = models.TextField(_("subject"))
    body = models.TextField(_("text"))
    tries = models.PositiveSmallIntegerField(_("tries"), default=0)
    due_at = models.DateTimeField(_("due at"), default=timezone.now, db_index=True)

    class Meta:
        verbose_name = _("queued mail")
        verbose_name_plural = _("queued mails")

    def __str__(self) -> str:
        return self.subject
