"""The admin's tables of promotions: those that were made, and those that the gate refused."""

from __future__ import annotations

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.template.defaultfilters import truncatechars
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from training.admin.base import LargeTableAdmin, ReadOnly, badge, coloured, linked
from training.models import Promotion, Refusal


@admin.register(Refusal)
class RefusalAdmin(ReadOnly, LargeTableAdmin):
    """Promotions that were refused, with all that the gate found."""

    list_display = ("created_at", "of_model", "detail", "by", "reason")
    list_filter = ("created_at",)
    list_select_related = ("model", "by")
    search_fields = ("model__name__startswith", "by__username__exact")
    search_help_text = gettext_lazy("The beginning of a model's name, or a user name.")
    fields = ("model", "by", "reason", "detail", "gate", "created_at")
    deferred = ("model__card",)

    of_model = linked("model", gettext_lazy("model version"))


@admin.register(Promotion)
class PromotionAdmin(ReadOnly, LargeTableAdmin):
    list_display = (
        "created_at",
        "of_project",
        "coloured_action",
        "to_model",
        "from_model",
        "of_report",
        "person",
        "gate_overridden",
        "why",
    )
    list_filter = ("action", "overridden", "promoted__project", "created_at")
    date_hierarchy = "created_at"
    list_select_related = ("previous", "promoted", "report__model", "by")
    search_fields = ("promoted__name__startswith", "by__username__exact")
    search_help_text = gettext_lazy("A number, the beginning of a model's name, or a user name.")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Promotion]:
        rows = super().get_queryset(request).select_related(*self.list_select_related)
        return rows.defer("previous__card", "promoted__card", "report__figures", "report__model__card")

    @admin.display(description=gettext_lazy("project"), ordering="promoted__project")
    def of_project(self, promotion: Promotion) -> str:
        return promotion.promoted.project_id

    coloured_action = coloured("action", gettext_lazy("action"), ordering="action")
    to_model = linked("promoted", gettext_lazy("to"))
    from_model = linked("previous", gettext_lazy("from"))
    of_report = linked("report", gettext_lazy("report"))
    person = linked("by", gettext_lazy("by"))

    @admin.display(description=gettext_lazy("gate"))
    def gate_overridden(self, promotion: Promotion) -> SafeString | str:
        return badge("overridden", _("overridden")) if promotion.overridden else ""

    @admin.display(description=gettext_lazy("reason"))
    def why(self, promotion: Promotion) -> str:
        return truncatechars(promotion.reason, 80)
