"""The admin's tables of what people say is in a photo; reviewing has a page of its own."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from classifier.admin_looks import OnlySeen, thumbnail
from classifier.models import Consent, Correction, DriftAlert, DriftDay, Example
from training.admin_base import LargeTableAdmin, ReadOnly, badge, link, percent, short


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

    @admin.display(description=gettext_lazy("file name"))
    def photo_link(self, row: Any) -> Any:
        return link(row.photo)


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
    list_filter = ("state", "label", "predicted", "created_at")
    date_hierarchy = "created_at"
    list_select_related = ("photo", "by", "reviewed_by")

    @admin.display(description=gettext_lazy("the model's confidence"), ordering="confidence")
    def sure(self, correction: Correction) -> str:
        return percent(correction.confidence)

    @admin.display(description=gettext_lazy("state"), ordering="state")
    def coloured_state(self, correction: Correction) -> SafeString:
        return badge(correction.state, correction.get_state_display())

    @admin.display(description=gettext_lazy("by"))
    def person(self, correction: Correction) -> Any:
        return link(correction.by)

    @admin.display(description=gettext_lazy("reviewed by"))
    def reviewer(self, correction: Correction) -> Any:
        return link(correction.reviewed_by)


@admin.register(Example)
class ExampleAdmin(ReadOnly, OfPhoto):
    list_display = ("id", "picture", "photo_link", "label", "digest", "near_test", "reviewer", "accepted_at")
    list_filter = ("label", ("twin", admin.EmptyFieldListFilter), "accepted_at")
    date_hierarchy = "accepted_at"
    list_select_related = ("photo", "accepted_by")
    digest_field = "sha256"
    fields = ("photo", "label", "sha256", "twin", "accepted_by", "accepted_at")

    @admin.display(description=gettext_lazy("sha256"))
    def digest(self, example: Example) -> SafeString:
        return short(example.sha256)

    @admin.display(description=gettext_lazy("test images"), ordering="twin")
    def near_test(self, example: Example) -> SafeString | str:
        return (
            "" if example.twin is None else badge("refused", _("like test image %(n)s") % {"n": example.twin})
        )

    @admin.display(description=gettext_lazy("accepted by"))
    def reviewer(self, example: Example) -> Any:
        return link(example.accepted_by)


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

    @admin.display(description=gettext_lazy("user"))
    def person(self, consent: Consent) -> Any:
        return link(consent.user)


@admin.register(DriftDay)
class DriftDayAdmin(ReadOnly, LargeTableAdmin):
    list_display = ("day", "n", "opinions", "agreed")
    date_hierarchy = "day"


@admin.register(DriftAlert)
class DriftAlertAdmin(ReadOnly, LargeTableAdmin):
    list_display = ("until", "findings", "opened_at", "closed_at")
