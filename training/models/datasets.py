"""Tables of dataset versions and evaluation sets."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.utils.translation import gettext_lazy as _

from cifarsite.core.leases import Leased
from training.models.projects import Project, ProjectKey


class DatasetVersion(models.Model):
    """What a model was trained on: a frozen manifest and its hash."""

    project = ProjectKey(
        Project,
        on_delete=models.PROTECT,
        related_name="datasets",
        verbose_name=_("project"),
    )
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


class EvaluationSet(models.Model):
    """Labelled images that staff added to measure models on; frozen. See ``training.data.evaluation_sets``.

    ``manifest``: for each image its file's name, label, width, height and perceptual hash, in order.
    """

    project = ProjectKey(
        Project,
        on_delete=models.PROTECT,
        related_name="evaluation_sets",
        verbose_name=_("project"),
    )
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


class Cifar10Fetch(Leased):
    """CIFAR-10's archive on its way to this site; see ``training.jobs.cifar10_fetch``."""

    class Status(models.TextChoices):
        QUEUED = "queued", _("waiting")
        RUNNING = "running", _("running")
        DONE = "done", _("done")
        FAILED = "failed", _("failed")
        CANCELLED = "cancelled", _("cancelled")

    requested_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.SET_NULL,
        null=True,
        blank=True,
        related_name="+",
        verbose_name=_("requested by"),
    )
    status = models.CharField(_("status"), max_length=9, choices=Status.choices, default=Status.QUEUED)
    received = models.PositiveBigIntegerField(_("bytes received"), default=0, editable=False)
    total = models.PositiveBigIntegerField(_("bytes"), default=0, editable=False)
    # Put in words where it is shown, see ``training.jobs.cifar10_fetch.reason``; empty: the detail is.
    error_code = models.CharField(
        _("error code"), max_length=20, blank=True, default="", db_default="", editable=False
    )
    error_detail = models.TextField(_("error"), blank=True, editable=False)
    created_at = models.DateTimeField(_("requested at"), auto_now_add=True)
    finished_at = models.DateTimeField(_("finished at"), null=True, editable=False)

    class Meta:
        ordering = ["-id"]
        verbose_name = _("download of CIFAR-10")
        verbose_name_plural = _("downloads of CIFAR-10")

    def __str__(self) -> str:
        return f"{self.created_at:%Y-%m-%d %H:%M} {self.status}"

    @property
    def is_over(self) -> bool:
        return self.status not in (self.Status.QUEUED, self.Status.RUNNING)
