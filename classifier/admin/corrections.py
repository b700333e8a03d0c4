"""The admin's tables of what people say is in a photo; reviewing has a page of its own."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from classifier.admin.filters import LABEL, by_label
from classifier.admin.staff_access import OnlySeen, thumbnail
from classifier.models import Consent, Correction, DriftAlert, DriftDay, Example
from training.admin.base import (
    Internal,
    LargeTableAdmin,
    ReadOnly,
    badge,
    coloured,
    linked,
    percentage,
    shortened,
)


class OfPhoto(OnlySeen, LargeTableAdmin):
    """A row about one photo."""

    uuid_field = "photo"
    search_fields = ("photo__filename__istartswith", "photo__owner__username__exact")
    search_help_text = gettext_lazy(
        "A number, a photo's id, the beginning of a file name, or its owner's whole user name."
    )

    @admin.display(description=gettext_lazy("photo"))
    def picture(self, row: Any) -> SafeString | str:
        return thumbnail(row.photo, "thumbnail", row.may_see)

    photo_link = linked("photo", gettext_lazy("file name"))


@admin.register(Correction)
class CorrectionAdmin(ReadOnly, OfPhoto):
    list_display = (
        "id",
        "picture",
        "photo_link",
        "label",
        "predicted",
        "sure",
        "coloured_state",
        "person",
        "reviewer",
        "created_at",
    )
    list_filter = (
        "state",
        LABEL,
        by_label("predicted", gettext_lazy("model's prediction")),
        "photo__project",
        "created_at",
    )
    date_hierarchy = "created_at"
    list_select_related = ("photo", "by", "reviewed_by")

    sure = percentage("confidence", gettext_lazy("the model's confidence"), ordering="confidence")
    coloured_state = coloured("state", gettext_lazy("state"), ordering="state")
    person = linked("by", gettext_lazy("by"))
    reviewer = linked("reviewed_by", gettext_lazy("reviewed by"))


@admin.register(Example)
class ExampleAdmin(ReadOnly, OfPhoto):
    list_display = ("id", "picture", "photo_link", "label", "digest", "near_test", "reviewer", "accepted_at")
    list_filter = (LABEL, "photo__project", ("near_duplicate_of", admin.EmptyFieldListFilter), "accepted_at")
    date_hierarchy = "accepted_at"
    list_select_related = ("photo", "accepted_by")
    digest_field = "sha256"
    fields = ("photo", "label", "sha256", "near_duplicate_of", "accepted_by", "accepted_at")

    digest = shortened("sha256", gettext_lazy("sha256"))

    @admin.display(description=gettext_lazy("test images"), ordering="near_duplicate_of")
    def near_test(self, example: Example) -> SafeString | str:
        return (
            ""
            if example.near_duplicate_of is None
            else badge("refused", _("near duplicate of test image %(n)s") % {"n": example.near_duplicate_of})
        )

    reviewer = linked("accepted_by", gettext_lazy("accepted by"))


@admin.register(Consent)
class ConsentAdmin(ReadOnly, LargeTableAdmin):
    """Only the person gives it or takes it back."""

    list_display = ("id", "person", "given", "changed_at")
    list_filter = ("given", "changed_at")
    list_select_related = ("user",)
    ordering = ("-id",)
    number_field = ""
    search_fields = ("user__username__exact",)
    search_help_text = gettext_lazy("A whole user name.")

    person = linked("user", gettext_lazy("user"))


@admin.register(DriftDay)
class DriftDayAdmin(Internal):
    list_display = ("day", "project", "n", "opinions", "agreed")
    list_filter = ("project",)
    list_select_related = ("project",)
    date_hierarchy = "day"


@admin.register(DriftAlert)
class DriftAlertAdmin(ReadOnly, LargeTableAdmin):
    list_display = ("until", "project", "findings", "opened_at", "closed_at")
    list_filter = ("project",)
    list_select_related = ("project",)
