"""The admin's tables of what models were trained on: frozen, so nothing changes here."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from training.admin_base import LargeTableAdmin, ReadOnly, badge, link, list_link, short
from training.models import DatasetImage, DatasetVersion, NeighbourIndex


@admin.register(DatasetVersion)
class DatasetVersionAdmin(ReadOnly, LargeTableAdmin):
    list_display = ("name", "digest", "created_at", "creator", "jobs_link", "models_link")
    list_filter = ("created_at",)
    list_select_related = ("created_by",)
    digest_field = "sha256"
    search_fields = ("name__startswith",)
    search_help_text = gettext_lazy("A name's beginning, or a whole sha256.")
    fields = (
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

    def get_queryset(self, request: HttpRequest) -> QuerySet[DatasetVersion]:
        return super().get_queryset(request).defer("manifest")

    @admin.display(description=gettext_lazy("sha256"))
    def digest(self, dataset: DatasetVersion) -> SafeString:
        return short(dataset.sha256)

    @admin.display(description=gettext_lazy("created by"))
    def creator(self, dataset: DatasetVersion) -> Any:
        return link(dataset.created_by)

    @admin.display(description=gettext_lazy("contents"))
    def contents(self, dataset: DatasetVersion) -> str:
        added = len(dataset.manifest.get("added", ()))
        return _("CIFAR-10 and %(count)s corrected photos") % {"count": added} if added else "CIFAR-10"

    @admin.display(description=gettext_lazy("training jobs"))
    def jobs_link(self, dataset: DatasetVersion) -> SafeString:
        return list_link("training_trainingjob", _("training jobs"), dataset__id__exact=dataset.pk)

    @admin.display(description=gettext_lazy("model versions"))
    def models_link(self, dataset: DatasetVersion) -> SafeString:
        return list_link("training_modelversion", _("model versions"), dataset__id__exact=dataset.pk)

    @admin.display(description=gettext_lazy("images"))
    def images_link(self, dataset: DatasetVersion) -> SafeString:
        return list_link("training_datasetimage", _("images"), dataset__id__exact=dataset.pk)


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

    def get_queryset(self, request: HttpRequest) -> QuerySet[DatasetImage]:
        return super().get_queryset(request).defer("dataset__manifest")

    @admin.display(description=gettext_lazy("dataset"))
    def of_dataset(self, image: DatasetImage) -> Any:
        return link(image.dataset)

    @admin.display(description=gettext_lazy("state"), ordering="withdrawn_at")
    def withdrawn(self, image: DatasetImage) -> SafeString | str:
        return badge("withdrawn", _("withdrawn")) if image.withdrawn_at else ""


@admin.register(NeighbourIndex)
class NeighbourIndexAdmin(ReadOnly, LargeTableAdmin):
    """Where the nearest training images of each model are looked for."""

    list_display = ("id", "of_model", "state", "done", "total", "attempt", "created_at", "finished_at")
    list_filter = ("status",)
    list_select_related = ("model",)
    ordering = ("-id",)
    fields = (
        *("model", "status", "done", "total", "file", "error_detail"),
        *("attempt", "worker", "created_at", "finished_at"),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[NeighbourIndex]:
        return super().get_queryset(request).defer("model__card")

    @admin.display(description=gettext_lazy("model version"))
    def of_model(self, index: NeighbourIndex) -> Any:
        return link(index.model)

    @admin.display(description=gettext_lazy("status"), ordering="status")
    def state(self, index: NeighbourIndex) -> SafeString:
        return badge(index.status, index.get_status_display())
