"""Stored files that are to be removed: named in the transaction in which their rows go, removed after it.

A process that is killed in between leaves the names, and the sweeper goes on. A name that ends with a slash
is the folder of a project that was deleted.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from django.core.files.storage import default_storage
from django.db import connection, transaction
from django.db.models import F, QuerySet

from cifarsite.core.storage import remove_files
from training.models import ProjectImage, ProjectImport, RemovedFile

# So many files are gone before the request that removes them is answered; the sweeper removes the others.
AT_ONCE = 200
# A pass of the sweeper takes so long for them, in pieces, with pauses in which others write to the database.
PASS_SECONDS = 5.0
PIECE = 50
PAUSE_SECONDS = 0.01


def folder_of(slug: str) -> str:
    """Where the images of a project lie."""
    return f"projects/{slug}/"


def remove_later(names: Iterable[str]) -> None:
    """Have files removed once the transaction has committed, the first of them at once."""
    rows = [RemovedFile(name=name) for name in dict.fromkeys(names) if name]
    RemovedFile.objects.bulk_create(rows, batch_size=500, ignore_conflicts=True)
    if rows:
        first = [row.name for row in rows[:AT_ONCE]]
        transaction.on_commit(partial(_remove_first, first), robust=True)


def keep(names: Iterable[str]) -> None:
    """Before files are written again: they are not removed any more. Waits for a removal under way."""
    RemovedFile.objects.filter(name__in=list(names)).delete()


def is_being_removed(slug: str) -> bool:
    """Are there files of a deleted project of this name?"""
    return RemovedFile.objects.filter(name=folder_of(slug)).exists()


def remove_waiting(seconds: float = PASS_SECONDS) -> dict[str, int]:
    """Remove files that wait for it, for so many seconds; what could not be removed, at the end. How many.

    One that is not there any more is removed. Several sweepers may do so at the same time.
    """
    until, removed = time.monotonic() + seconds, 0
    failed: set[str] = set()
    while True:
        waiting = RemovedFile.objects.exclude(pk__in=failed).order_by("tries", "name")
        found = _piece(waiting, failed)
        if found is None or time.monotonic() > until or len(failed) > PIECE:
            return {"files_removed": removed + (found or 0)}
        removed += found
        time.sleep(PAUSE_SECONDS)


@dataclass(frozen=True)
class Waiting:
    """What waits to be removed: names of files, and of folders."""

    files: frozenset[str]
    folders: tuple[str, ...]

    def holds(self, name: str) -> bool:
        return name in self.files or name.startswith(self.folders)


def waiting() -> Waiting:
    """What waits now: such files are neither strays nor worth a backup."""
    names = list(RemovedFile.objects.values_list("name", flat=True))
    folders = tuple(name for name in names if name.endswith("/"))
    return Waiting(frozenset(names), folders)


def _remove_first(names: Sequence[str]) -> None:
    removed = 0
    failed: set[str] = set()
    while removed < AT_ONCE and not failed:
        found = _piece(RemovedFile.objects.filter(pk__in=names).order_by("tries", "name"), failed)
        if not found:
            return
        removed += found


def _piece(rows: QuerySet[RemovedFile], failed: set[str]) -> int | None:
    """Remove some of these files, or of the first folder. None: there are none of them.

    Their rows are held meanwhile: whoever stores such a file anew waits, see ``keep``.
    """
    with transaction.atomic():
        if connection.features.has_select_for_update_skip_locked:
            rows = rows.select_for_update(skip_locked=True)
        names = list(rows.values_list("name", flat=True)[:PIECE])
        if not names:
            return None
        if names[0].endswith("/"):
            removed, over = _remove_folder(names[0])
            gone = names[:1] if over else []
            tried = names[:1] if over is None else []
        else:
            files = [name for name in names if not name.endswith("/")]
            kept = _named(files)
            gone, tried = remove_files(name for name in files if name not in kept)
            removed = len(gone)
            gone += kept
        RemovedFile.objects.filter(pk__in=gone).delete()
        RemovedFile.objects.filter(pk__in=tried).update(tries=F("tries") + 1)
        failed.update(tried)
    return removed


def _remove_folder(folder: str) -> tuple[int, bool | None]:
    """Remove some of the files in a folder, and at last the folder.

    Returns:
        How many, and whether it is over; None: some cannot be removed now.
    """
    files = _below(folder.rstrip("/"))
    removed = 0
    while piece := [name for _place, name in zip(range(PIECE), files, strict=False)]:
        # Nobody makes a project of this name meanwhile, but a file that an image names stays in any case.
        kept = _named(piece)
        gone, tried = remove_files(name for name in piece if name not in kept)
        removed += len(gone)
        if tried:
            return removed, None
        if removed:
            return removed, False
    _remove_empty(folder.rstrip("/"))
    return removed, True


def _named(names: Collection[str]) -> list[str]:
    """Those of these files that a row names: the same pixels may have been added again."""
    images = ProjectImage.objects.filter(file__in=names).values_list("file", flat=True)
    archives = ProjectImport.objects.filter(archive__in=names).values_list("archive", flat=True)
    labels = ProjectImport.objects.filter(labels__in=names).values_list("labels", flat=True)
    return [*images, *archives, *labels]


def _below(folder: str) -> Iterator[str]:
    """Files in a folder and its folders, listed as they are asked for."""
    try:
        folders, files = default_storage.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return
    for name in files:
        yield f"{folder}/{name}"
    for name in folders:
        yield from _below(f"{folder}/{name}")


def _remove_empty(folder: str) -> None:
    """Folders without files; one that cannot be removed does no harm."""
    try:
        for name in default_storage.listdir(folder)[0]:
            _remove_empty(f"{folder}/{name}")
        default_storage.delete(folder)
    except OSError:
        return
