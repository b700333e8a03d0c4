"""The results of a batch as files that are written while they are sent: CSV and JSON lines."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator
from typing import Any

from training.engine.data import CLASS_NAMES

COLUMNS = (
    "filename",
    "status",
    "label",
    "confidence",
    "verdict",
    *CLASS_NAMES,
    "model",
    "truth",
    "error_code",
    "error_detail",
    "photo",
)
# A spreadsheet would run a cell that begins like this.
FORMULA_BEGINS = ("=", "+", "-", "@", "\t", "\r")


class Line:
    """What ``csv.writer`` writes to: it hands each line back."""

    def write(self, text: str) -> str:
        return text


def as_csv(results: Iterable[dict[str, Any]]) -> Iterator[str]:
    """Lines of CSV with a header; ``results`` from ``batches.results``."""
    writer = csv.writer(Line())
    yield writer.writerow(COLUMNS)
    for result in results:
        error = result["error"] or {}
        cells = {
            **result,
            **(result["probabilities"] or {}),
            "error_code": error.get("code"),
            "error_detail": error.get("detail"),
        }
        yield writer.writerow([_cell(cells.get(column)) for column in COLUMNS])


def as_jsonl(results: Iterable[dict[str, Any]]) -> Iterator[str]:
    """One JSON object a line."""
    for result in results:
        yield json.dumps(result, ensure_ascii=False, default=str) + "\n"


def _cell(value: Any) -> Any:
    if isinstance(value, str) and value.startswith(FORMULA_BEGINS):
        return "'" + value
    return "" if value is None else value
