"""What the admin exports of photos and predictions."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

import tablib
from django.db.models import QuerySet
from django.http import HttpRequest
from import_export.admin import ExportMixin
from import_export.fields import Field
from import_export.formats.base_formats import CSV, JSON
from import_export.forms import ExportForm
from import_export.resources import ModelResource
from import_export.widgets import Widget

from cifarsite.core.spreadsheets import safe_cell
from classifier.models import Photo, Prediction


class SpreadsheetCSV(CSV):
    """CSV in which no cell is a formula: an apostrophe makes it text."""

    def export_data(self, dataset: Any, **kwargs: Any) -> Any:
        rows = (tuple(map(safe_cell, row)) for row in dataset)
        return super().export_data(tablib.Dataset(*rows, headers=dataset.headers), **kwargs)


def _plain(value: Any) -> Any:
    """A value as it is, so that JSON keeps numbers; times are ISO 8601."""
    if isinstance(value, datetime):
        return value.isoformat()
    return str(value) if isinstance(value, UUID) else value


class Rows(ModelResource):
    """Rows for an export; files stay where they are, their paths too."""

    owner = Field("owner__username", "owner")

    @classmethod
    def widget_from_django_field(cls, f: Any, default: Any = None) -> Any:
        """``export`` needs none. Looking for one would load PostgreSQL's driver, 9 MB."""
        return lambda **_options: Widget()

    def export(self, queryset: QuerySet[Any], **kwargs: Any) -> tablib.Dataset:
        """One query for all cells: import-export's own way through each object takes many times as long."""
        columns = [field.attribute for field in self.get_export_fields()]
        rows = queryset.values_list(*columns).iterator(chunk_size=2_000)
        return tablib.Dataset(*(tuple(map(_plain, row)) for row in rows), headers=self.get_export_headers())


class PhotoRows(Rows):
    class Meta:
        model = Photo
        fields = export_order = (
            "id",
            "owner",
            "project",
            "filename",
            "width",
            "height",
            "size",
            "pixel_sha256",
            "created_at",
            "deleted_at",
        )


class PredictionRows(Rows):
    photo = Field("photo_id", "photo")
    filename = Field("photo__filename", "filename")
    model = Field("model__name", "model")
    model_sha256 = Field("model__sha256", "model_sha256")

    class Meta:
        model = Prediction
        fields = export_order = (
            "id",
            "photo",
            "filename",
            "owner",
            "project",
            "is_current",
            "status",
            "label",
            "confidence",
            "verdict",
            "probabilities",
            "model",
            "model_sha256",
            "preprocessing",
            "input_sha256",
            "created_at",
            "finished_at",
            "seconds",
            "attempt",
            "error_code",
        )


class Exported(ExportMixin):
    """Export of what the list shows, filters and search included, as CSV or JSON.

    There is no import: a photo is nothing without its file, and an answer without its model.
    """

    # The form that lets one choose columns needs inline scripts, which this site refuses.
    export_form_class = ExportForm
    export_formats = [SpreadsheetCSV, JSON]

    def has_export_permission(self, request: HttpRequest) -> bool:
        allowed: bool = self.has_view_permission(request)
        return allowed
