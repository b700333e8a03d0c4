"""Tables and lines that leave the site, streamed: a spreadsheet must not run what a file name says."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator
from typing import Any

from django.http import StreamingHttpResponse

from training.engine.data import CLASS_NAMES

# Excel, LibreOffice and Google Sheets take a cell that begins so for a formula.
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
BOM = "\ufeff"  # tells Excel that this is UTF-8


class _Echo:
    def write(self, text: str) -> str:
        return text


def safe_cell(value: Any) -> Any:
    """Text that a spreadsheet would take for a formula gets an apostrophe in front."""
    return f"'{value}" if isinstance(value, str) and value.lstrip(" ").startswith(FORMULA) else value


def csv_lines(header: list[str], rows: Iterable[list[Any]]) -> Iterator[str]:
    """A CSV of RFC 4180, line by line, with the names of the columns first."""
    writer = csv.writer(_Echo())
    yield BOM + writer.writerow(header)
    for row in rows:
        yield writer.writerow([safe_cell(value) for value in row])


def json_lines(rows: Iterable[dict[str, Any]]) -> Iterator[str]:
    """One JSON object a line."""
    for row in rows:
        yield json.dumps(row, ensure_ascii=False) + "\n"


RESULT_COLUMNS = [
    "filename",
    "status",
    "label",
    "confidence",
    "verdict",
    "truth",
    "correction",
    *CLASS_NAMES,
    "model",
    "photo",
    "error_code",
    "error_detail",
]


def result_row(result: dict[str, Any]) -> list[Any]:
    """A result of ``batches.results`` or ``history_rows`` as the cells of ``RESULT_COLUMNS``."""
    probabilities, error = result["probabilities"] or {}, result["error"] or {}
    flat = {**result, **probabilities, "error_code": error.get("code"), "error_detail": error.get("detail")}
    return ["" if flat.get(column) is None else flat[column] for column in RESULT_COLUMNS]


def as_csv(results: Iterable[dict[str, Any]], filename: str) -> StreamingHttpResponse:
    """Results as a CSV to save."""
    return _download(csv_lines(RESULT_COLUMNS, map(result_row, results)), "text/csv; charset=utf-8", filename)


def as_json_lines(results: Iterable[dict[str, Any]], filename: str) -> StreamingHttpResponse:
    """Results as JSON lines to save."""
    return _download(json_lines(results), "application/jsonl; charset=utf-8", filename)


def _download(lines: Iterator[str], content_type: str, filename: str) -> StreamingHttpResponse:
    response = StreamingHttpResponse(lines, content_type=content_type)
    response.headers["Content-Disposition"] = f'attachment; filename="{filename}"'
    response.headers["Cache-Control"] = "private, no-store"
    return response
