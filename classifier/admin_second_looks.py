"""The admin's tables of challengers in the shadow and of photos asked about again; read-only."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.translation import gettext_lazy

from classifier.models import Rerun, RerunItem, Shadow, ShadowAnswer
from training.admin_base import LargeTableAdmin, ReadOnly, link, percent


class OfModel(ReadOnly, LargeTableAdmin):
    """Work with one model version, begun by somebody."""

    list_select_related = ("model", "started_by")
    search_fields = ("model__name__startswith",)
    search_help_text = gettext_lazy("A number, or the beginning of a model's name.")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return super().get_queryset(request).defer("model__card")

    @admin.display(description=gettext_lazy("model version"))
    def of_model(self, row: Any) -> Any:
        return link(row.model)

    @admin.display(description=gettext_lazy("started by"))
    def person(self, row: Any) -> Any:
        return link(row.started_by)


@admin.register(Shadow)
class ShadowAdmin(OfModel):
    list_display = ("id", "of_model", "person", "started_at", "ended_at")
    list_filter = ("started_at",)
    fields = ("model", "started_by", "started_at", "ended_at")

    def view_on_site(self, shadow: Shadow) -> str:
        return reverse("classifier:shadow", args=[shadow.model_id])


@admin.register(ShadowAnswer)
class ShadowAnswerAdmin(ReadOnly, LargeTableAdmin):
    list_display = ("id", "shadow_id", "prediction_id", "status", "live", "said", "sure", "agrees")
    list_filter = ("agrees", "status", "live", "said")
    number_field = "shadow"
    search_fields = ("live__startswith",)
    search_help_text = gettext_lazy("A shadow's number, or a class.")
    fields = ("shadow_id", "prediction_id", "status", "live", "said", "sure", "agrees", "finished_at")
    readonly_fields = ("sure",)

    @admin.display(description=gettext_lazy("confidence"), ordering="confidence")
    def sure(self, row: ShadowAnswer) -> str:
        return percent(row.confidence)


@admin.register(Rerun)
class RerunAdmin(OfModel):
    list_display = ("id", "of_model", "person", "state", "created_at", "finished_at")
    list_filter = ("state", "created_at")
    fields = ("model", "started_by", "state", "created_at", "finished_at")

    def view_on_site(self, rerun: Rerun) -> str:
        return rerun.get_absolute_url()


@admin.register(RerunItem)
class RerunItemAdmin(ReadOnly, LargeTableAdmin):
    list_display = ("id", "rerun_id", "prediction_id", "before", "after", "changed")
    list_filter = ("changed", "before", "after")
    number_field = "rerun"
    search_fields = ("before__startswith",)
    search_help_text = gettext_lazy("A rerun's number, or a class.")
    fields = ("rerun_id", "prediction_id", "before", "after", "changed")
