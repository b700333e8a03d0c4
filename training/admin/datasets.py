"""The admin's tables of what models were trained on: frozen, so nothing changes here."""

from __future__ import annotations

from django.contrib import admin
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from training.admin.base import (
    Internal,
    LargeTableAdmin,
    ReadOnly,
    badge,
    coloured,
    linked,
    listed,
    shortened,
)
from training.data import project_versions
from training.models import Cifar10Fetch, DatasetImage, DatasetVersion, EmbeddingIndex, MeasuredPhoto


@admin.register(DatasetVersion)
class DatasetVersionAdmin(ReadOnly, LargeTableAdmin):
    list_display = ("name", "project", "digest", "created_at", "creator", "jobs_link", "models_link")
    list_filter = ("project", "created_at")
    list_select_related = ("created_by", "project")
    digest_field = "sha256"
    search_fields = ("name__startswith",)
    search_help_text = gettext_lazy("A name's beginning, or a whole sha256.")
    fields = (
        "project",
        "name",
        "sha256",
        "contents",
        "created_at",
        "created_by",
        "images_link",
        "jobs_link",
        "models_link",
    )
    readonly_fields = ("contents", "images_link", "jobs_link", "models_link")
    deferred = ("manifest",)

    digest = shortened("sha256", gettext_lazy("sha256"))
    creator = linked("created_by", gettext_lazy("created by"))

    @admin.display(description=gettext_lazy("contents"))
    def contents(self, dataset: DatasetVersion) -> str:
        if project_versions.is_own(dataset):
            classes, images = (len(dataset.manifest[part]) for part in ("classes", "images"))
            return _("%(images)s images of %(classes)s classes") % {"images": images, "classes": classes}
        added = len(dataset.manifest.get("added", ()))
        return _("CIFAR-10 and %(count)s corrected photos") % {"count": added} if added else "CIFAR-10"

    jobs_link = listed("training_trainingjob", gettext_lazy("training jobs"), "dataset__id__exact")
    models_link = listed("training_modelversion", gettext_lazy("model versions"), "dataset__id__exact")
    images_link = listed("training_datasetimage", gettext_lazy("images"), "dataset__id__exact")


@admin.register(DatasetImage)
class DatasetImageAdmin(ReadOnly, LargeTableAdmin):
    list_display = ("id", "source", "of_dataset", "withdrawn")
    list_filter = (("withdrawn_at", admin.EmptyFieldListFilter),)
    list_select_related = ("dataset",)
    ordering = ("-id",)
    number_field = "dataset"
    uuid_field = "source"
    search_fields = ("dataset__name__startswith",)
    search_help_text = gettext_lazy("A photo's id, a dataset's number, or the beginning of its name.")
    deferred = ("dataset__manifest",)

    of_dataset = linked("dataset", gettext_lazy("dataset"))

    @admin.display(description=gettext_lazy("state"), ordering="withdrawn_at")
    def withdrawn(self, image: DatasetImage) -> SafeString | str:
        return badge("withdrawn", _("withdrawn")) if image.withdrawn_at else ""


@admin.register(MeasuredPhoto)
class MeasuredPhotoAdmin(Internal):
    list_display = ("id", "of_report", "row", "source")
    list_select_related = ("report__model", "image")
    ordering = ("-id",)
    number_field = "report"
    uuid_field = "image__source"
    search_fields = ("report__dataset__startswith",)
    search_help_text = gettext_lazy("A photo's id, a report's number, or the beginning of its set's name.")
    deferred = ("report__figures", "report__model__card")

    of_report = linked("report", gettext_lazy("report"))

    @admin.display(description=gettext_lazy("photo"))
    def source(self, photo: MeasuredPhoto) -> str:
        return str(photo.image.source)


@admin.register(EmbeddingIndex)
class EmbeddingIndexAdmin(Internal):
    """Where the nearest training images of each model are looked for."""

    list_display = ("id", "of_model", "state", "done", "total", "attempt", "created_at", "finished_at")
    list_filter = ("status",)
    list_select_related = ("model",)
    ordering = ("-id",)
    fields = (
        *("model", "status", "done", "total", "file", "error_detail"),
        *("attempt", "worker", "created_at", "finished_at"),
    )
    deferred = ("model__card",)

    of_model = linked("model", gettext_lazy("model version"))
    state = coloured("status", gettext_lazy("status"), ordering="status")


@admin.register(Cifar10Fetch)
class Cifar10FetchAdmin(ReadOnly, LargeTableAdmin):
    list_display = ("id", "state", "person", "received", "total", "created_at")
    list_filter = ("status", "created_at")
    list_select_related = ("requested_by",)
    search_fields = ("requested_by__username__exact",)
    search_help_text = gettext_lazy("A whole user name.")
    fields = (
        *("status", "requested_by", "received", "total", "error_code", "error_detail"),
        *("attempt", "worker", "created_at", "finished_at"),
    )

    state = coloured("status", gettext_lazy("status"), ordering="status")
    person = linked("requested_by", gettext_lazy("requested by"))
