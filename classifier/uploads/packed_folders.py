"""A folder on this machine as ZIP archives that can be imported, each within the site's limits."""

from __future__ import annotations

import os
import tempfile
import zipfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, cast

from django.utils.translation import gettext as _

from classifier.uploads.import_plan import class_folders
from classifier.uploads.zip_reader import archive_limits
from training.projects.refusals import ProjectRefused

SYSTEM = (".", "Thumbs.db", "desktop.ini")


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
