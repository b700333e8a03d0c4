"""Tables of training jobs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.conf import settings
from django.db import models
from django.db.models import Q, QuerySet, TextChoices
from django.urls import reverse
from django.utils.translation import gettext_lazy as _

from cifarsite.core.append_only import AppendOnly
from cifarsite.core.leases import Leased
from cifarsite.core.webhooks import WithWebhook
from training.models.datasets import DatasetVersion
from training.models.projects import DEFAULT_PROJECT, Project, ProjectKey

if TYPE_CHECKING:
    from training.models.versions import ModelVersion


# What is noted where a run gave the file of an earlier one; the detail is that model's name.
SAME_MODEL = "same model"


class TrainingJob(WithWebhook, Leased):
    """One request to train; the database is the source of truth. Transitions: ``training.jobs.lifecycle``."""

    state_field = "state"

    class State(TextChoices):
        QUEUED = "queued", _("queued")
        RUNNING = "running", _("running")
        SUCCEEDED = "succeeded", _("succeeded")
        FAILED = "failed", _("failed")
        CANCELLED = "cancelled", _("cancelled")
        STOPPED = "stopped", _("stopped, best epoch kept")

    project = ProjectKey(
        Project,
        on_delete=models.PROTECT,
        related_name="jobs",
        verbose_name=_("project"),
    )
    recipe = models.CharField(_("recipe"), max_length=50)
    parameters = models.JSONField(_("parameters"), default=dict)
    dataset = models.ForeignKey(
        DatasetVersion, on_delete=models.PROTECT, null=True, related_name="jobs", verbose_name=_("dataset")
    )
    state = models.CharField(_("state"), max_length=10, choices=State.choices, default=State.QUEUED)
    requested_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.SET_NULL,
        null=True,
        blank=True,
        related_name="training_jobs",
        verbose_name=_("requested by"),
    )
    request_key = models.CharField(_("request key"), max_length=64, unique=True, null=True, editable=False)
    created_at = models.DateTimeField(_("created at"), auto_now_add=True)
    started_at = models.DateTimeField(_("started at"), null=True, editable=False)
    finished_at = models.DateTimeField(_("finished at"), null=True, editable=False)
    cancel_requested = models.BooleanField(_("cancel requested"), default=False, editable=False)
    stop_requested = models.BooleanField(_("stop requested"), default=False, editable=False)
    step = models.PositiveIntegerField(_("step in the epoch"), default=0, editable=False)
    steps = models.PositiveIntegerField(_("steps an epoch"), default=0, editable=False)
    # What the run last said of itself: images a second, processor, memory, lines of its log.
    live = models.JSONField(_("live"), default=dict, blank=True, editable=False)
    error_code = models.CharField(_("error code"), max_length=50, blank=True, editable=False)
    error_detail = models.TextField(_("error"), blank=True, editable=False)
    traceback = models.TextField(_("traceback"), blank=True, editable=False)

    class Meta:
        ordering = ["-id"]
        indexes = [
            models.Index(fields=["state", "id"], name="trainingjob_state"),
            models.Index(
                fields=["webhook_next_at"],
                condition=Q(webhook_state="waiting") & ~Q(webhook_url=""),
                name="trainingjob_webhook",
            ),
        ]
        verbose_name = _("training job")
        verbose_name_plural = _("training jobs")

    def __str__(self) -> str:
        return f"#{self.pk} {self.recipe}"

    def get_absolute_url(self) -> str:
        return reverse("training:job", args=[self.pk])

    def made(self) -> QuerySet[ModelVersion]:
        """Its models, newest first, with that of an earlier job whose file it gave again."""
        again = self.events.filter(what=SAME_MODEL).values("detail")
        return self.models.model.objects.filter(Q(job=self) | Q(name__in=again))

    @property
    def is_over(self) -> bool:
        return self.state not in (self.State.QUEUED, self.State.RUNNING)


class JobEvent(AppendOnly):
    """One step in the life of a job: who did what, and when. Append-only."""

    kept_for_good = False

    job = models.ForeignKey(
        TrainingJob, on_delete=models.CASCADE, related_name="events", verbose_name=_("training job")
    )
    what = models.CharField(_("what"), max_length=30)
    detail = models.TextField(_("detail"), blank=True)
    by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.SET_NULL,
        null=True,
        blank=True,
        related_name="+",
        verbose_name=_("by"),
    )
    at = models.DateTimeField(_("at"), auto_now_add=True)

    class Meta:
        ordering = ["id"]
        verbose_name = _("event of a job")
        verbose_name_plural = _("events of jobs")

    def __str__(self) -> str:
        return f"#{self.job_id} {self.what}"


class Schedule(models.Model):
    """When a project trains by itself. See ``training.jobs.schedule``."""

    project = models.OneToOneField(
        Project,
        on_delete=models.CASCADE,
        default=DEFAULT_PROJECT,
        related_name="schedule",
        verbose_name=_("project"),
    )
    enabled = models.BooleanField(_("on"), default=False)
    every_days = models.PositiveSmallIntegerField(
        _("interval in days"), default=7, help_text=_("0: no training by interval.")
    )
    after_corrections = models.PositiveIntegerField(
        _("accepted corrections needed"), default=0, help_text=_("0: no training by number of corrections.")
    )
    recipe = models.CharField(_("recipe"), max_length=50, default="fast_cnn")
    parameters = models.JSONField(_("parameters"), default=dict, blank=True)
    auto_promote = models.BooleanField(
        _("promote automatically"),
        default=False,
        help_text=_("The new model becomes the champion if it passes the promotion gate."),
    )
    last_run_at = models.DateTimeField(_("last run"), null=True, blank=True, editable=False)
    last_job = models.ForeignKey(
        TrainingJob, on_delete=models.SET_NULL, null=True, blank=True, editable=False, related_name="+"
    )

    class Meta:
        verbose_name = _("schedule")
        verbose_name_plural = _("schedule")

    def __str__(self) -> str:
        return self.recipe


class Epoch(models.Model):
    """What one epoch of a job measured; loss in nats, accuracy from 0 to 1."""

    job = models.ForeignKey(
        TrainingJob, on_delete=models.CASCADE, related_name="epochs", verbose_name=_("training job")
    )
    number = models.PositiveIntegerField(_("epoch"))
    loss = models.FloatField(_("training loss"))
    accuracy = models.FloatField(_("training accuracy"))
    val_loss = models.FloatField(_("validation loss"))
    val_accuracy = models.FloatField(_("validation accuracy"))
    learning_rate = models.FloatField(_("learning rate"))
    seconds = models.FloatField(_("seconds"))
    images_per_second = models.FloatField(_("images a second"))

    class Meta:
        ordering = ["job", "number"]
        constraints = [models.UniqueConstraint(fields=["job", "number"], name="epoch_once_a_job")]
        verbose_name = _("epoch")
        verbose_name_plural = _("epochs")

    def __str__(self) -> str:
        return f"{self.job_id}/{self.number}"
