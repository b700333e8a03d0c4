"""Tables of projects: a set of classes with everything that depends on it."""

from __future__ import annotations

import unicodedata
import uuid
from typing import Any

from django.apps import AppConfig
from django.conf import settings
from django.core.validators import RegexValidator
from django.db import models
from django.db.models import Q
from django.urls import reverse
from django.utils.translation import gettext_lazy as _

from cifarsite.core.leases import Leased
from training.engine.data.cifar10 import CLASS_NAMES

# The project that is meant wherever none is named; it is there from the first start.
DEFAULT_PROJECT = "cifar10"
SLUG = r"^[a-z0-9][a-z0-9-]*\Z"
MOST_CLASSES = 1_000
LONGEST_CLASS_NAME = 100


class Project(models.Model):
    """Classes of one's own, their images, datasets, jobs, models and champion. See ``training.projects``."""

    slug = models.CharField(
        _("slug"),
        max_length=50,
        primary_key=True,
        validators=[RegexValidator(SLUG, _("Use lower-case letters, digits and hyphens."))],
        help_text=_("The project's name in addresses and in the API. It cannot be changed."),
    )
    name = models.CharField(_("name"), max_length=100)
    is_open = models.BooleanField(
        _("open to everybody"),
        default=True,
        help_text=_("Everybody who signs in may upload photos to it; otherwise its members and staff."),
    )
    members = models.ManyToManyField(
        settings.AUTH_USER_MODEL, blank=True, related_name="projects", verbose_name=_("members")
    )
    created_at = models.DateTimeField(_("created at"), auto_now_add=True)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.SET_NULL,
        null=True,
        blank=True,
        editable=False,
        related_name="+",
        verbose_name=_("created by"),
    )

    class Meta:
        ordering = ["created_at", "slug"]
        verbose_name = _("project")
        verbose_name_plural = _("projects")

    def __str__(self) -> str:
        return self.name

    def get_absolute_url(self) -> str:
        return reverse("training:project", args=[self.slug])


class ProjectKey(models.ForeignKey[Any, Any]):
    """The project that a row belongs to: CIFAR-10's where none is named.

    A default of the field itself would let type checkers take it for one that may be null.
    """

    def get_default(self) -> str:
        return DEFAULT_PROJECT

    def deconstruct(self) -> Any:
        name, _path, args, kwargs = super().deconstruct()
        return name, "django.db.models.ForeignKey", args, {**kwargs, "default": DEFAULT_PROJECT}


def class_key(name: str) -> str:
    """What two class names have in common that people would read as the same one."""
    return unicodedata.normalize("NFKC", name).casefold()


class ProjectClass(models.Model):
    """One class of a project. A model version keeps the names that it was trained with."""

    project = models.ForeignKey(
        Project, on_delete=models.CASCADE, related_name="classes", verbose_name=_("project")
    )
    position = models.PositiveIntegerField(_("position"))
    name = models.CharField(_("name"), max_length=LONGEST_CLASS_NAME)
    key = models.CharField(_("key"), max_length=2 * LONGEST_CLASS_NAME, editable=False)
    # Kept by ``training.projects.images``: to count 100,000 rows takes longer than all the rest of a page.
    image_count = models.PositiveIntegerField(_("images"), default=0, db_default=0, editable=False)

    class Meta:
        ordering = ["project", "position", "id"]
        constraints = [models.UniqueConstraint(fields=["project", "key"], name="class_once_a_project")]
        verbose_name = _("class")
        verbose_name_plural = _("classes")

    def __str__(self) -> str:
        return self.name

    def save(self, *args: Any, **kwargs: Any) -> None:
        self.key = class_key(self.name)
        super().save(*args, **kwargs)


def import_path(row: ProjectImport, filename: str) -> str:
    return f"imports/{row.pk}/{filename}"


class ProjectImport(Leased):
    """Labelled images on their way into a project; a worker reads the archive entry by entry."""

    state_field = "state"

    class State(models.TextChoices):
        QUEUED = "queued", _("waiting")
        RUNNING = "running", _("running")
        DONE = "done", _("done")
        FAILED = "failed", _("failed")
        CANCELLED = "cancelled", _("cancelled")

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    project = models.ForeignKey(
        Project, on_delete=models.CASCADE, related_name="imports", verbose_name=_("project")
    )
    requested_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.SET_NULL,
        null=True,
        blank=True,
        related_name="+",
        verbose_name=_("requested by"),
    )
    filename = models.CharField(_("file name"), max_length=255)
    archive = models.FileField(_("archive"), upload_to=import_path, max_length=200, blank=True)
    labels = models.FileField(_("table of labels"), upload_to=import_path, max_length=200, blank=True)
    state = models.CharField(_("state"), max_length=9, choices=State.choices, default=State.QUEUED)
    cancel_requested = models.BooleanField(_("cancel requested"), default=False, editable=False)
    # Entries of the archive that are over; a worker that takes the import over goes on there.
    cursor = models.PositiveIntegerField(_("entries done"), default=0, editable=False)
    total = models.PositiveIntegerField(_("entries"), default=0, editable=False)
    added = models.PositiveIntegerField(_("images added"), default=0, editable=False)
    duplicates = models.PositiveIntegerField(_("duplicates"), default=0, editable=False)
    failed = models.PositiveIntegerField(_("files refused"), default=0, editable=False)
    # The first of the refused files: [{"filename", "code", "detail"}].
    errors = models.JSONField(_("refused files"), default=list, editable=False)
    error_detail = models.TextField(_("error"), blank=True, editable=False)
    created_at = models.DateTimeField(_("requested at"), auto_now_add=True)
    finished_at = models.DateTimeField(_("finished at"), null=True, editable=False)

    class Meta:
        ordering = ["-created_at", "-id"]
        indexes = [
            models.Index(
                fields=["created_at"], condition=Q(state__in=["queued", "running"]), name="projectimport_open"
            ),
            models.Index(fields=["project", "-created_at"], name="projectimport_newest"),
        ]
        verbose_name = _("import of images")
        verbose_name_plural = _("imports of images")

    def __str__(self) -> str:
        return f"{self.project_id}: {self.filename}"

    @property
    def is_over(self) -> bool:
        return self.state not in (self.State.QUEUED, self.State.RUNNING)


def project_image_path(image: ProjectImage, filename: str) -> str:
    return f"projects/{image.project_id}/{image.sha256[:2]}/{image.sha256}{filename[-4:]}"


class ProjectImage(models.Model):
    """A labelled image of a project, re-encoded at up to 512 pixels."""

    class Split(models.TextChoices):
        TRAINING = "training", _("training")
        VALIDATION = "validation", _("validation")
        TEST = "test", _("test")

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    project = models.ForeignKey(
        Project, on_delete=models.CASCADE, related_name="images", verbose_name=_("project")
    )
    label = models.ForeignKey(
        ProjectClass, on_delete=models.PROTECT, related_name="images", verbose_name=_("class")
    )
    filename = models.CharField(_("file name"), max_length=255)
    file = models.FileField(_("file"), upload_to=project_image_path, max_length=200)
    sha256 = models.CharField(_("sha256 of the pixels"), max_length=64)
    # A perceptual hash; see ``training.engine.data.near_duplicates``.
    dhash = models.BigIntegerField(_("perceptual hash"))
    width = models.PositiveIntegerField(_("width in pixels"))
    height = models.PositiveIntegerField(_("height in pixels"))
    split = models.CharField(_("split"), max_length=10, choices=Split.choices)
    # The first of a group of images that look alike: all of it is in one split.
    near_duplicate_of = models.ForeignKey(
        "self",
        on_delete=models.SET_NULL,
        null=True,
        blank=True,
        related_name="near_duplicates",
        verbose_name=_("near duplicate of"),
    )
    imported_by = models.ForeignKey(
        ProjectImport, on_delete=models.SET_NULL, null=True, blank=True, related_name="images"
    )
    # A person's photo that it was made from; it goes when the photo goes or the consent is withdrawn.
    photo = models.UUIDField(_("photo"), null=True, blank=True, db_index=True, editable=False)
    created_at = models.DateTimeField(_("added at"), auto_now_add=True)

    class Meta:
        ordering = ["-created_at", "-id"]
        constraints = [models.UniqueConstraint(fields=["project", "sha256"], name="image_once_a_project")]
        indexes = [
            models.Index(fields=["project", "label", "-created_at", "-id"], name="projectimage_tiles"),
            models.Index(fields=["project", "dhash"], name="projectimage_dhash"),
            models.Index(fields=["-created_at", "-id"], name="projectimage_newest"),  # the admin's list
        ]
        verbose_name = _("image of a project")
        verbose_name_plural = _("images of projects")

    def __str__(self) -> str:
        return self.filename


class RemovedFile(models.Model):
    """A stored file, or a folder (its name ends with a slash), that is to be removed.

    Written in the transaction in which the rows go that named the file; see ``training.projects.removals``.
    """

    name = models.CharField(_("name"), max_length=200, primary_key=True)
    tries = models.PositiveIntegerField(_("failed tries"), default=0, db_default=0)
    created_at = models.DateTimeField(_("removed at"), auto_now_add=True)

    class Meta:
        ordering = ["tries", "name"]
        indexes = [models.Index(fields=["tries", "name"], name="removedfile_next")]
        verbose_name = _("file to be removed")
        verbose_name_plural = _("files to be removed")

    def __str__(self) -> str:
        return self.name


def make_default_project(sender: AppConfig, using: str, apps: Any = None, **_: Any) -> None:
    """Make the project that everything belongs to unless another is named, where it is missing."""
    if apps is None:
        from django.apps import apps
    try:
        projects = apps.get_model("training", "Project").objects.using(using)
        classes = apps.get_model("training", "ProjectClass").objects.using(using)
    except LookupError:  # an earlier state of the tables
        return
    _project, made = projects.get_or_create(slug=DEFAULT_PROJECT, defaults={"name": "CIFAR-10"})
    if made:
        rows = enumerate(CLASS_NAMES)
        classes.bulk_create(
            classes.model(project_id=DEFAULT_PROJECT, position=position, name=name, key=class_key(name))
            for position, name in rows
        )
