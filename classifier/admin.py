"""The admin's tables of photos and the answers to them; those of people: ``classifier.admin_people``."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any
from uuid import UUID

from django.contrib import admin, messages
from django.contrib.admin.options import IncorrectLookupParameters
from django.db.models import QuerySet
from django.http import HttpRequest
from django.template.defaultfilters import filesizeformat
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from classifier import (  # noqa: F401 - they register tables
    admin_batches,
    admin_corrections,
    admin_explanations,
    admin_people,
    admin_second_looks,
)
from classifier.admin_exports import Exported, PhotoRows, PredictionRows
from classifier.admin_looks import Looks, OnlySeen, thumbnail, way_to
from classifier.admin_search import SearchedByName
from classifier.audit import record
from classifier.history import delete_photos, restore_photos
from classifier.models import Photo, Prediction, User
from training.admin_base import (
    LargeTableAdmin,
    NoAddOrChange,
    ReadOnly,
    TabularInline,
    badge,
    link,
    list_link,
    percent,
    short,
)
from training.models import ModelVersion


class AnswerColumns:
    """What a prediction says, wherever predictions are listed."""

    @admin.display(description=gettext_lazy("confidence"))
    def share(self, prediction: Prediction) -> str:
        return percent(prediction.confidence)

    @admin.display(description=gettext_lazy("verdict"))
    def coloured_verdict(self, prediction: Prediction) -> SafeString | str:
        return verdict_badge(prediction)

    @admin.display(description=gettext_lazy("status"))
    def coloured_status(self, prediction: Prediction) -> SafeString:
        return badge(prediction.status, prediction.get_status_display())


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
class PhotoAdmin(SearchedByName, Looks, Exported, NoAddOrChange, LargeTableAdmin):
    list_display = (
        "picture",
        "filename",
        "owner_link",
        "dimensions",
        "created_at",
        "coloured_state",
        "predictions_link",
    )
    list_display_links = ("picture", "filename")
    list_filter = ("created_at", ("deleted_at", admin.EmptyFieldListFilter))
    date_hierarchy = "created_at"
    list_select_related = ("owner",)
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
            self.on_record(request, owner, delete_photos(owner, ids))

    def on_record(self, request: HttpRequest, owner: User, count: int) -> None:
        assert isinstance(request.user, User)
        record("photos_deleted", by=request.user, detail=f"{count} of user {owner.pk}", request=request)

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

    @admin.action(description=gettext_lazy("Bring the selected photos back"), permissions=["delete"])
    def restore_selected(self, request: HttpRequest, queryset: QuerySet[Photo]) -> None:
        back = sum(restore_photos(owner, ids) for owner, ids in by_owner(queryset))
        said = ngettext("%(count)s photo is back.", "%(count)s photos are back.", back) % {"count": back}
        self.message_user(request, said, messages.SUCCESS)

    @admin.display(description=gettext_lazy("photo"))
    def picture(self, photo: Any) -> SafeString | str:
        return thumbnail(photo, "thumbnail", photo.may_see)

    @admin.display(description=gettext_lazy("photo"))
    def picture_large(self, photo: Any) -> SafeString | str:
        return thumbnail(photo, "thumbnail thumbnail-large", photo.may_see)

    @admin.display(description=gettext_lazy("owner"))
    def owner_link(self, photo: Photo) -> Any:
        return link(photo.owner)

    @admin.display(description=gettext_lazy("pixels"))
    def dimensions(self, photo: Photo) -> str:
        return f"{photo.width} × {photo.height}"

    @admin.display(description=gettext_lazy("original"), ordering="size")
    def file_size(self, photo: Photo) -> str:
        return filesizeformat(photo.size)

    @admin.display(description=gettext_lazy("state"), ordering="deleted_at")
    def coloured_state(self, photo: Photo) -> SafeString | str:
        return badge("deleted", _("deleted")) if photo.deleted_at else ""

    @admin.display(description=gettext_lazy("predictions"))
    def predictions_link(self, photo: Photo) -> SafeString:
        return list_link("classifier_prediction", _("predictions"), photo__id__exact=photo.pk)

    @admin.display(description=gettext_lazy("the person's page"))
    def page(self, photo: Any) -> SafeString | str:
        return way_to(photo, photo.may_see)

    @admin.display(description=gettext_lazy("the same photo again"))
    def same_pixels(self, photo: Photo) -> SafeString:
        return list_link("classifier_photo", _("photos with these pixels"), q=photo.pixel_sha256)


class ModelFilter(admin.SimpleListFilter):
    """The newest models by name, without their cards."""

    title = gettext_lazy("model version")
    parameter_name = "model__id__exact"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[Any, str]]:
        return list(ModelVersion.objects.values_list("pk", "name")[:50])

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        try:
            return queryset.filter(model=int(self.value() or 0)) if self.value() else queryset
        except ValueError as error:
            raise IncorrectLookupParameters from error


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
        "created_at",
        "seconds",
    )
    list_display_links = ("id", "label")
    list_filter = (
        "status",
        "verdict",
        "label",
        "is_current",
        "priority",
        "created_at",
        ModelFilter,
    )
    date_hierarchy = "created_at"
    # By the key: the table's own order is that of one person's history.
    ordering = ("-id",)
    list_select_related = ("photo", "owner", "model")
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
            {"fields": ("picture_large", "photo", "owner", "label", "share", "coloured_verdict", "ten")},
        ),
        (gettext_lazy("Made by"), {"fields": ("model", "preprocessing", "digest", "receipt", "seconds")}),
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
    readonly_fields = ("picture_large", "share", "coloured_verdict", "coloured_status", "ten", "digest")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Prediction]:
        rows = super().get_queryset(request).select_related(*self.list_select_related)
        return rows.defer("model__card")

    @admin.display(description=gettext_lazy("photo"))
    def picture(self, prediction: Any) -> SafeString | str:
        return thumbnail(prediction.photo, "thumbnail", prediction.may_see)

    @admin.display(description=gettext_lazy("photo"))
    def picture_large(self, prediction: Any) -> SafeString | str:
        return thumbnail(prediction.photo, "thumbnail thumbnail-large", prediction.may_see)

    @admin.display(description=gettext_lazy("file name"))
    def photo_link(self, prediction: Prediction) -> Any:
        return link(prediction.photo)

    @admin.display(description=gettext_lazy("model version"))
    def model_link(self, prediction: Prediction) -> Any:
        return link(prediction.model)

    @admin.display(description=gettext_lazy("owner"))
    def owner_link(self, prediction: Prediction) -> Any:
        return link(prediction.owner)

    @admin.display(description=gettext_lazy("probabilities"))
    def ten(self, prediction: Prediction) -> str:
        return ", ".join(f"{name} {percent(p)}" for _key, name, p in prediction.ranked) or "–"

    @admin.display(description=gettext_lazy("sha256 of the input's pixels"))
    def digest(self, prediction: Prediction) -> SafeString:
        return short(prediction.input_sha256)


def verdict_badge(prediction: Prediction) -> SafeString | str:
    return badge(prediction.verdict, prediction.get_verdict_display()) if prediction.verdict else "–"


def by_owner(photos: QuerySet[Photo]) -> list[tuple[User, list[UUID]]]:
    """The photos' ids, one list for each owner."""
    ids: dict[int, list[UUID]] = defaultdict(list)
    for owner, pk in photos.order_by().values_list("owner_id", "pk"):
        ids[owner].append(pk)
    return [(user, ids[user.pk]) for user in User.objects.filter(pk__in=ids)]
