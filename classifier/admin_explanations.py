"""The admin's table of explanations: who waits, what failed."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy

from classifier.models import Explanation
from training.admin_base import LargeTableAdmin, ReadOnly, badge, link


@admin.register(Explanation)
class ExplanationAdmin(ReadOnly, LargeTableAdmin):
    """Without the maps: they show what is in a person's photo."""

    list_display = ("id", "answer", "state", "neighbours", "seconds", "attempt", "created_at")
    list_filter = ("status", "neighbours", "created_at")
    list_select_related = ("prediction",)
    ordering = ("-id",)
    fields = (
        *("prediction", "status", "neighbours", "seconds", "error_detail"),
        *("attempt", "worker", "created_at", "finished_at"),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[Explanation]:
        return super().get_queryset(request).defer("maps", "nearest", "pictures")

    @admin.display(description=gettext_lazy("prediction"))
    def answer(self, explanation: Explanation) -> Any:
        return link(explanation.prediction)

    @admin.display(description=gettext_lazy("status"), ordering="status")
    def state(self, explanation: Explanation) -> SafeString:
        return badge(explanation.status, explanation.get_status_display())
