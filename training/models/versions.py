"""Tables of model versions, reports and promotions."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.db.models import Q, TextChoices
from django.urls import reverse
from django.utils.translation import gettext_lazy as _

from cifarsite.core.append_only import AppendOnly
from cifarsite.core.leases import Leased
from training.engine.data.cifar10 import CLASS_NAMES
from training.models.datasets import DatasetImage, DatasetVersion
from training.models.jobs import TrainingJob
from training.models.projects import Project, ProjectKey


def cifar10_classes() -> list[str]:
    return list(CLASS_NAMES)


class ModelVersion(models.Model):
    """A trained model: an immutable file named by its sha256, and its card."""

    project = ProjectKey(Project, on_delete=models.PROTECT, related_name="models", verbose_name=_("project"))
    # In the order of its outputs. The project's classes may change, the model's do not.
    classes = models.JSONField(_("classes"), default=cifar10_classes, editable=False)
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
    # The last time it was loaded and tried beside a champion; see ``training.registry.smoke_test``.
    smoke_test = models.JSONField(_("smoke test"), default=dict, blank=True, editable=False)
    is_champion = models.BooleanField(_("champion"), default=False, editable=False)
    created_at = models.DateTimeField(_("created at"), auto_now_add=True)

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint(
                fields=["project"], condition=Q(is_champion=True), name="one_champion_a_project"
            )
        ]
        verbose_name = _("model version")
        verbose_name_plural = _("model versions")

    def __str__(self) -> str:
        return self.name

    def get_absolute_url(self) -> str:
        return reverse("training:model", args=[self.pk])


class EmbeddingIndex(Leased):
    """A model's training images, to find the nearest; see ``training.registry.neighbour_index``."""

    class Status(TextChoices):
        QUEUED = "queued", _("waiting")
        RUNNING = "running", _("being built")
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
    created_at = models.DateTimeField(_("requested at"), auto_now_add=True)
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


class MeasuredPhoto(models.Model):
    """One of people's photos that a report was measured on; drawn from its own file each time, so that
    no copy of it outlives a withdrawal. Removed with the withdrawal; see ``training.data.dataset_versions``.
    """

    report = models.ForeignKey(
        EvaluationReport, on_delete=models.CASCADE, related_name="photos", verbose_name=_("report")
    )
    row = models.PositiveIntegerField(_("place in the set"))
    image = models.ForeignKey(
        DatasetImage, on_delete=models.CASCADE, related_name="measured", verbose_name=_("image of a dataset")
    )
    file = models.CharField(_("file"), max_length=200)

    class Meta:
        ordering = ["report", "row"]
        constraints = [models.UniqueConstraint(fields=["report", "row"], name="one_photo_a_row")]
        verbose_name = _("evaluation photo")
        verbose_name_plural = _("evaluation photos")

    def __str__(self) -> str:
        return f"{self.report_id}: {self.row}"


class Promotion(AppendOnly):
    """The promotion history. Append-only."""

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
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="+", verbose_name=_("by")
    )
    reason = models.TextField(_("reason"))
    overridden = models.BooleanField(_("gate overridden"), default=False)
    gate = models.JSONField(_("result of the promotion gate"), default=dict)
    created_at = models.DateTimeField(_("at"), auto_now_add=True)

    class Meta:
        ordering = ["-id"]
        verbose_name = _("promotion")
        verbose_name_plural = _("promotions")

    def __str__(self) -> str:
        return f"{self.get_action_display()}: {self.promoted}"


class Refusal(AppendOnly):
    """A promotion that the gate, or the smoke_test before it, did not let through. Append-only."""

    kept_for_good = False

    model = models.ForeignKey(
        ModelVersion, on_delete=models.CASCADE, related_name="refusals", verbose_name=_("model version")
    )
    by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="+", verbose_name=_("by")
    )
    reason = models.TextField(_("reason"), help_text=_("The reason given for the promotion."))
    detail = models.TextField(_("refused because"))
    gate = models.JSONField(_("result of the promotion gate"), default=dict)
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
        _("problem"),
        blank=True,
        default="",
        help_text=_("A task that the worker cannot do, such as loading the model."),
    )

    class Meta:
        ordering = ["name"]
        verbose_name = _("worker")
        verbose_name_plural = _("workers")

    def __str__(self) -> str:
        return self.name
