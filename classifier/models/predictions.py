"""Tables of predictions and their explanations."""

from __future__ import annotations

from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from cifarsite.core.leases import Leased
from cifarsite.core.pages import colour_of
from classifier.models.accounts import User
from classifier.models.labels import UNKNOWN, LabelField, Ranked, class_title
from classifier.models.photos import Photo, input_path
from training.models import ModelVersion, Project, ProjectKey


class Prediction(Leased):
    """One request to classify a photo, and its result. The database is the source of truth."""

    class Status(models.TextChoices):
        QUEUED = "queued", _("waiting")
        RUNNING = "running", _("being classified")
        DONE = "done", _("done")
        FAILED = "failed", _("failed")

    class Verdict(models.TextChoices):
        RECOGNISED = "recognised", _("recognised")
        UNSURE = "unsure", _("unsure")
        UNKNOWN = "unknown", _("none of these")

    class UserFeedback(models.TextChoices):
        AGREES = "agrees", _("you agreed")
        DIFFERS = "differs", _("you corrected it")
        NOT_SURE = "not_sure", _("you were not sure")

    class Priority(models.IntegerChoices):
        INTERACTIVE = 0, _("interactive")
        BULK = 1, _("bulk")

    photo = models.ForeignKey(
        Photo, on_delete=models.CASCADE, related_name="predictions", verbose_name=_("photo")
    )
    # Copies of the photo's owner, time and project, which never change: history pages filter and
    # order by one index instead of joining a million rows.
    owner = models.ForeignKey(User, on_delete=models.CASCADE, related_name="+", verbose_name=_("owner"))
    photo_created_at = models.DateTimeField(_("photo uploaded at"))
    project = ProjectKey(Project, on_delete=models.PROTECT, related_name="+", verbose_name=_("project"))
    is_current = models.BooleanField(_("current"), default=True)
    status = models.CharField(_("status"), max_length=8, choices=Status.choices, default=Status.QUEUED)
    priority = models.PositiveSmallIntegerField(
        _("priority"), choices=Priority.choices, default=Priority.INTERACTIVE
    )
    input = models.FileField(_("model input"), upload_to=input_path, max_length=200)
    input_sha256 = models.CharField(_("sha256 of the input's pixels"), max_length=64)
    preprocessing = models.CharField(_("preprocessing"), max_length=50)
    crop = models.JSONField(
        _("part of the photo"),
        null=True,
        blank=True,
        editable=False,
        help_text=_("Left, top, width and height as shares of the photo's sides; empty: all of it."),
    )
    model = models.ForeignKey(
        ModelVersion,
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="predictions",
        verbose_name=_("model version"),
    )
    label = LabelField(_("label"), blank=True)
    confidence = models.FloatField(_("confidence"), null=True, help_text=_("From 0 to 1."))
    verdict = models.CharField(_("verdict"), max_length=15, choices=Verdict.choices, blank=True)
    # Of the owner's correction, kept by ``corrections``: one more thing that history pages filter by.
    user_feedback = models.CharField(
        _("owner's correction"), max_length=8, choices=UserFeedback.choices, blank=True, editable=False
    )
    probabilities = models.JSONField(
        _("probabilities"), null=True, help_text=_("Of the model's classes, in their order.")
    )
    provenance = models.JSONField(
        _("provenance"), default=dict, help_text=_("How the prediction was made: calibration, thresholds.")
    )
    created_at = models.DateTimeField(_("requested at"), auto_now_add=True, db_index=True)
    finished_at = models.DateTimeField(_("classified at"), null=True, editable=False)
    seconds = models.FloatField(
        _("seconds"), null=True, help_text=_("The model's computing time for this photo.")
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
            # How long people waited lately, on the health page.
            models.Index(
                fields=["priority", "-finished_at"],
                condition=Q(finished_at__isnull=False),
                name="prediction_finished",
            ),
            models.Index(fields=["id"], condition=Q(status="failed"), name="prediction_failed"),
            models.Index(
                fields=["owner", "-photo_created_at", "-photo"],
                condition=Q(is_current=True),
                name="prediction_history",
            ),
            models.Index(
                fields=["owner", "project", "-photo_created_at", "-photo"],
                condition=Q(is_current=True),
                name="prediction_by_project",
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
            models.Index(
                fields=["owner", "user_feedback", "-photo_created_at", "-photo"],
                condition=Q(is_current=True),
                name="prediction_by_owner_says",
            ),
            # Of the one order by confidence; rows without an answer are not in it.
            models.Index(
                fields=["owner", "confidence", "photo"],
                condition=Q(is_current=True, confidence__isnull=False),
                name="prediction_by_confidence",
            ),
            models.Index(
                fields=["owner", "project", "confidence", "photo"],
                condition=Q(is_current=True, confidence__isnull=False),
                name="prediction_project_confidence",
            ),
            models.Index(
                fields=["owner", "label", "confidence", "photo"],
                condition=Q(is_current=True, confidence__isnull=False),
                name="prediction_label_confidence",
            ),
            models.Index(
                fields=["owner", "verdict", "confidence", "photo"],
                condition=Q(is_current=True, confidence__isnull=False),
                name="prediction_verdict_confidence",
            ),
            models.Index(
                fields=["owner", "user_feedback", "confidence", "photo"],
                condition=Q(is_current=True, confidence__isnull=False),
                name="prediction_says_confidence",
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
    def outcome(self) -> str:
        """What the answer amounts to: a class or 'unknown'; empty before there is one."""
        if self.status != self.Status.DONE:
            return ""
        return UNKNOWN if self.verdict == self.Verdict.UNKNOWN else str(self.label)

    def get_verdict_display(self) -> str:  # type: ignore[no-redef]
        """The verdict for people: 'none of the ten' where CIFAR-10's ten are meant."""
        if self.verdict == self.Verdict.UNKNOWN:
            return class_title(UNKNOWN, self.project_id)
        return str(dict(self.Verdict.choices).get(self.verdict, self.verdict))

    @property
    def classes(self) -> list[str]:
        """The model's classes, in the order of the probabilities; empty before there is an answer."""
        return self.model.classes if self.model else []

    @property
    def colour(self) -> str:
        """The colour of the answer's class; empty for 'unknown' and before there is an answer."""
        if self.outcome in self.classes:
            return colour_of(self.classes.index(self.outcome))
        return ""

    @property
    def ranked(self) -> list[Ranked]:
        """The model's classes with their probabilities, most probable first."""
        rows = zip(range(len(self.classes)), self.classes, self.probabilities or (), strict=False)
        ordered = sorted(rows, key=lambda row: -row[2])
        return [Ranked(name, class_title(name), p, colour_of(place)) for place, name, p in ordered]


class Explanation(Leased):
    """Why a model answered as it did, made on demand; see ``classifier.predictions.explanations``."""

    class Status(models.TextChoices):
        QUEUED = "queued", _("waiting")
        RUNNING = "running", _("being computed")
        DONE = "done", _("done")
        FAILED = "failed", _("failed")

    class Neighbours(models.TextChoices):
        ABSENT = "absent", _("training images are missing")
        COLLECTING = "collecting", _("training images are being indexed")
        FAILED = "failed", _("training images could not be indexed")
        FOUND = "found", _("found")

    prediction = models.OneToOneField(
        Prediction, on_delete=models.CASCADE, related_name="explanation", verbose_name=_("prediction")
    )
    status = models.CharField(_("status"), max_length=7, choices=Status.choices, default=Status.QUEUED)
    # {label: rows of nats} of the two likeliest labels; see ``training.engine.evaluation.occlusion``.
    maps = models.JSONField(_("heat maps"), default=dict)
    neighbours = models.CharField(
        _("nearest training images"), max_length=10, choices=Neighbours.choices, blank=True
    )
    # [{"row", "label", "cosine"}], nearest first, and how alike training images are to each other.
    nearest = models.JSONField(_("nearest images"), default=list)
    typical = models.FloatField(_("typical similarity"), null=True)
    # The nearest images side by side, a PNG.
    pictures = models.BinaryField(_("pictures"), null=True)
    has_pictures = models.BooleanField(_("with pictures"), default=False)
    created_at = models.DateTimeField(_("requested at"), auto_now_add=True)
    finished_at = models.DateTimeField(_("finished at"), null=True, editable=False)
    seconds = models.FloatField(_("seconds of work"), null=True)
    error_detail = models.TextField(_("error"), blank=True)

    class Meta:
        ordering = ["-id"]
        indexes = [
            models.Index(
                fields=["id"], condition=Q(status__in=["queued", "running"]), name="explanation_open"
            ),
            models.Index(fields=["id"], condition=Q(neighbours="collecting"), name="explanation_collecting"),
        ]
        verbose_name = _("explanation")
        verbose_name_plural = _("explanations")

    def __str__(self) -> str:
        return f"{self.prediction_id}: {self.status}"

    @property
    def is_over(self) -> bool:
        return self.status in (self.Status.DONE, self.Status.FAILED)
