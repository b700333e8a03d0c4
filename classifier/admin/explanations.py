"""The admin's table of explanations: who waits, what failed."""

from __future__ import annotations

from django.contrib import admin
from django.utils.translation import gettext_lazy

from classifier.models import Explanation
from training.admin.base import LargeTableAdmin, ReadOnly, coloured, linked


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
    deferred = ("maps", "nearest", "pictures")

    answer = linked("prediction", gettext_lazy("prediction"))
    state = coloured("status", gettext_lazy("status"), ordering="status")
