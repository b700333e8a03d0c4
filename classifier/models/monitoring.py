"""Tables of drift, shadow deployment and reclassification."""

from __future__ import annotations

from django.db import models
from django.db.models import Q, Value
from django.urls import reverse
from django.utils.translation import gettext_lazy as _

from cifarsite.core.leases import Leased
from classifier.models.accounts import User
from classifier.models.labels import LabelField
from classifier.models.predictions import Prediction
from training.models import ModelVersion, Project, ProjectKey


class DriftDay(models.Model):
    """Sums over a day's answers, of nobody in particular; see ``classifier.monitoring.drift``."""

    project = ProjectKey(Project, on_delete=models.CASCADE, related_name="+", verbose_name=_("project"))
    day = models.DateField(_("day (UTC)"))
    n = models.PositiveIntegerField(_("classified photos"))
    labels = models.JSONField(_("photos by class"))
    verdicts = models.JSONField(_("photos by verdict"))
    # Name to number, sum and sum of squares: confidence, brightness, contrast, sharpness.
    sums = models.JSONField(_("sums"))
    opinions = models.PositiveIntegerField(_("predictions confirmed or corrected"))
    agreed = models.PositiveIntegerField(_("predictions confirmed"))

    class Meta:
        ordering = ["-day"]
        constraints = [models.UniqueConstraint(fields=["project", "day"], name="one_drift_day_a_project")]
        verbose_name = _("daily drift statistics")
        verbose_name_plural = _("daily drift statistics")

    def __str__(self) -> str:
        return f"{self.day}: {self.n}"


class DriftAlert(models.Model):
    """Staff were told that photos or answers have changed; closed when that is over."""

    project = ProjectKey(Project, on_delete=models.CASCADE, related_name="+", verbose_name=_("project"))
    opened_at = models.DateTimeField(_("opened at"), auto_now_add=True)
    closed_at = models.DateTimeField(_("closed at"), null=True, blank=True)
    until = models.DateField(_("the seven days before"))
    findings = models.JSONField(_("what has changed"))

    class Meta:
        ordering = ["-opened_at"]
        constraints = [
            models.UniqueConstraint(
                fields=["project", "until"], condition=Q(closed_at=None), name="one_open_drift_alert_a_day"
            )
        ]
        verbose_name = _("drift alert")
        verbose_name_plural = _("drift alerts")

    def __str__(self) -> str:
        return f"{self.until}: {', '.join(self.findings)}"


class Shadow(models.Model):
    """A challenger that is asked about live photos too, without answering anybody. See ``shadows``."""

    model = models.ForeignKey(
        ModelVersion, on_delete=models.CASCADE, related_name="shadows", verbose_name=_("model version")
    )
    started_by = models.ForeignKey(
        User, on_delete=models.SET_NULL, null=True, blank=True, related_name="+", verbose_name=_("started by")
    )
    started_at = models.DateTimeField(_("started at"), auto_now_add=True)
    ended_at = models.DateTimeField(_("ended at"), null=True, blank=True)
    # The last prediction that was looked at: later ones are still to come.
    cursor = models.BigIntegerField(_("cursor"), default=0, editable=False)

    class Meta:
        ordering = ["-id"]
        constraints = [
            # One at a time, so that it never costs more than one model's time.
            models.UniqueConstraint(Value(1), condition=Q(ended_at__isnull=True), name="one_shadow_at_a_time")
        ]
        verbose_name = _("shadow deployment")
        verbose_name_plural = _("shadow deployments")

    def __str__(self) -> str:
        return f"{self.model}, {self.started_at:%Y-%m-%d}"


class ShadowAnswer(Leased):
    """What the challenger says of a photo that the champion has answered."""

    class Status(models.TextChoices):
        QUEUED = "queued", _("waiting")
        RUNNING = "running", _("being classified")
        DONE = "done", _("done")
        FAILED = "failed", _("failed")

    shadow = models.ForeignKey(
        Shadow, on_delete=models.CASCADE, related_name="answers", verbose_name=_("shadow deployment")
    )
    prediction = models.ForeignKey(
        Prediction,
        on_delete=models.CASCADE,
        related_name="shadow_answers",
        verbose_name=_("champion's prediction"),
    )
    status = models.CharField(_("status"), max_length=8, choices=Status.choices, default=Status.QUEUED)
    # A class, or 'unknown': what people read.
    live = LabelField(_("champion's class"), blank=True)
    said = LabelField(_("challenger's class"), blank=True)
    confidence = models.FloatField(_("confidence"), null=True, help_text=_("From 0 to 1."))
    agrees = models.BooleanField(_("agrees"), null=True)
    finished_at = models.DateTimeField(_("classified at"), null=True, editable=False)

    class Meta:
        ordering = ["-id"]
        constraints = [models.UniqueConstraint(fields=["shadow", "prediction"], name="one_shadow_answer")]
        indexes = [
            models.Index(
                fields=["id"], condition=Q(status__in=["queued", "running"]), name="shadowanswer_open"
            ),
            models.Index(fields=["shadow", "agrees", "-id"], name="shadowanswer_agrees"),
        ]
        verbose_name = _("shadow prediction")
        verbose_name_plural = _("shadow predictions")

    def __str__(self) -> str:
        return f"{self.live} / {self.said}"


class Reclassification(models.Model):
    """Everybody's photos asked about again with today's champion, as bulk work. See ``reclassifications``."""

    class State(models.TextChoices):
        RUNNING = "running", _("running")
        CANCELLED = "cancelled", _("cancelled")
        DONE = "done", _("done")

    model = models.ForeignKey(
        ModelVersion,
        on_delete=models.CASCADE,
        related_name="reclassifications",
        verbose_name=_("model version"),
    )
    started_by = models.ForeignKey(
        User, on_delete=models.SET_NULL, null=True, blank=True, related_name="+", verbose_name=_("started by")
    )
    state = models.CharField(_("state"), max_length=9, choices=State.choices, default=State.RUNNING)
    # Answers up to ``last`` are renewed; those up to ``cursor`` have been asked for.
    cursor = models.BigIntegerField(_("cursor"), default=0, editable=False)
    last = models.BigIntegerField(_("last prediction"), default=0, editable=False)
    created_at = models.DateTimeField(_("started at"), auto_now_add=True)
    finished_at = models.DateTimeField(_("finished at"), null=True, editable=False)

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint(
                fields=["state"], condition=Q(state="running"), name="one_reclassification_at_a_time"
            )
        ]
        verbose_name = _("reclassification")
        verbose_name_plural = _("reclassifications")

    def __str__(self) -> str:
        return f"{self.model}, {self.created_at:%Y-%m-%d}"

    def get_absolute_url(self) -> str:
        return reverse("classifier:reclassification", args=[self.pk])


class ReclassificationItem(models.Model):
    """One photo of a reclassification: the answer before, and the one that renews it."""

    reclassification = models.ForeignKey(
        Reclassification, on_delete=models.CASCADE, related_name="items", verbose_name=_("reclassification")
    )
    prediction = models.OneToOneField(
        Prediction,
        on_delete=models.CASCADE,
        related_name="reclassification_item",
        verbose_name=_("new prediction"),
    )
    before = LabelField(_("before"))
    # Filled with the answer: a class, or 'unknown'.
    after = LabelField(_("after"), blank=True)
    changed = models.BooleanField(_("changed"), null=True)

    class Meta:
        ordering = ["-id"]
        indexes = [
            models.Index(fields=["reclassification", "changed", "-id"], name="reclassification_changed")
        ]
        verbose_name = _("photo of a reclassification")
        verbose_name_plural = _("photos of reclassifications")

    def __str__(self) -> str:
        return f"{self.before} → {self.after}"
