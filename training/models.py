"""What an admin works with: datasets, training jobs, model versions, reports, promotions."""

from __future__ import annotations

from typing import Any

import structlog
from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import models
from django.db.models import Q, TextChoices
from django.urls import reverse
from django.utils.translation import gettext_lazy as _


def current_request_id() -> str:
    """The id of the request, or of the work for one, that this thread is busy with; may be empty."""
    return str(structlog.contextvars.get_contextvars().get("request_id", ""))[:64]


class Leased(models.Model):
    """A row that one worker at a time may own; see ``training.leases``."""

    attempt = models.PositiveSmallIntegerField(_("attempt"), default=0, editable=False)
    claim = models.UUIDField(_("claim"), null=True, editable=False)
    worker = models.CharField(_("worker"), max_length=200, blank=True, editable=False)
    lease_expires_at = models.DateTimeField(_("lease expires at"), null=True, editable=False)
    # With a default of the database, so that a worker of the version before can still add rows.
    request_id = models.CharField(
        _("request id"),
        max_length=64,
        blank=True,
        default=current_request_id,
        db_default="",
        editable=False,
        help_text=_("Of the request that asked for it: log lines carry the same."),
    )

    class Meta:
        abstract = True


class AppendOnlyRows(models.QuerySet[Any]):
    """Rows of an ``AppendOnly`` table; all that can be done to them is to forget a person."""

    def update(self, **values: Any) -> int:
        if any(value is not None for value in values.values()):
            raise ValidationError(_("This record can only be added to, not changed."))
        return super().update(**values)

    def delete(self) -> Any:
        raise ValidationError(_("This record can only be added to, not deleted."))


class AppendOnly(models.Model):
    """A row that is written once: it can be neither changed nor deleted.

    The database itself refuses too, see ``training.append_only``; what names a person may become
    null there. ``kept_for_good``: not even together with what it is about.
    """

    kept_for_good = True

    objects = AppendOnlyRows.as_manager()

    class Meta:
        abstract = True

    def save(self, *args: Any, **kwargs: Any) -> None:
        if self.pk and not self._state.adding:
            raise ValidationError(_("This record can only be added to, not changed."))
        super().save(*args, **kwargs)

    def delete(self, *args: Any, **kwargs: Any) -> tuple[int, dict[str, int]]:
        raise ValidationError(_("This record can only be added to, not deleted."))


class DatasetVersion(models.Model):
    """What a model was trained on: a frozen manifest and its hash."""

    name = models.CharField(_("name"), max_length=100)
    sha256 = models.CharField(_("sha256"), max_length=64, unique=True)
    manifest = models.JSONField(_("manifest"))
    created_at = models.DateTimeField(_("created at"), auto_now_add=True)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.SET_NULL,
        null=True,
        blank=True,
        related_name="+",
        verbose_name=_("created by"),
    )

    class Meta:
        ordering = ["-created_at", "-id"]
        verbose_name = _("dataset version")
        verbose_name_plural = _("dataset versions")

    def __str__(self) -> str:
        return self.name


class DatasetImage(models.Model):
    """Which photo is in which dataset version: so that a withdrawn one marks what it is in.

    ``source`` names the photo without a foreign key: the photo may be deleted, the mark stays.
    """

    dataset = models.ForeignKey(
        DatasetVersion, on_delete=models.CASCADE, related_name="images", verbose_name=_("dataset")
    )
    source = models.UUIDField(_("photo"), db_index=True)
    withdrawn_at = models.DateTimeField(_("withdrawn at"), null=True, blank=True)

    class Meta:
        ordering = ["dataset", "id"]
        constraints = [models.UniqueConstraint(fields=["dataset", "source"], name="image_once_a_dataset")]
        verbose_name = _("image of a dataset")
        verbose_name_plural = _("images of datasets")

    def __str__(self) -> str:
        return f"{self.dataset}: {self.source}"


class TrainingJob(Leased):
    """One request to train; the row is the truth about it. Transitions: ``training.jobs``."""

    class State(TextChoices):
        QUEUED = "queued", _("queued")
        RUNNING = "running", _("running")
        SUCCEEDED = "succeeded", _("succeeded")
        FAILED = "failed", _("failed")
        CANCELLED = "cancelled", _("cancelled")
        STOPPED = "stopped", _("stopped, best epoch kept")

    class Webhook(TextChoices):
        WAITING = "waiting", _("waiting")
        DELIVERED = "delivered", _("delivered")
        FAILED = "failed", _("given up")

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
    # Whom to tell when the job is over, and how that went; see ``training.webhooks``.
    webhook_url = models.CharField(_("webhook"), max_length=500, blank=True)
    webhook_state = models.CharField(
        _("webhook's state"), max_length=10, choices=Webhook.choices, default=Webhook.WAITING, editable=False
    )
    webhook_tries = models.PositiveSmallIntegerField(_("webhook's tries"), default=0, editable=False)
    webhook_next_at = models.DateTimeField(_("webhook's next try"), null=True, editable=False)
    webhook_said = models.CharField(_("webhook's answer"), max_length=500, blank=True, editable=False)

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
    """When the site trains by itself; one row. See ``training.schedule``."""

    enabled = models.BooleanField(_("on"), default=False)
    every_days = models.PositiveSmallIntegerField(
        _("every so many days"), default=7, help_text=_("0: not by the calendar.")
    )
    after_corrections = models.PositiveIntegerField(
        _("after so many accepted corrections"), default=0, help_text=_("0: not by their number.")
    )
    recipe = models.CharField(_("recipe"), max_length=50, default="fast_cnn")
    parameters = models.JSONField(_("parameters"), default=dict, blank=True)
    auto_promote = models.BooleanField(
        _("promote by itself"),
        default=False,
        help_text=_("The new model goes live if the gate lets it through."),
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


class ModelVersion(models.Model):
    """A trained model: an immutable file named by its sha256, and its card."""

    name = models.CharField(_("name"), max_length=100, unique=True)
    recipe = models.CharField(_("recipe"), max_length=50)
    sha256 = models.CharField(_("sha256 of the file"), max_length=64, unique=True)
    size = models.PositiveBigIntegerField(_("file size in bytes"))
    preprocessing = models.CharField(_("preprocessing"), max_length=50)
    job = models.ForeignKey(
        TrainingJob,
        on_delete=models.SET_NULL,
        null=True,
        blank=True,
        related_name="models",
        verbose_name=_("training job"),
    )
    dataset = models.ForeignKey(
        DatasetVersion,
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="models",
        verbose_name=_("dataset"),
    )
    card = models.JSONField(_("card"))
    val_accuracy = models.FloatField(_("validation accuracy"), null=True)
    test_accuracy = models.FloatField(_("test accuracy"), null=True)
    notes = models.TextField(_("notes"), blank=True)
    # The last time it was loaded and tried beside a champion; see ``training.trial``.
    trial = models.JSONField(_("trial"), default=dict, blank=True, editable=False)
    is_champion = models.BooleanField(_("champion"), default=False, editable=False)
    created_at = models.DateTimeField(_("created at"), auto_now_add=True)

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint(
                fields=["is_champion"], condition=Q(is_champion=True), name="exactly_one_champion"
            )
        ]
        verbose_name = _("model version")
        verbose_name_plural = _("model versions")

    def __str__(self) -> str:
        return self.name

    def get_absolute_url(self) -> str:
        return reverse("training:model", args=[self.pk])


class NeighbourIndex(Leased):
    """The training images of one model, ready to find the nearest; see ``training.neighbours``."""

    class Status(TextChoices):
        QUEUED = "queued", _("waiting")
        RUNNING = "running", _("being collected")
        DONE = "done", _("done")
        FAILED = "failed", _("failed")

    model = models.OneToOneField(
        ModelVersion,
        on_delete=models.CASCADE,
        related_name="neighbour_index",
        verbose_name=_("model version"),
    )
    status = models.CharField(_("status"), max_length=8, choices=Status.choices, default=Status.QUEUED)
    done = models.PositiveIntegerField(_("images done"), default=0)
    total = models.PositiveIntegerField(_("images"), default=0)
    file = models.CharField(_("file"), max_length=200, blank=True)
    error_detail = models.TextField(_("error"), blank=True)
    created_at = models.DateTimeField(_("asked for at"), auto_now_add=True)
    finished_at = models.DateTimeField(_("finished at"), null=True, editable=False)

    class Meta:
        ordering = ["-id"]
        verbose_name = _("index of training images")
        verbose_name_plural = _("indexes of training images")

    def __str__(self) -> str:
        return f"{self.model}: {self.status}"


class EvaluationReport(models.Model):
    """How one model did on one set of images, computed once by a worker."""

    model = models.ForeignKey(
        ModelVersion, on_delete=models.CASCADE, related_name="reports", verbose_name=_("model version")
    )
    dataset = models.CharField(_("evaluated on"), max_length=100)
    dataset_sha256 = models.CharField(_("sha256 of the images"), max_length=64)
    n = models.PositiveIntegerField(_("images"))
    accuracy = models.FloatField(_("accuracy"))
    figures = models.JSONField(_("figures"))
    created_at = models.DateTimeField(_("created at"), auto_now_add=True)

    class Meta:
        ordering = ["-id"]
        constraints = [models.UniqueConstraint(fields=["model", "dataset_sha256"], name="one_report_a_set")]
        verbose_name = _("evaluation report")
        verbose_name_plural = _("evaluation reports")

    def __str__(self) -> str:
        return f"{self.model} on {self.dataset}"


class EvaluationSet(models.Model):
    """Labelled images that staff added to measure models on; frozen. See ``training.evaluation_sets``.

    ``manifest``: for each image its file's name, label, width, height and sha256, in order.
    """

    name = models.CharField(_("name"), max_length=100, unique=True)
    sha256 = models.CharField(_("sha256 of the images"), max_length=64, unique=True)
    n = models.PositiveIntegerField(_("images"))
    manifest = models.JSONField(_("manifest"))
    created_at = models.DateTimeField(_("created at"), auto_now_add=True)

    class Meta:
        ordering = ["name"]
        verbose_name = _("evaluation set")
        verbose_name_plural = _("evaluation sets")

    def __str__(self) -> str:
        return self.name


class Promotion(AppendOnly):
    """The ledger of what was live when. Append-only."""

    class Action(models.TextChoices):
        INSTALL = "install", _("install")
        PROMOTE = "promote", _("promote")
        ROLLBACK = "rollback", _("roll back")

    action = models.CharField(_("action"), max_length=10, choices=Action.choices)
    previous = models.ForeignKey(
        ModelVersion, on_delete=models.PROTECT, null=True, related_name="+", verbose_name=_("from")
    )
    promoted = models.ForeignKey(
        ModelVersion, on_delete=models.PROTECT, related_name="promotions", verbose_name=_("to")
    )
    report = models.ForeignKey(
        EvaluationReport, on_delete=models.PROTECT, null=True, related_name="+", verbose_name=_("report")
    )
    # Of the report as it was then: a later evaluation replaces its figures.
    report_sha256 = models.CharField(_("sha256 of the report"), max_length=64, blank=True)
    by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.SET_NULL,
        null=True,
        related_name="+",
        verbose_name=_("by"),
    )
    reason = models.TextField(_("reason"))
    overridden = models.BooleanField(_("gate overridden"), default=False)
    gate = models.JSONField(_("what the gate found"), default=dict)
    created_at = models.DateTimeField(_("at"), auto_now_add=True)

    class Meta:
        ordering = ["-id"]
        verbose_name = _("promotion")
        verbose_name_plural = _("promotions")

    def __str__(self) -> str:
        return f"{self.get_action_display()}: {self.promoted}"


class Refusal(AppendOnly):
    """A promotion that the gate, or the trial before it, did not let through. Append-only."""

    kept_for_good = False

    model = models.ForeignKey(
        ModelVersion, on_delete=models.CASCADE, related_name="refusals", verbose_name=_("model version")
    )
    by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.SET_NULL,
        null=True,
        related_name="+",
        verbose_name=_("by"),
    )
    reason = models.TextField(_("reason"), help_text=_("Why somebody wanted it."))
    detail = models.TextField(_("refused because"))
    gate = models.JSONField(_("what the gate found"), default=dict)
    created_at = models.DateTimeField(_("at"), auto_now_add=True)

    class Meta:
        ordering = ["-id"]
        verbose_name = _("refused promotion")
        verbose_name_plural = _("refused promotions")

    def __str__(self) -> str:
        return f"{self.model}: {self.detail}"


class Worker(models.Model):
    """A worker process that was seen alive."""

    name = models.CharField(_("name"), max_length=200, primary_key=True)
    queues = models.JSONField(_("queues"), default=list)
    started_at = models.DateTimeField(_("started at"))
    seen_at = models.DateTimeField(_("last seen at"), db_index=True)
    problem = models.TextField(
        _("problem"), blank=True, default="", help_text=_("What it cannot do, such as load the model.")
    )

    class Meta:
        ordering = ["name"]
        verbose_name = _("worker")
        verbose_name_plural = _("workers")

    def __str__(self) -> str:
        return self.name
