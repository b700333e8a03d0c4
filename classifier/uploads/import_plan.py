"""What class each file of an import has: by the folder that it lies in, or by a table of labels.

A folder on this machine is packed into archives that say the same.
"""

from __future__ import annotations

import json
import os
import tempfile
import zipfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, cast

from django.core.files import File
from django.utils.translation import gettext as _

from classifier.uploads.ground_truth import match, read_truth
from classifier.uploads.zip_reader import Entry, archive_limits
from training.models import Project
from training.models.projects import class_key
from training.projects.classes import clean_name, refuse_too_many
from training.projects.refusals import ProjectRefused

# Folders that data sets are handed out in; this site splits by itself.
SPLIT_FOLDERS = {"train", "training", "val", "valid", "validation", "test", "testing"}
# Files that systems leave in every folder.
SYSTEM = (".", "Thumbs.db", "desktop.ini")
NAMES_SHOWN = 5


@dataclass(frozen=True)
class Planned:
    """One file on its way into a project.

    Attributes:
        source: the entry's number in the archive, or the id of a photo.
        name: of the file, for people.
        label: the class's name; empty where it has none, and ``code`` and ``detail`` say why.
    """

    source: int | str
    name: str
    label: str
    code: str = ""
    detail: str = ""


@dataclass
class Plan:
    """What an import does; kept as JSON beside its archive until it is over.

    Attributes:
        kind: where its files come from: 'archive', 'batch' or 'corrections'.
        new: keys of classes that the project did not have: they go again if the import is cancelled.
        notes: sentences about the names of classes.
    """

    kind: str
    entries: list[Planned]
    new: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def as_json(self) -> bytes:
        rows = [[e.source, e.name, e.label, e.code, e.detail] for e in self.entries]
        value = {"kind": self.kind, "new": self.new, "notes": self.notes, "entries": rows}
        return json.dumps(value, ensure_ascii=False).encode()

    @classmethod
    def from_json(cls, content: bytes) -> Plan:
        value: dict[str, Any] = json.loads(content)
        return cls(value["kind"], [Planned(*row) for row in value["entries"]], value["new"], value["notes"])


def plan_archive(
    project: Project, entries: Sequence[Entry], labels: BinaryIO | File[Any] | None = None
) -> Plan:
    """The class of every entry of a ZIP archive.

    Args:
        labels: a CSV of ``filename,label``; the names of folders then count for nothing.

    Raises:
        ProjectRefused: there are no folders, the table names no file, no name can be a class, or there
            would be too many classes.
        TruthRefused: the table cannot be read.
    """
    names = [entry.name for entry in entries]
    if labels is not None:
        matched = match(read_truth(labels, None), names)
        if not matched.labels:
            raise ProjectRefused(
                "no_match",
                _(
                    "No line of the table of labels names a file of the archive: its first line names "
                    "'%(line)s', the archive's first file is '%(file)s'. Write the files' names as they "
                    "are in the archive."
                )
                % {"line": matched.first_unmatched, "file": names[0][:200]},
            )
        given = [matched.labels.get(place, "") for place in range(len(names))]
        missing = "no_label", _("No line of the table of labels names this file: add one.")
    else:
        given = class_folders([name if entry.refusal is None else "" for entry, name in zip(entries, names)])  # noqa: B905
        missing = (
            "no_class",
            _("This file lies in no folder of a class: put it into a folder named like its class."),
        )
        if not any(given):
            raise ProjectRefused(
                "no_folders",
                _(
                    "This archive has no folders: put the images of each class into a folder named like "
                    "the class, then pack these folders; or add a table of labels."
                ),
            )
    sources = [(entry.number, entry.name) for entry in entries]
    return make_plan(project, "archive", sources, given, missing)


def make_plan(
    project: Project,
    kind: str,
    sources: Sequence[tuple[int | str, str]],
    given: Sequence[str],
    missing: tuple[str, str] = ("", ""),
) -> Plan:
    """Check the names of the classes once each, and give every file its own.

    Args:
        sources: where each file comes from, and its name.
        given: what each is labelled with; empty: nothing, for which ``missing`` has code and sentence.

    Raises:
        ProjectRefused: no name can be a class, or there would be too many.
    """
    cleaned: dict[str, str] = {}
    refused: dict[str, ProjectRefused] = {}
    for name in dict.fromkeys(filter(None, given)):
        try:
            cleaned[name] = clean_name(name)
        except ProjectRefused as refusal:
            refused[name] = refusal
    if refused and not cleaned:
        raise next(iter(refused.values()))
    known = {row.key: row.name for row in project.classes.all()}
    written: dict[str, list[str]] = {key: [name] for key, name in known.items()}
    for name in cleaned.values():
        spellings = written.setdefault(class_key(name), [])
        if name not in spellings:
            spellings.append(name)
    refuse_too_many(len(written))
    entries = []
    for (source, name), label in zip(sources, given, strict=True):
        if bad := refused.get(label):
            entries.append(Planned(source, name, "", bad.code, str(bad.detail)))
        elif not label:
            entries.append(Planned(source, name, "", *missing))
        else:
            entries.append(Planned(source, name, written[class_key(cleaned[label])][0]))
    new = [key for key in written if key not in known]
    return Plan(kind, entries, new, _notes(written.values()))


def _notes(spellings: Iterable[list[str]]) -> list[str]:
    several = [names for names in spellings if len(names) > 1]
    said = [
        _(
            "%(names)s count as one class, '%(name)s': names that differ only in capital letters or in how "
            "accents are written are the same."
        )
        % {"names": ", ".join(f"'{name}'" for name in names), "name": names[0]}
        for names in several[:NAMES_SHOWN]
    ]
    if len(several) > NAMES_SHOWN:
        said.append(_("So do %(count)d more.") % {"count": len(several) - NAMES_SHOWN})
    return said


def class_folders(names: Sequence[str]) -> list[str]:
    """The folder of each file that names its class; empty where it lies in none.

    Folders around all others ('my photos/cat/1.jpg'), and those of splits ('train/cat/1.jpg',
    'test/cat/2.jpg'), are looked through.
    """
    paths = [[part for part in name.split("/")[:-1] if part.strip()] for name in names]
    inside = [path for path in paths if path]
    if not inside:
        return [""] * len(names)
    around = _common(inside)
    directly = sum(len(path) == around for path in inside)
    # One class alone: most files lie in the innermost common folder itself.
    at = around - 1 if around and 2 * directly > len(inside) else around
    heads = {path[at].casefold() for path in inside if len(path) > at}
    deeper = sum(len(path) > at + 1 for path in inside)
    if heads <= SPLIT_FOLDERS and 2 * deeper > len(inside):
        at += 1
    return [path[at] if len(path) > at else "" for path in paths]


def _common(paths: Sequence[list[str]]) -> int:
    """How many folders all of these paths begin with."""
    first, last = min(paths), max(paths)
    count = 0
    while count < min(len(first), len(last)) and first[count] == last[count]:
        count += 1
    return count


def files_below(folder: Path) -> list[Path]:
    """All files, without hidden ones and links, in a fixed order."""
    found: list[Path] = []
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        paths = (Path(place) / name for name in sorted(names) if not name.startswith(SYSTEM))
        found += [path for path in paths if path.is_file() and not path.is_symlink()]
    return found


def pack(folder: Path) -> Iterator[BinaryIO]:
    """Each archive has a folder a class, as ``class_folders`` reads all of it at once.

    Raises:
        ProjectRefused: there are no files, or they lie in no folders.
        OSError: a file cannot be read.
    """
    limits, files = archive_limits(), files_below(folder)
    labels = class_folders([path.relative_to(folder).as_posix() for path in files])
    if not any(labels):
        raise ProjectRefused(
            "no_folders",
            _("'%(folder)s' has no folders with files: put the images of each class into a folder in it.")
            % {"folder": folder},
        )
    taken: Counter[str] = Counter()
    place = 0
    while place < len(files):
        with tempfile.TemporaryFile() as file:
            with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
                first, size = place, 0
                while place < len(files) and place - first < limits.entries:
                    size += files[place].stat().st_size + 1_000
                    if size > limits.archive_bytes and place > first:
                        break
                    archive.write(files[place], _name(labels[place], files[place].name, taken))
                    place += 1
            file.seek(0)
            yield cast(BinaryIO, file)


def _name(label: str, name: str, taken: Counter[str]) -> str:
    """Files of the same name in folders below a class's stay apart."""
    path = f"{label}/{name}" if label else name
    taken[path] += 1
    return path if taken[path] == 1 else f"{label}/{taken[path]}-{name}".lstrip("/")
