"""The admin's tables of batches: an archive of photos and what became of each entry."""

from __future__ import annotations

from django.contrib import admin
from django.template.defaultfilters import filesizeformat
from django.utils.translation import gettext_lazy

from classifier.admin.filters import by_label
from classifier.models import ArchivePart, ArchiveUpload, Batch, BatchItem, DayCount, NameWord
from training.admin.base import Internal, LargeTableAdmin, ReadOnly, coloured, linked, listed


@admin.register(Batch)
class BatchAdmin(ReadOnly, LargeTableAdmin):
    list_display = (
        "filename",
        "owner_link",
        "project",
        "coloured_state",
        "archive_size",
        "created_at",
        "finished_at",
        "items_link",
    )
    list_filter = ("state", "project", "created_at")
    date_hierarchy = "created_at"
    list_select_related = ("owner", "project")
    number_field = ""
    uuid_field = "pk"
    digest_field = "sha256"
    search_fields = ("filename__istartswith", "owner__username__exact")
    search_help_text = gettext_lazy("The beginning of a file name, a whole user name, an id or a sha256.")
    fields = (
        "filename",
        "owner",
        "project",
        "coloured_state",
        "archive_size",
        "sha256",
        "same_as",
        "created_at",
        "finished_at",
        "items_link",
    )
    readonly_fields = ("coloured_state", "archive_size", "items_link")

    owner_link = linked("owner", gettext_lazy("owner"))
    coloured_state = coloured("state", gettext_lazy("state"), ordering="state")

    @admin.display(description=gettext_lazy("size"), ordering="size")
    def archive_size(self, batch: Batch) -> str:
        return filesizeformat(batch.size)

    items_link = listed("classifier_batchitem", gettext_lazy("entries"), "batch__id__exact")


@admin.register(BatchItem)
class BatchItemAdmin(ReadOnly, LargeTableAdmin):
    list_display = (
        "id",
        "batch_link",
        "number",
        "name",
        "coloured_status",
        "truth",
        "photo_link",
        "error_code",
    )
    list_filter = ("status", by_label("truth", gettext_lazy("ground-truth label")))
    list_select_related = ("batch", "photo")
    ordering = ("-id",)
    uuid_field = "batch"
    search_fields = ("batch__owner__username__exact", "error_code__exact")
    search_help_text = gettext_lazy("A number, a batch's id, a whole user name, or an error code.")

    batch_link = linked("batch", gettext_lazy("batch"))
    coloured_status = coloured("status", gettext_lazy("status"), ordering="status")
    photo_link = linked("photo", gettext_lazy("photo"))


@admin.register(ArchiveUpload)
class ArchiveUploadAdmin(Internal):
    """Archives that come in pieces; what nobody goes on with is swept away after a day."""

    list_display = ("filename", "owner_link", "project", "received", "size", "batch_link", "changed_at")
    list_select_related = ("owner", "batch", "project")
    ordering = ("-changed_at",)
    number_field = ""
    uuid_field = "pk"
    search_fields = ("owner__username__exact",)
    search_help_text = gettext_lazy("An id, or a whole user name.")

    owner_link = linked("owner", gettext_lazy("owner"))
    batch_link = linked("batch", gettext_lazy("batch"))


@admin.register(ArchivePart)
class ArchivePartAdmin(Internal):
    list_display = ("id", "upload", "offset")
    list_select_related = ("upload",)
    ordering = ("-id",)
    uuid_field = "upload"
    search_fields = ("upload__owner__username__exact",)
    search_help_text = gettext_lazy("A number, an upload's id, or a whole user name.")
    fields = ("upload", "offset")


@admin.register(DayCount)
class DayCountAdmin(Internal):
    """Photos of a person by day: kept, so that pages need not count them."""

    list_display = ("day", "owner_link", "project", "photos", "changes", "counted")
    list_select_related = ("owner", "project")
    ordering = ("-id",)
    search_fields = ("owner__username__exact",)
    search_help_text = gettext_lazy("A whole user name.")

    owner_link = linked("owner", gettext_lazy("owner"))


@admin.register(NameWord)
class NameWordAdmin(Internal):
    """Words of file names: an index, so that names are found."""

    list_display = ("id", "word", "photo_link")
    list_select_related = ("photo",)
    ordering = ("-id",)
    uuid_field = "photo"
    search_fields = ("owner__username__exact",)
    search_help_text = gettext_lazy("A number, a photo's id, or a whole user name.")

    photo_link = linked("photo", gettext_lazy("photo"))
