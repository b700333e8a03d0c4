"""What a person works with: their account, photos and the answers to them."""

from __future__ import annotations

import uuid
from typing import Any

from django.contrib.auth.models import AbstractUser
from django.db import models
from django.db.models import Q
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from training.engine.data import CLASS_NAMES
from training.models import AppendOnly, Leased, ModelVersion

CLASS_CHOICES = [
    ("airplane", _("airplane")),
    ("automobile", _("automobile")),
    ("bird", _("bird")),
    ("cat", _("cat")),
    ("deer", _("deer")),
    ("dog", _("dog")),
    ("frog", _("frog")),
    ("horse", _("horse")),
    ("ship", _("ship")),
    ("truck", _("truck")),
]


class User(AbstractUser):
    """Somebody with an account. E-mail addresses are kept by django-allauth."""

    language = models.CharField(_("language"), max_length=10, blank=True)


def display_path(photo: Photo, filename: str) -> str:
    return f"photos/{photo.pk.hex[:2]}/{photo.pk}/display.jpg"


def thumbnail_path(photo: Photo, filename: str) -> str:
    return f"photos/{photo.pk.hex[:2]}/{photo.pk}/thumbnail.jpg"


def input_path(prediction: Prediction, filename: str) -> str:
    photo = prediction.photo
    return f"photos/{photo.pk.hex[:2]}/{photo.pk}/input-{prediction.preprocessing}.png"


class Photo(models.Model):
    """A photo as this site re-encoded it: no byte of the original file is kept."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    owner = models.ForeignKey(
        User, on_delete=models.CASCADE, related_name="photos", verbose_name=_("owner")
    )
    filename = models.CharField(
        _("file name"), max_length=255, help_text=_("As the person's device called it.")
    )
    display = models.FileField(_("display copy"), upload_to=display_path, max_length=200)
    thumbnail = models.FileField(_("thumbnail"), upload_to=thumbnail_path, max_length=200)
    width = models.PositiveIntegerField(_("width in pixels"))
    height = models.PositiveIntegerField(_("height in pixels"))
    size = models.PositiveIntegerField(_("size of the original in bytes"))
    pixel_sha256 = models.CharField(_("sha256 of the pixels"), max_length=64, db_index=True)
    created_at = models.DateTimeField(_("uploaded at"), auto_now_add=True)
    # Set by 'delete', cleared by 'undo'; the sweeper removes row and files after a while.
    deleted_at = models.DateTimeField(_("deleted at"), null=True, blank=True, db_index=True)

    class Meta:
        ordering = ["-created_at", "-id"]
        indexes = [models.Index(fields=["owner", "-created_at", "-id"], name="photo_history")]
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


class Prediction(Leased):
    """One question to a model about one photo, and its answer. The row is the truth."""

    class Status(models.TextChoices):
        QUEUED = "queued", _("waiting")
        RUNNING = "running", _("being looked at")
        DONE = "done", _("done")
        FAILED = "failed", _("failed")

    class Verdict(models.TextChoices):
        RECOGNISED = "recognised", _("recognised")
        UNSURE = "unsure", _("unsure")
        NONE_OF_THE_TEN = "none_of_the_ten", _("none of the ten")

    class Priority(models.IntegerChoices):
        INTERACTIVE = 0, _("interactive")
        BULK = 1, _("bulk")

    photo = models.ForeignKey(
        Photo, on_delete=models.CASCADE, related_name="predictions", verbose_name=_("photo")
    )
    # Copies of the photo's owner and time, which never change: history pages filter and
    # order by one index instead of joining a million rows.
    owner = models.ForeignKey(User, on_delete=models.CASCADE, related_name="+", verbose_name=_("owner"))
    photo_created_at = models.DateTimeField(_("photo uploaded at"))
    is_current = models.BooleanField(_("current"), default=True)
    status = models.CharField(_("status"), max_length=8, choices=Status.choices, default=Status.QUEUED)
    priority = models.PositiveSmallIntegerField(
        _("priority"), choices=Priority.choices, default=Priority.INTERACTIVE
    )
    input = models.FileField(_("model input"), upload_to=input_path, max_length=200)
    input_sha256 = models.CharField(_("sha256 of the input's pixels"), max_length=64)
    preprocessing = models.CharField(_("preprocessing"), max_length=50)
    model = models.ForeignKey(
        ModelVersion,
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="predictions",
        verbose_name=_("model version"),
    )
    label = models.CharField(_("label"), max_length=10, choices=CLASS_CHOICES, blank=True)
    confidence = models.FloatField(_("confidence"), null=True, help_text=_("From 0 to 1."))
    verdict = models.CharField(_("verdict"), max_length=15, choices=Verdict.choices, blank=True)
    probabilities = models.JSONField(
        _("probabilities"), null=True, help_text=_("Of the ten classes, in CIFAR-10's order.")
    )
    receipt = models.JSONField(
        _("receipt"), default=dict, help_text=_("What the answer was made with: calibration, thresholds.")
    )
    created_at = models.DateTimeField(_("asked at"), auto_now_add=True)
    finished_at = models.DateTimeField(_("answered at"), null=True, editable=False)
    seconds = models.FloatField(
        _("seconds"), null=True, help_text=_("The model's share of time for this photo.")
    )
    error_code = models.CharField(_("error code"), max_length=50, blank=True)
    error_detail = models.TextField(_("error"), blank=True)

    class Meta:
        ordering = ["-photo_created_at", "-photo_id"]
        constraints = [
            models.UniqueConstraint(
                fields=["photo"], condition=Q(is_current=True), name="one_current_prediction"
            )
        ]
        indexes = [
            models.Index(
                fields=["priority", "id"],
                condition=Q(status__in=["queued", "running"]),
                name="prediction_open",
            ),
            models.Index(
                fields=["owner", "-photo_created_at", "-photo"],
                condition=Q(is_current=True),
                name="prediction_history",
            ),
            models.Index(
                fields=["owner", "label", "-photo_created_at", "-photo"],
                condition=Q(is_current=True),
                name="prediction_by_label",
            ),
            models.Index(
                fields=["owner", "status", "-photo_created_at", "-photo"],
                condition=Q(is_current=True),
                name="prediction_by_status",
            ),
            models.Index(
                fields=["owner", "verdict", "-photo_created_at", "-photo"],
                condition=Q(is_current=True),
                name="prediction_by_verdict",
            ),
        ]
        verbose_name = _("prediction")
        verbose_name_plural = _("predictions")

    def __str__(self) -> str:
        return f"{self.photo_id}: {self.label or self.status}"

    @property
    def is_over(self) -> bool:
        return self.status in (self.Status.DONE, self.Status.FAILED)

    @property
    def ranked(self) -> list[tuple[str, Any, float]]:
        """(class name, its translation, probability) of the ten, most probable first."""
        pairs = zip(CLASS_NAMES, self.probabilities or (), strict=False)
        names = dict(CLASS_CHOICES)
        return [(c, names[c], p) for c, p in sorted(pairs, key=lambda pair: -pair[1])]


class ApiToken(models.Model):
    """Lets a program act for a person; only its hash is kept. Made and found by ``classifier.tokens``."""

    class Scope(models.TextChoices):
        PREDICT = "predict", _("upload photos and have them recognised")
        READ = "read", _("read photos, answers and models")
        TRAIN = "train", _("train, promote and roll back models (staff)")

    owner = models.ForeignKey(
        User, on_delete=models.CASCADE, related_name="api_tokens", verbose_name=_("owner")
    )
    name = models.CharField(_("name"), max_length=100)
    # The beginning of the token, by which its owner tells it from others.
    prefix = models.CharField(_("begins with"), max_length=12, editable=False)
    sha256 = models.CharField(_("sha256"), max_length=64, unique=True, editable=False)
    scopes = models.JSONField(_("scopes"))
    created_at = models.DateTimeField(_("made at"), auto_now_add=True)
    expires_at = models.DateTimeField(_("expires at"), null=True, blank=True)
    revoked_at = models.DateTimeField(_("revoked at"), null=True, editable=False)
    last_used_at = models.DateTimeField(_("last used at"), null=True, editable=False)

    class Meta:
        ordering = ["-id"]
        verbose_name = _("API token")
        verbose_name_plural = _("API tokens")

    def __str__(self) -> str:
        return f"{self.name} ({self.prefix}…)"

    @property
    def state(self) -> str:
        """'active', 'expired' or 'revoked'."""
        if self.revoked_at:
            return "revoked"
        return "expired" if self.expires_at and self.expires_at <= timezone.now() else "active"


class RateCount(models.Model):
    """How often somebody asked within one window of time; see ``classifier.rates``."""

    key = models.CharField(_("key"), max_length=100, primary_key=True)
    count = models.PositiveBigIntegerField(_("count"), default=0)
    ends_at = models.DateTimeField(_("window ends at"), db_index=True)

    class Meta:
        verbose_name = _("rate count")
        verbose_name_plural = _("rate counts")

    def __str__(self) -> str:
        return f"{self.key}: {self.count}"


class IdempotentRequest(models.Model):
    """A request that is answered once, however often it is sent; see ``classifier.idempotency``."""

    owner = models.ForeignKey(User, on_delete=models.CASCADE, related_name="+", verbose_name=_("owner"))
    key = models.CharField(_("key"), max_length=255)
    request_sha256 = models.CharField(_("sha256 of the request"), max_length=64)
    # Null while the first request is still at work.
    status = models.PositiveSmallIntegerField(_("status"), null=True)
    answer = models.JSONField(_("answer"), null=True)
    created_at = models.DateTimeField(_("asked at"), auto_now_add=True, db_index=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["owner", "key"], name="one_answer_a_key")]
        verbose_name = _("idempotent request")
        verbose_name_plural = _("idempotent requests")

    def __str__(self) -> str:
        return self.key


class AuditEntry(AppendOnly):
    """What happened that may have to be accounted for. Append-only; see ``classifier.audit``."""

    created_at = models.DateTimeField(_("at"), auto_now_add=True, db_index=True)
    kind = models.CharField(_("kind"), max_length=50, db_index=True)
    by = models.ForeignKey(
        User, on_delete=models.SET_NULL, null=True, blank=True, related_name="+", verbose_name=_("by")
    )
    address = models.GenericIPAddressField(_("address"), null=True, blank=True)
    # Ids and codes, never a name: this line stays when the account is gone.
    detail = models.TextField(_("detail"), blank=True)

    class Meta:
        ordering = ["-id"]
        verbose_name = _("audit entry")
        verbose_name_plural = _("audit entries")

    def __str__(self) -> str:
        return f"{self.created_at:%Y-%m-%d %H:%M} {self.kind}"
