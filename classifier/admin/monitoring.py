"""The admin's tables of shadow deployments and reclassifications; read-only."""

from __future__ import annotations

from django.contrib import admin
from django.urls import reverse
from django.utils.translation import gettext_lazy

from classifier.admin.filters import by_label
from classifier.models import Reclassification, ReclassificationItem, Shadow, ShadowAnswer
from training.admin.base import Internal, LargeTableAdmin, ReadOnly, linked, percentage


class OfModel(ReadOnly, LargeTableAdmin):
    """Work with one model version, begun by somebody."""

    list_select_related = ("model", "started_by")
    search_fields = ("model__name__startswith",)
    search_help_text = gettext_lazy("A number, or the beginning of a model's name.")
    deferred = ("model__card",)

    of_model = linked("model", gettext_lazy("model version"))
    person = linked("started_by", gettext_lazy("started by"))


@admin.register(Shadow)
class ShadowAdmin(OfModel):
    list_display = ("id", "of_model", "person", "started_at", "ended_at")
    list_filter = ("started_at",)
    fields = ("model", "started_by", "started_at", "ended_at")

    def view_on_site(self, shadow: Shadow) -> str:
        return reverse("classifier:shadow", args=[shadow.model_id])


@admin.register(ShadowAnswer)
class ShadowAnswerAdmin(Internal):
    list_display = ("id", "shadow_id", "prediction_id", "status", "live", "said", "sure", "agrees")
    list_filter = (
        "agrees",
        "status",
        by_label("live", gettext_lazy("champion's class")),
        by_label("said", gettext_lazy("challenger's class")),
    )
    number_field = "shadow"
    search_fields = ("live__startswith",)
    search_help_text = gettext_lazy("A shadow deployment's number, or a class.")
    fields = ("shadow_id", "prediction_id", "status", "live", "said", "sure", "agrees", "finished_at")
    readonly_fields = ("sure",)

    sure = percentage("confidence", gettext_lazy("confidence"), ordering="confidence")


@admin.register(Reclassification)
class ReclassificationAdmin(OfModel):
    list_display = ("id", "of_model", "person", "state", "created_at", "finished_at")
    list_filter = ("state", "created_at")
    fields = ("model", "started_by", "state", "created_at", "finished_at")

    def view_on_site(self, run: Reclassification) -> str:
        return run.get_absolute_url()


@admin.register(ReclassificationItem)
class ReclassificationItemAdmin(Internal):
    list_display = ("id", "reclassification_id", "prediction_id", "before", "after", "changed")
    list_filter = (
        "changed",
        by_label("before", gettext_lazy("before")),
        by_label("after", gettext_lazy("after")),
    )
    number_field = "reclassification"
    search_fields = ("before__startswith",)
    search_help_text = gettext_lazy("A reclassification's number, or a class.")
    fields = ("reclassification_id", "prediction_id", "before", "after", "changed")
