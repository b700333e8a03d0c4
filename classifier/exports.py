"""Tables and lines that leave the site, streamed: a spreadsheet must not run what a file name says."""

from __future__ import annotations

import csv
import io
import json
import logging
import zipfile
from collections.abc import Iterable, Iterator
from typing import Any

from django.db.models import QuerySet
from django.http import StreamingHttpResponse

from classifier.history import page
from classifier.models import Correction, Photo, Prediction
from training.engine.data import CLASS_NAMES

logger = logging.getLogger(__name__)

PIECE = 500

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


def json_array(rows: Iterable[dict[str, Any]]) -> Iterator[str]:
    """One JSON array, an object a line."""
    before = "["
    for row in rows:
        yield f"{before}\n{json.dumps(row, ensure_ascii=False)}"
        before = ","
    yield "[]\n" if before == "[" else "\n]\n"


RESULT_KEYS = (
    *("filename", "status", "label", "confidence", "verdict", "truth", "correction"),
    *("probabilities", "model", "photo", "uploaded_at", "error"),
)
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
    "uploaded_at",
    "error_code",
    "error_detail",
]


def result_row(result: dict[str, Any]) -> list[Any]:
    """A result of ``batches.results`` or ``history_rows`` as the cells of ``RESULT_COLUMNS``."""
    probabilities, error = result["probabilities"] or {}, result["error"] or {}
    flat = {**result, **probabilities, "error_code": error.get("code"), "error_detail": error.get("detail")}
    return ["" if flat.get(column) is None else flat[column] for column in RESULT_COLUMNS]


def describe(answer: Prediction, correction: str | None = None) -> dict[str, Any]:
    """A photo and its answer as a result: ``RESULT_KEYS``."""
    result: dict[str, Any] = dict.fromkeys(RESULT_KEYS)
    result |= {
        "filename": answer.photo.filename,
        "status": answer.status,
        "photo": str(answer.photo_id),
        "uploaded_at": answer.photo_created_at.isoformat(),
        "correction": correction,
    }
    if answer.status == Prediction.Status.DONE:
        result |= {
            "label": answer.label,
            "confidence": answer.confidence,
            "verdict": answer.verdict or None,
            "probabilities": dict(zip(CLASS_NAMES, answer.probabilities or (), strict=False)),
            "model": answer.model and answer.model.name,
        }
    elif answer.status == Prediction.Status.FAILED:
        result["error"] = {"code": answer.error_code, "detail": answer.error_detail}
    return result


def own_words(answers: Iterable[Prediction], owner_id: Any) -> dict[Any, str]:
    """What the owner said about these photos, by the photo's id."""
    ids = [answer.photo_id for answer in answers]
    said = Correction.objects.filter(photo__in=ids, by_id=owner_id)
    return dict(said.values_list("photo_id", "label"))


def history_results(rows: QuerySet[Prediction], sort: str = "") -> Iterator[dict[str, Any]]:
    """A person's ``history`` as results in its order, read in keyset pages."""
    for items in history_pages(rows, sort):
        words = own_words(items, items[0].owner_id)
        for answer in items:
            yield describe(answer, words.get(answer.photo_id))


def history_pages(rows: QuerySet[Prediction], sort: str = "") -> Iterator[list[Prediction]]:
    """A person's ``history``, some hundreds at a time."""
    cursor = ""
    while True:
        shown = page(rows, cursor, size=PIECE, sort=sort)
        if shown.items:
            yield shown.items
        cursor = shown.next_cursor
        if not cursor:
            return


def as_csv(results: Iterable[dict[str, Any]], filename: str) -> StreamingHttpResponse:
    """Results as a CSV to save."""
    return _download(csv_lines(RESULT_COLUMNS, map(result_row, results)), "text/csv; charset=utf-8", filename)


def as_json_lines(results: Iterable[dict[str, Any]], filename: str) -> StreamingHttpResponse:
    """Results as JSON lines to save."""
    return _download(json_lines(results), "application/jsonl; charset=utf-8", filename)


def as_json(results: Iterable[dict[str, Any]], filename: str) -> StreamingHttpResponse:
    """Results as one JSON array to save."""
    return _download(json_array(results), "application/json", filename)


def as_zip(pieces: Iterator[bytes], filename: str) -> StreamingHttpResponse:
    """A ZIP to save; see ``history_zip``."""
    return _download(pieces, "application/zip", filename)


class Pipe(io.RawIOBase):
    """Where zipfile writes; what was written is taken out again and sent."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, content: Any) -> int:
        self._pieces.append(bytes(content))
        return len(content)

    def taken(self) -> bytes:
        content, self._pieces = b"".join(self._pieces), []
        return content


def history_zip(rows: QuerySet[Prediction], sort: str = "") -> Iterator[bytes]:
    """A ZIP in pieces, never whole in memory: the photos, and history.csv with their answers."""
    pipe = Pipe()
    with zipfile.ZipFile(pipe, "w", zipfile.ZIP_STORED) as archive:
        for items in history_pages(rows, sort):
            for answer in items:
                add_photo(archive, answer.photo)
                yield pipe.taken()
        with archive.open("history.csv", "w", force_zip64=True) as table:
            for line in csv_lines(RESULT_COLUMNS, map(result_row, history_results(rows, sort))):
                table.write(line.encode())
                yield pipe.taken()
    yield pipe.taken()


def add_photo(archive: zipfile.ZipFile, photo: Photo) -> None:
    """The display copy, named by the photo's id as the tables are; one that is gone costs a log line."""
    try:
        with photo.display.open("rb") as file:
            archive.writestr(f"photos/{photo.pk}.jpg", file.read())
    except OSError:
        logger.warning("%s is missing from an export.", photo.display.name)


def _download(
    lines: Iterator[str] | Iterator[bytes], content_type: str, filename: str
) -> StreamingHttpResponse:
    response = StreamingHttpResponse(lines, content_type=content_type)
    response.headers["Content-Disposition"] = f'attachment; filename="{filename}"'
    response.headers["Cache-Control"] = "private, no-store"
    return response
