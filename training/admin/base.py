"""What the admin's tables share: bounded lists, read-only history, links and coloured states."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date
from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.contrib.admin.options import IncorrectLookupParameters
from django.core.paginator import Paginator
from django.db import DataError
from django.db.models import Model, QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.functional import cached_property
from django.utils.html import format_html
from django.utils.http import urlencode
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

from cifarsite.core.numbers import percent
from training import workers
from training.models import Worker

if TYPE_CHECKING:
    ModelAdmin = admin.ModelAdmin[Any]
    TabularInline = admin.TabularInline[Any, Any]
else:
    ModelAdmin = admin.ModelAdmin
    TabularInline = admin.TabularInline

# What a state says by its colour; the word itself is always there too.
GOOD = {"done", "stored", "succeeded", "recognised", "champion", "alive", "accepted", "active"}
BUSY = {"queued", "running", "unsure", "proposed", "stopped", "paused"}
BAD = {"failed", "silent", "rejected", "overridden", "refused", "revoked", "withdrawn", "expired", "deleted"}


class CappedPaginator(Paginator):  # type: ignore[type-arg]
    """Counts up to 5,000 rows; whoever looks for one further down narrows the list."""

    MOST = 5_000

    @cached_property
    def count(self) -> int:
        rows = self.object_list
        found = rows.order_by()[: self.MOST + 1].count() if isinstance(rows, QuerySet) else len(rows)
        self.is_capped = found > self.MOST
        return min(found, self.MOST)


class FiltersThatFit(ModelAdmin):
    """A filter in the address that no column can hold is answered as Django answers other wrong ones."""

    def get_changelist_instance(self, request: HttpRequest) -> Any:
        try:
            if name := self.date_hierarchy:
                # Django's links by date make one of these, whatever they are.
                date(*(int(request.GET.get(f"{name}__{part}") or 1) for part in ("year", "month", "day")))
            return super().get_changelist_instance(request)
        except (OverflowError, ValueError, DataError) as error:
            raise IncorrectLookupParameters from error


class LargeTableAdmin(FiltersThatFit):
    """A list that opens as fast with a million rows as with ten."""

    paginator = CappedPaginator
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    list_per_page = 50
    list_max_show_all = 50
    view_on_site: Any = False
    # A search for a whole number, uuid or sha256 asks one index instead of reading the table.
    number_field = "pk"
    uuid_field = ""
    digest_field = ""
    # Long columns that no list shows.
    deferred: tuple[str, ...] = ()

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return super().get_queryset(request).defer(*self.deferred)

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        term = search_term.strip().lstrip("#")
        if self.number_field and re.fullmatch("[0-9]{1,18}", term):
            return queryset.filter(**{self.number_field: int(term)}), False
        if self.digest_field and re.fullmatch("[0-9a-f]{64}", term):
            return queryset.filter(**{self.digest_field: term}), False
        if self.uuid_field and re.fullmatch("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", term):
            return queryset.filter(**{self.uuid_field: term}), False
        found = self.search_by_name(queryset, term) if term else None
        if found is not None:
            return found, False
        return super().get_search_results(request, queryset, search_term)

    def search_by_name(self, queryset: QuerySet[Any], term: str) -> QuerySet[Any] | None:
        """A table's own way to look for words; None: Django's, by ``search_fields``."""
        return None


class NoAddOrChange:
    """Rows come from the site's own work; the admin shows them to whoever may view them."""

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class ReadOnly(NoAddOrChange):
    """History: nobody adds, changes or deletes, whatever they are allowed elsewhere."""

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class Internal(ReadOnly, LargeTableAdmin):
    """A technical table, such as an index or a counter: for superusers, whatever others may view."""

    def has_module_permission(self, request: HttpRequest) -> bool:
        return request.user.is_superuser

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.is_superuser


def badge(value: str, text: Any) -> SafeString:
    """A state as a word with a coloured mark."""
    tone = "good" if value in GOOD else "busy" if value in BUSY else "bad" if value in BAD else "plain"
    return format_html('<span class="state state-{}">{}</span>', tone, text)


def link(obj: Model | None) -> SafeString | str:
    """A link to a row's own page in the admin."""
    if obj is None:
        return "–"
    meta = obj._meta
    url = reverse(f"admin:{meta.app_label}_{meta.model_name}_change", args=[obj.pk])
    return format_html('<a href="{}">{}</a>', url, obj)


def list_link(table: str, text: Any, **filters: Any) -> SafeString:
    """A link to a filtered list, such as ``list_link("classifier_photo", "12", owner__id__exact=1)``."""
    url = reverse(f"admin:{table}_changelist")
    return format_html('<a href="{}?{}">{}</a>', url, urlencode(filters), text)


def short(digest: str) -> SafeString:
    """The beginning of a sha256, the whole of it on hover."""
    return format_html('<code title="{}">{}…</code>', digest, digest[:12])


def worker_badge(worker: Worker) -> SafeString:
    """Was the worker seen within a lease?"""
    if workers.lives(worker):
        return badge("alive", _("running"))
    return badge("silent", _("no longer seen"))


# --- Columns of lists, by the field that they show --------------------------------------------

Column = Callable[[Any, Any], SafeString | str]


def _column(show: Callable[[Any], SafeString | str], text: Any, ordering: str = "") -> Column:
    @admin.display(description=text, ordering=ordering or None)
    def column(self: Any, row: Any) -> SafeString | str:
        return show(row)

    return column


def linked(field: str, text: Any) -> Column:
    """A link to the row that ``field`` names."""
    return _column(lambda row: link(getattr(row, field)), text)


def listed(table: str, text: Any, filtered_by: str) -> Column:
    """A link to the rows of another table that name this one; see ``list_link``."""
    return _column(lambda row: list_link(table, text, **{filtered_by: row.pk}), text)


def coloured(field: str, text: Any, ordering: str = "") -> Column:
    """A state, as a ``badge``."""
    return _column(
        lambda row: badge(getattr(row, field), getattr(row, f"get_{field}_display")()), text, ordering
    )


def percentage(field: str, text: Any, ordering: str = "") -> Column:
    return _column(lambda row: percent(getattr(row, field)), text, ordering)


def shortened(field: str, text: Any) -> Column:
    """A sha256."""
    return _column(lambda row: short(getattr(row, field)), text)
