"""Tables and lines that leave the site, streamed: a spreadsheet must not run what a file name says."""

from __future__ import annotations

import csv
import io
import json
import logging
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from django.db.models import QuerySet
from django.http import StreamingHttpResponse

from cifarsite.core.spreadsheets import safe_cell
from cifarsite.core.storage import StorageUnavailable
from classifier.models import Correction, Photo, Prediction
from classifier.photos.history import page
from training.models import ModelVersion
from training.projects.access import class_names

logger = logging.getLogger(__name__)

PIECE = 500

BOM = "\ufeff"  # tells Excel that this is UTF-8


class _Echo:
    def write(self, text: str) -> str:
        return text


def csv_lines(header: list[str], rows: Iterable[list[Any]]) -> Iterator[str]:
    """A CSV of RFC 4180, line by line, with the names of the columns first."""
    writer = csv.writer(_Echo())
    yield BOM + writer.writerow([safe_cell(name) for name in header])
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
    *("probabilities", "model", "project", "photo", "uploaded_at", "error"),
)
BEFORE_CLASSES = ("filename", "status", "label", "confidence", "verdict", "truth", "correction")
BEHIND_CLASSES = ("model", "project", "photo", "uploaded_at", "error_code", "error_detail")


def classes_of(projects: Iterable[str]) -> list[str]:
    """The classes whose probabilities are columns: of all models of these projects, champions' first."""
    slugs = list(projects)
    models = ModelVersion.objects.filter(project__in=slugs).order_by("-is_champion", "project_id", "-id")
    # Models of one project have the same classes, as a rule: each list is read once.
    lists = dict.fromkeys(json.dumps(classes) for classes in models.values_list("classes", flat=True))
    names = dict.fromkeys(name for classes in lists for name in json.loads(classes))
    return list(names) or [name for slug in slugs for name in class_names(slug)]


def result_columns(classes: Sequence[str]) -> list[str]:
    """The names of a table's columns; a class that is called like another column says what it is."""
    fixed = {*BEFORE_CLASSES, *BEHIND_CLASSES}
    named = [f"probability of {name}" if name in fixed else name for name in classes]
    return [*BEFORE_CLASSES, *named, *BEHIND_CLASSES]


def result_row(result: dict[str, Any], classes: Sequence[str]) -> list[Any]:
    """A result of ``batches.results`` or ``history_results`` as the cells of ``result_columns``."""
    probabilities, error = result["probabilities"] or {}, result["error"] or {}
    flat = {**result, "error_code": error.get("code"), "error_detail": error.get("detail")}
    cells = [flat[name] for name in BEFORE_CLASSES]
    cells += [probabilities.get(name) for name in classes]
    cells += [flat[name] for name in BEHIND_CLASSES]
    return ["" if cell is None else cell for cell in cells]


def csv_of(results: Iterable[dict[str, Any]], classes: Sequence[str]) -> Iterator[str]:
    """Results as the lines of a CSV."""
    return csv_lines(result_columns(classes), (result_row(result, classes) for result in results))


def describe(answer: Prediction, correction: str | None = None) -> dict[str, Any]:
    """A photo and its answer as a result: ``RESULT_KEYS``."""
    result: dict[str, Any] = dict.fromkeys(RESULT_KEYS)
    result |= {
        "filename": answer.photo.filename,
        # A worker that has just taken it is the worker's business.
        "status": answer.status if answer.is_over else Prediction.Status.QUEUED.value,
        "project": answer.project_id,
        "photo": str(answer.photo_id),
        "uploaded_at": answer.photo_created_at.isoformat(),
        "correction": correction,
    }
    if answer.status == Prediction.Status.DONE:
        result |= {
            "label": answer.label,
            "confidence": answer.confidence,
            "verdict": answer.verdict or None,
            "probabilities": dict(zip(answer.classes, answer.probabilities or (), strict=False)),
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


def as_csv(results: Iterable[dict[str, Any]], filename: str, classes: Sequence[str]) -> StreamingHttpResponse:
    """Results as a CSV to save, with a column for each of these classes."""
    return _download(csv_of(results, classes), "text/csv; charset=utf-8", filename)


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


def history_zip(rows: QuerySet[Prediction], classes: Sequence[str], sort: str = "") -> Iterator[bytes]:
    """A ZIP in pieces, never whole in memory: the photos, and history.csv with their answers."""
    pipe = Pipe()
    with zipfile.ZipFile(pipe, "w", zipfile.ZIP_STORED) as archive:
        for items in history_pages(rows, sort):
            for answer in items:
                add_photo(archive, answer.photo)
                yield pipe.taken()
        with archive.open("history.csv", "w", force_zip64=True) as table:
            for line in csv_of(history_results(rows, sort), classes):
                table.write(line.encode())
                yield pipe.taken()
    yield pipe.taken()


def add_photo(archive: zipfile.ZipFile, photo: Photo) -> None:
    """The display copy, named by the photo's id as the tables are; one that is gone costs a log line."""
    try:
        with photo.display.open("rb") as file:
            archive.writestr(f"photos/{photo.pk}.jpg", file.read())
    except StorageUnavailable:
        raise  # a broken download can be repeated, an incomplete one looks whole
    except OSError:
        logger.warning("%s is missing from an export.", photo.display.name)


def _download(
    lines: Iterator[str] | Iterator[bytes], content_type: str, filename: str
) -> StreamingHttpResponse:
    response = StreamingHttpResponse(lines, content_type=content_type)
    response.headers["Content-Disposition"] = f'attachment; filename="{filename}"'
    response.headers["Cache-Control"] = "private, no-store"
    return response
