"""Tables of true labels, as spreadsheets write them, and which photos of an archive their lines mean."""

from __future__ import annotations

import codecs
import csv
import io
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, BinaryIO

from django.core.files import File
from django.utils.translation import gettext_lazy as _

from classifier.photos.labels import in_words
from classifier.uploads.errors import TruthRefused
from classifier.uploads.filenames import as_shown
from training.models.projects import class_key

TRUTH_BYTES = 8 * 1024 * 1024
SEPARATORS = (",", ";", "\t")
NAME_HEADERS = {"filename", "file name", "file", "name", "path", "image", "photo", "tên tệp", "tệp", "ảnh"}
LABEL_HEADERS = {"label", "class", "category", "truth", "nhãn", "lớp"}
NAME_SHOWN = 200


@dataclass(frozen=True)
class Line:
    """A file's name as the table has it, and its class."""

    name: str
    label: str


@dataclass
class Matched:
    """Which photos the lines of a table mean.

    Attributes:
        lines: lines with a label.
        matched: those that name a file of the archive.
        first_unmatched: the name in the first line that does not; None where all do.
        labels: the class of each file that is named, by its place among the names.
    """

    lines: int
    matched: int = 0
    first_unmatched: str | None = None
    labels: dict[int, str] = field(default_factory=dict)

    def counts(self) -> dict[str, Any]:
        """What is kept and shown: all but the labels."""
        values = asdict(self)
        del values["labels"]
        return values


def read_truth(file: BinaryIO | File[Any], classes: Sequence[str] | None) -> list[Line]:
    """A CSV of file name and class, with or without a header.

    Args:
        classes: those that a line may name, without regard to case or to how accents are composed; the
            line gets the name as it stands here. None: any name, as it is written.

    Separated by commas, semicolons or tabs, in UTF-8, UTF-16 or Windows' code page 1252. A header may
    say in which columns file name and label stand; else they are the first two.

    Raises:
        TruthRefused: it is not such a table.
    """
    content = file.read(TRUTH_BYTES + 1)
    if len(content) > TRUTH_BYTES:
        raise TruthRefused(_("The table of true labels is larger than 8 MB: it should hold two columns."))
    try:
        names = {class_key(name): name for name in classes or ()}
        rows, (name_at, label_at), begin = _rows(_decode(content), names)
    except (UnicodeDecodeError, csv.Error) as error:
        raise TruthRefused(
            _("The table of true labels is not a CSV file. Save it as CSV in UTF-8 and upload that.")
        ) from error
    lines = []
    for number, row in enumerate(rows[begin:], begin + 1):
        if not any(cell.strip() for cell in row):
            continue
        if len(row) <= max(name_at, label_at):
            raise TruthRefused(
                _(
                    "Line %(line)s of the table of true labels has no label: write file name and label, "
                    "separated by a comma, a semicolon or a tab."
                )
                % {"line": number}
            )
        label = row[label_at].strip()
        if classes is not None:
            label = names.get(class_key(label), "")
            if not label:
                wrong = row[label_at].strip()[:NAME_SHOWN]
                raise TruthRefused(
                    _("Line %(line)s of the table of true labels: %(label)r is none of %(names)s.")
                    % {"line": number, "label": wrong, "names": in_words(classes)}
                )
        lines.append(Line(row[name_at].strip(), label))
    if not lines:
        raise TruthRefused(_("The table of true labels is empty: it should hold lines like 'photo.jpg,cat'."))
    return lines


def match(lines: Sequence[Line], names: Sequence[str]) -> Matched:
    """Find for each line the file that it names.

    By the whole path; then without regard to case; then by the end of the path, at least the file's own
    name, where only one file of the archive ends so. Composed and decomposed accents are the same.

    Args:
        names: of the archive's files, with folders.
    """
    result = Matched(len(lines))
    left = list(lines)
    # Only a name that is exactly the same may stand for several files.
    for keys, several in ((_whole, True), (_without_case, False), (_ends, False)):
        index: dict[str, list[int]] = {}
        for place, name in enumerate(names):
            for key in keys(name):
                index.setdefault(key, []).append(place)
        found: dict[int, str] = {}
        unmatched = []
        for line in left:
            places = next((index[key] for key in keys(line.name) if key in index), [])
            # What an exacter line names is not given to another one.
            places = [] if len(places) > 1 and not several else [p for p in places if p not in result.labels]
            found.update(dict.fromkeys(places, line.label))
            if not places:
                unmatched.append(line)
        result.labels.update(found)
        left = unmatched
    result.matched = len(lines) - len(left)
    result.first_unmatched = left[0].name[:NAME_SHOWN] if left else None
    return result


def _decode(content: bytes) -> str:
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return content.decode("utf-16")
    # UTF-16 without its mark: every other byte of plain letters is zero.
    if content[1:2] == b"\0":
        return content.decode("utf-16-le")
    if content[:1] == b"\0":
        return content.decode("utf-16-be")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("cp1252", errors="replace")


def _rows(text: str, classes: Mapping[str, str]) -> tuple[list[list[str]], tuple[int, int], int]:
    """All rows; in which columns name and label stand; the first row that is no header."""
    begin = 0
    separators: Iterable[str] = SEPARATORS
    if text[:4].lower() == "sep=" and text[4:5]:  # Excel's own line
        separators, begin = text[4], 1
    best = None
    for separator in separators:
        rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=separator))
        first = next((n for n, row in enumerate(rows) if n >= begin and any(map(str.strip, row))), 0)
        cells = [cell.strip().casefold() for cell in rows[first]] if rows else []
        name_at = next((at for at, cell in enumerate(cells) if cell in NAME_HEADERS), None)
        label_at = next((at for at, cell in enumerate(cells) if cell in LABEL_HEADERS), None)
        if name_at is not None and label_at is not None:
            return rows, (name_at, label_at), first + 1
        plain = rows, (0, 1), begin
        if len(cells) > 1 and class_key(cells[1]) in classes:
            return plain
        if best is None or len(cells) > len(best[1]):
            best = plain, cells
    assert best is not None  # there is a separator
    return best[0]


def _whole(name: str) -> Iterator[str]:
    path = unicodedata.normalize("NFC", as_shown(name)).replace("\\", "/")
    yield "/".join(part.strip() for part in path.split("/") if part not in ("", "."))


def _without_case(name: str) -> Iterator[str]:
    for path in _whole(name):
        yield unicodedata.normalize("NFC", path.casefold())


def _ends(name: str) -> Iterator[str]:
    """``a/b/c.jpg``, ``b/c.jpg``, ``c.jpg``."""
    for path in _without_case(name):
        while path:
            yield path
            path = path.partition("/")[2]
