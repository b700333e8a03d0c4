"""The admin's tables of batches: an archive of photos and what became of each entry."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.template.defaultfilters import filesizeformat
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from classifier.models import ArchivePart, ArchiveUpload, Batch, BatchItem, DayCount, NameWord
from training.admin_base import LargeTableAdmin, ReadOnly, badge, link, list_link


@admin.register(Batch)
class BatchAdmin(ReadOnly, LargeTableAdmin):
    list_display = (
        "filename",
        "owner_link",
        "coloured_state",
        "archive_size",
        "created_at",
        "finished_at",
        "items_link",
    )
    list_filter = ("state", "created_at")
    date_hierarchy = "created_at"
    list_select_related = ("owner",)
    number_field = ""
    uuid_field = "pk"
    digest_field = "sha256"
    search_fields = ("filename__istartswith", "owner__username__exact")
    search_help_text = gettext_lazy("The beginning of a file name, a whole user name, an id or a sha256.")
    fields = (
        "filename",
        "owner",
        "coloured_state",
        "archive_size",
        "sha256",
        "same_as",
        "created_at",
        "finished_at",
        "items_link",
    )
    readonly_fields = ("coloured_state", "archive_size", "items_link")

    @admin.display(description=gettext_lazy("owner"))
    def owner_link(self, batch: Batch) -> Any:
        return link(batch.owner)

    @admin.display(description=gettext_lazy("state"), ordering="state")
    def coloured_state(self, batch: Batch) -> SafeString:
        return badge(batch.state, batch.get_state_display())

    @admin.display(description=gettext_lazy("size"), ordering="size")
    def archive_size(self, batch: Batch) -> str:
        return filesizeformat(batch.size)

    @admin.display(description=gettext_lazy("entries"))
    def items_link(self, batch: Batch) -> SafeString:
        return list_link("classifier_batchitem", _("entries"), batch__id__exact=batch.pk)


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
    list_filter = ("status", "truth")
    list_select_related = ("batch", "photo")
    ordering = ("-id",)
    uuid_field = "batch"
    search_fields = ("batch__owner__username__exact", "error_code__exact")
    search_help_text = gettext_lazy("A number, a batch's id, a whole user name, or an error code.")

    @admin.display(description=gettext_lazy("batch"))
    def batch_link(self, item: BatchItem) -> Any:
        return link(item.batch)

    @admin.display(description=gettext_lazy("status"), ordering="status")
    def coloured_status(self, item: BatchItem) -> SafeString:
        return badge(item.status, item.get_status_display())

    @admin.display(description=gettext_lazy("photo"))
    def photo_link(self, item: BatchItem) -> Any:
        return link(item.photo)


@admin.register(ArchiveUpload)
class ArchiveUploadAdmin(ReadOnly, LargeTableAdmin):
    """Archives that come in pieces; what nobody goes on with is swept away after a day."""

    list_display = ("filename", "owner_link", "received", "size", "batch_link", "changed_at")
    list_select_related = ("owner", "batch")
    ordering = ("-changed_at",)
    number_field = ""
    uuid_field = "pk"
    search_fields = ("owner__username__exact",)
    search_help_text = gettext_lazy("An id, or a whole user name.")

    @admin.display(description=gettext_lazy("owner"))
    def owner_link(self, upload: ArchiveUpload) -> Any:
        return link(upload.owner)

    @admin.display(description=gettext_lazy("batch"))
    def batch_link(self, upload: ArchiveUpload) -> Any:
        return link(upload.batch)


@admin.register(ArchivePart)
class ArchivePartAdmin(ReadOnly, LargeTableAdmin):
    list_display = ("id", "upload", "offset")
    list_select_related = ("upload",)
    ordering = ("-id",)
    uuid_field = "upload"
    search_fields = ("upload__owner__username__exact",)
    search_help_text = gettext_lazy("A number, an upload's id, or a whole user name.")
    fields = ("upload", "offset")


@admin.register(DayCount)
class DayCountAdmin(ReadOnly, LargeTableAdmin):
    """Photos of a person by day: kept, so that pages need not count them."""

    list_display = ("day", "owner_link", "photos", "changes", "counted")
    list_select_related = ("owner",)
    ordering = ("-id",)
    search_fields = ("owner__username__exact",)
    search_help_text = gettext_lazy("A whole user name.")

    @admin.display(description=gettext_lazy("owner"))
    def owner_link(self, count: DayCount) -> Any:
        return link(count.owner)


@admin.register(NameWord)
class NameWordAdmin(ReadOnly, LargeTableAdmin):
    """Words of file names: an index, so that names are found."""

    list_display = ("id", "word", "photo_link")
    list_select_related = ("photo",)
    ordering = ("-id",)
    uuid_field = "photo"
    search_fields = ("owner__username__exact",)
    search_help_text = gettext_lazy("A number, a photo's id, or a whole user name.")

    @admin.display(description=gettext_lazy("photo"))
    def photo_link(self, word: NameWord) -> Any:
        return link(word.photo)
