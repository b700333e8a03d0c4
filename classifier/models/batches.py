"""Tables of archives and their items."""

from __future__ import annotations

import uuid

from django.db import models
from django.db.models import Q
from django.urls import reverse
from django.utils.translation import gettext_lazy as _

from cifarsite.core.leases import Leased
from cifarsite.core.webhooks import WithWebhook
from classifier.models.accounts import User
from classifier.models.labels import LabelField
from classifier.models.photos import Photo
from training.models import Project, ProjectKey


def archive_path(batch: Batch, filename: str) -> str:
    return f"batches/{batch.pk}/archive.zip"


class Batch(WithWebhook):
    """An archive of photos; workers take its items one by one. See ``batches``."""

    class State(models.TextChoices):
        RUNNING = "running", _("running")
        PAUSED = "paused", _("paused")
        CANCELLED = "cancelled", _("cancelled")
        DONE = "done", _("done")

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    owner = models.ForeignKey(User, on_delete=models.CASCADE, related_name="batches", verbose_name=_("owner"))
    project = ProjectKey(
        Project,
        on_delete=models.PROTECT,
        related_name="batches",
        verbose_name=_("project"),
    )
    filename = models.CharField(_("file name"), max_length=255)
    archive = models.FileField(_("archive"), upload_to=archive_path, max_length=200, blank=True)
    sha256 = models.CharField(_("sha256 of the archive"), max_length=64)
    size = models.PositiveBigIntegerField(_("size in bytes"))
    same_as = models.ForeignKey(
        "self",
        on_delete=models.SET_NULL,
        null=True,
        blank=True,
        related_name="+",
        verbose_name=_("earlier batch of the same archive"),
    )
    state = models.CharField(_("state"), max_length=9, choices=State.choices, default=State.RUNNING)
    # Since when it is paused: not for ever, see ``KEEP_PAUSED_DAYS``.
    paused_at = models.DateTimeField(_("paused at"), null=True, editable=False)
    # Counts of a batch that is over, so that a list of batches need not count; null before.
    totals = models.JSONField(_("counts"), null=True, editable=False)
    # Of the table of true labels: its lines, those matched, the first that was not, and whether the names
    # of folders count instead; null: there was none.
    truth = models.JSONField(_("table of true labels"), null=True, editable=False)
    created_at = models.DateTimeField(_("uploaded at"), auto_now_add=True)
    finished_at = models.DateTimeField(_("finished at"), null=True, editable=False)

    class Meta:
        ordering = ["-created_at", "-id"]
        indexes = [
            models.Index(fields=["owner", "-created_at", "-id"], name="batch_history"),
            models.Index(fields=["-created_at", "-id"], name="batch_newest"),  # the admin's list
            models.Index(fields=["owner", "sha256"], name="batch_same_archive"),
            models.Index(fields=["created_at"], condition=Q(state="running"), name="batch_open"),
            models.Index(
                fields=["webhook_next_at"],
                condition=Q(webhook_state="waiting") & ~Q(webhook_url=""),
                name="batch_webhook",
            ),
        ]
        verbose_name = _("batch")
        verbose_name_plural = _("batches")

    def __str__(self) -> str:
        return self.filename

    def get_absolute_url(self) -> str:
        return reverse("classifier:batch", args=[self.pk])

    @property
    def is_over(self) -> bool:
        return self.state not in (self.State.RUNNING, self.State.PAUSED)


class BatchItem(Leased):
    """One entry of a batch's archive: waiting, stored as a photo, or refused with a reason."""

    class Status(models.TextChoices):
        QUEUED = "queued", _("waiting")
        RUNNING = "running", _("being read")
        STORED = "stored", _("stored")
        REFUSED = "refused", _("refused")
        CANCELLED = "cancelled", _("cancelled")

    batch = models.ForeignKey(Batch, on_delete=models.CASCADE, related_name="items", verbose_name=_("batch"))
    # The entry's place in the archive: names may occur twice.
    number = models.PositiveIntegerField(_("number"))
    name = models.CharField(_("name in the archive"), max_length=1_000)
    truth = LabelField(_("ground-truth label"), blank=True)
    status = models.CharField(_("status"), max_length=9, choices=Status.choices, default=Status.QUEUED)
    size = models.PositiveBigIntegerField(_("unpacked bytes"), default=0)
    photo = models.OneToOneField(
        Photo,
        on_delete=models.SET_NULL,
        null=True,
        blank=True,
        related_name="batch_item",
        verbose_name=_("photo"),
    )
    error_code = models.CharField(_("error code"), max_length=50, blank=True)
    error_detail = models.TextField(_("error"), blank=True)

    class Meta:
        ordering = ["batch", "number"]
        constraints = [
            models.UniqueConstraint(fields=["batch", "number"], name="one_item_an_entry"),
        ]
        indexes = [
            models.Index(fields=["id"], condition=Q(status__in=["queued", "running"]), name="batchitem_open"),
        ]
        verbose_name = _("batch item")
        verbose_name_plural = _("batch items")

    def __str__(self) -> str:
        return self.name


class ArchiveUpload(models.Model):
    """An archive that comes in pieces, resumable; see ``classifier.uploads.chunked``."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    owner = models.ForeignKey(User, on_delete=models.CASCADE, related_name="+", verbose_name=_("owner"))
    project = ProjectKey(
        Project,
        on_delete=models.CASCADE,
        related_name="+",
        verbose_name=_("project"),
    )
    filename = models.CharField(_("file name"), max_length=255)
    size = models.PositiveBigIntegerField(_("size in bytes"))
    # Says that it is the same file again: the browser makes it of the file's ends.
    fingerprint = models.CharField(_("fingerprint"), max_length=100)
    received = models.PositiveBigIntegerField(_("bytes received"), default=0)
    batch = models.ForeignKey(
        Batch, on_delete=models.SET_NULL, null=True, blank=True, related_name="+", verbose_name=_("batch")
    )
    changed_at = models.DateTimeField(_("changed at"), auto_now=True, db_index=True)

    class Meta:
        ordering = ["changed_at"]
        verbose_name = _("upload of an archive")
        verbose_name_plural = _("uploads of archives")

    def __str__(self) -> str:
        return self.filename


def part_path(part: ArchivePart, filename: str) -> str:
    return f"uploads/{part.upload_id}-{part.offset:015}-{uuid.uuid4().hex[:8]}"


class ArchivePart(models.Model):
    """Some bytes of an archive that comes in pieces."""

    upload = models.ForeignKey(
        ArchiveUpload, on_delete=models.CASCADE, related_name="parts", verbose_name=_("upload")
    )
    offset = models.PositiveBigIntegerField(_("offset in bytes"))
    file = models.FileField(_("file"), upload_to=part_path, max_length=200)

    class Meta:
        ordering = ["upload", "offset"]
        constraints = [models.UniqueConstraint(fields=["upload", "offset"], name="one_part_an_offset")]
        verbose_name = _("part of an archive")
        verbose_name_plural = _("parts of archives")

    def __str__(self) -> str:
        return f"{self.upload_id}: {self.offset}"
