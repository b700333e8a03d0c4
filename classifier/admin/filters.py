"""Filters and searches of the admin's lists that read no large table."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.contrib.admin.options import IncorrectLookupParameters
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy

from classifier.models import NOT_SURE, UNKNOWN, User, class_title
from classifier.photos.search import photos_named
from training.models import ModelVersion, ProjectClass

CLASSES_SHOWN = 100


def by_label(field: str, title: Any) -> type[admin.SimpleListFilter]:
    """A filter by a column with labels: the first classes of the projects, and what stands beside classes."""

    class LabelFilter(admin.SimpleListFilter):
        parameter_name = field

        def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
            rows = ProjectClass.objects.order_by("project__created_at", "project_id", "position", "id")
            names = dict.fromkeys(rows.values_list("name", flat=True)[:CLASSES_SHOWN])
            chosen = dict.fromkeys(filter(None, [self.value()]))  # one that is not among the first
            return [(name, class_title(name)) for name in dict.fromkeys([*names, UNKNOWN, NOT_SURE, *chosen])]

        def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
            return queryset.filter(**{field: self.value()}) if self.value() else queryset

    LabelFilter.title = title
    return LabelFilter


LABEL = by_label("label", gettext_lazy("label"))


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


class SearchedByName:
    """File names are found by their words' index, a whole user name by itself; no table is read."""

    photo_field = "pk"

    def search_by_name(self, queryset: QuerySet[Any], term: str) -> QuerySet[Any]:
        if User.objects.filter(username=term).exists():
            return queryset.filter(owner__username=term)
        return queryset.filter(**{f"{self.photo_field}__in": photos_named(term)})
