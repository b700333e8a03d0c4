"""The admin's tables of photos and the answers to them; those of people: ``classifier.admin.users``."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any
from uuid import UUID

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.template.defaultfilters import filesizeformat
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from cifarsite.core.numbers import percent
from classifier.accounts.audit import record
from classifier.admin.exports import Exported, PhotoRows, PredictionRows
from classifier.admin.filters import LABEL, ModelFilter, SearchedByName
from classifier.admin.staff_access import OnlySeen, StaffAccess, thumbnail, way_to
from classifier.models import Photo, Prediction, User
from classifier.photos.history import delete_photos, restore_photos
from classifier.photos.labels import NAMES_SHOWN
from training.admin.base import (
    LargeTableAdmin,
    NoAddOrChange,
    ReadOnly,
    TabularInline,
    badge,
    coloured,
    linked,
    list_link,
    listed,
    percentage,
    shortened,
)


class AnswerColumns:
    """What a prediction says, wherever predictions are listed."""

    share = percentage("confidence", gettext_lazy("confidence"))

    @admin.display(description=gettext_lazy("verdict"))
    def coloured_verdict(self, prediction: Prediction) -> SafeString | str:
        return verdict_badge(prediction)

    coloured_status = coloured("status", gettext_lazy("status"))


class PredictionInline(AnswerColumns, ReadOnly, TabularInline):
    model = Prediction
    fields = readonly_fields = (
        "label",
        "share",
        "coloured_verdict",
        "coloured_status",
        "model",
        "created_at",
    )
    ordering = ("-id",)
    show_change_link = True

    def get_queryset(self, request: HttpRequest) -> QuerySet[Prediction]:
        return super().get_queryset(request).select_related("model").defer("model__card")


@admin.register(Photo)
class PhotoAdmin(SearchedByName, StaffAccess, Exported, NoAddOrChange, LargeTableAdmin):
    list_display = (
        "picture",
        "filename",
        "owner_link",
        "project",
        "dimensions",
        "created_at",
        "coloured_state",
        "predictions_link",
    )
    list_display_links = ("picture", "filename")
    list_filter = ("project", "created_at", ("deleted_at", admin.EmptyFieldListFilter))
    date_hierarchy = "created_at"
    list_select_related = ("owner", "project")
    number_field = ""
    uuid_field = "pk"
    digest_field = "pixel_sha256"
    search_fields = ("owner__username__exact",)  # and see SearchedByName
    search_help_text = gettext_lazy(
        "Words of a file name, a whole user name, a photo's id, or the sha256 of its pixels."
    )
    actions = ("restore_selected",)
    resource_classes = (PhotoRows,)
    inlines = (PredictionInline,)
    fields = (
        "picture_large",
        "filename",
        "owner",
        "project",
        "dimensions",
        "file_size",
        "pixel_sha256",
        "created_at",
        "deleted_at",
        "page",
        "same_pixels",
    )
    readonly_fields = ("picture_large", "dimensions", "file_size", "created_at", "page", "same_pixels")

    # Deleting here is what it is on the owner's page: the photo is hidden at once, can be
    # brought back for a while, and then the sweeper removes the rows and the files.
    def delete_model(self, request: HttpRequest, obj: Photo) -> None:
        delete_photos(obj.owner, [obj.pk])
        self.on_record(request, obj.owner, 1)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Photo]) -> None:
        for owner, ids in by_owner(queryset):
            self.on_record(request, owner, len(delete_photos(owner, ids)))

    def on_record(self, request: HttpRequest, owner: User, count: int, kind: str = "photos_deleted") -> None:
        assert isinstance(request.user, User)
        record(kind, by=request.user, detail=f"{count} of user {owner.pk}", request=request)

    def get_deleted_objects(
        self, objs: Iterable[Photo], request: HttpRequest
    ) -> tuple[list[Any], dict[str, int], set[str], list[str]]:
        if isinstance(objs, QuerySet):
            count, names = objs.count(), [photo.filename for photo in objs[:50]]
        else:
            names = [photo.filename for photo in objs]
            count = len(names)
        lacking = set() if self.has_delete_permission(request) else {str(self.opts.verbose_name)}
        return names, {str(self.opts.verbose_name_plural): count}, lacking, []

    @admin.action(description=gettext_lazy("Restore the selected photos"), permissions=["delete"])
    def restore_selected(self, request: HttpRequest, queryset: QuerySet[Photo]) -> None:
        back = 0
        for owner, ids in by_owner(queryset):
            if restored := restore_photos(owner, ids):
                self.on_record(request, owner, restored, "photos_restored")
                back += restored
        said = ngettext("%(count)s photo was restored.", "%(count)s photos were restored.", back) % {
            "count": back
        }
        self.message_user(request, said, messages.SUCCESS)

    @admin.display(description=gettext_lazy("photo"))
    def picture(self, photo: Any) -> SafeString | str:
        return thumbnail(photo, "thumbnail", photo.may_see)

    @admin.display(description=gettext_lazy("photo"))
    def picture_large(self, photo: Any) -> SafeString | str:
        return thumbnail(photo, "thumbnail thumbnail-large", photo.may_see)

    owner_link = linked("owner", gettext_lazy("owner"))

    @admin.display(description=gettext_lazy("pixels"))
    def dimensions(self, photo: Photo) -> str:
        return f"{photo.width} × {photo.height}"

    @admin.display(description=gettext_lazy("original"), ordering="size")
    def file_size(self, photo: Photo) -> str:
        return filesizeformat(photo.size)

    @admin.display(description=gettext_lazy("state"), ordering="deleted_at")
    def coloured_state(self, photo: Photo) -> SafeString | str:
        return badge("deleted", _("deleted")) if photo.deleted_at else ""

    predictions_link = listed("classifier_prediction", gettext_lazy("predictions"), "photo__id__exact")

    @admin.display(description=gettext_lazy("user's page"))
    def page(self, photo: Any) -> SafeString | str:
        return way_to(photo, photo.may_see)

    @admin.display(description=gettext_lazy("duplicate of"))
    def same_pixels(self, photo: Photo) -> SafeString:
        return list_link("classifier_photo", _("photos with the same pixels"), q=photo.pixel_sha256)


@admin.register(Prediction)
class PredictionAdmin(SearchedByName, OnlySeen, AnswerColumns, Exported, ReadOnly, LargeTableAdmin):
    list_display = (
        "id",
        "picture",
        "photo_link",
        "label",
        "share",
        "coloured_verdict",
        "coloured_status",
        "model_link",
        "owner_link",
        "project",
        "created_at",
        "seconds",
    )
    list_display_links = ("id", "label")
    list_filter = (
        "status",
        "verdict",
        LABEL,
        "project",
        "is_current",
        "priority",
        "created_at",
        ModelFilter,
    )
    date_hierarchy = "created_at"
    # By the key: the table's own order is that of one person's history.
    ordering = ("-id",)
    list_select_related = ("photo", "owner", "model", "project")
    uuid_field = "photo"
    digest_field = "input_sha256"
    search_fields = ("owner__username__exact",)  # and see SearchedByName
    photo_field = "photo"
    search_help_text = gettext_lazy(
        "A prediction's number, a photo's id, words of a file name, or a whole user name."
    )
    resource_classes = (PredictionRows,)
    fieldsets = (
        (
            None,
            {
                "fields": (
                    "picture_large",
                    "photo",
                    "owner",
                    "project",
                    "label",
                    "share",
                    "coloured_verdict",
                    "likeliest",
                )
            },
        ),
        (gettext_lazy("Made by"), {"fields": ("model", "preprocessing", "digest", "provenance", "seconds")}),
        (
            gettext_lazy("Work"),
            {
                "fields": (
                    "coloured_status",
                    "is_current",
                    "priority",
                    "created_at",
                    "finished_at",
                    "attempt",
                    "worker",
                    "lease_expires_at",
                    "error_code",
                    "error_detail",
                )
            },
        ),
    )
    readonly_fields = ("picture_large", "share", "coloured_verdict", "coloured_status", "likeliest", "digest")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Prediction]:
        rows = super().get_queryset(request).select_related(*self.list_select_related)
        return rows.defer("model__card")

    @admin.display(description=gettext_lazy("photo"))
    def picture(self, prediction: Any) -> SafeString | str:
        return thumbnail(prediction.photo, "thumbnail", prediction.may_see)

    @admin.display(description=gettext_lazy("photo"))
    def picture_large(self, prediction: Any) -> SafeString | str:
        return thumbnail(prediction.photo, "thumbnail thumbnail-large", prediction.may_see)

    photo_link = linked("photo", gettext_lazy("file name"))
    model_link = linked("model", gettext_lazy("model version"))
    owner_link = linked("owner", gettext_lazy("owner"))

    @admin.display(description=gettext_lazy("probabilities"))
    def likeliest(self, prediction: Prediction) -> str:
        rows = prediction.ranked[:NAMES_SHOWN]
        return ", ".join(f"{row.text} {percent(row.probability)}" for row in rows) or "–"

    digest = shortened("input_sha256", gettext_lazy("sha256 of the input's pixels"))


def verdict_badge(prediction: Prediction) -> SafeString | str:
    return badge(prediction.verdict, prediction.get_verdict_display()) if prediction.verdict else "–"


def by_owner(photos: QuerySet[Photo]) -> list[tuple[User, list[UUID]]]:
    """The photos' ids, one list for each owner."""
    ids: dict[int, list[UUID]] = defaultdict(list)
    for owner, pk in photos.order_by().values_list("owner_id", "pk"):
        ids[owner].append(pk)
    return [(user, ids[user.pk]) for user in User.objects.filter(pk__in=ids)]
