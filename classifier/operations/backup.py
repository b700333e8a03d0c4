"""Backup of everything that a site cannot make again: the database and the stored files.

A backup folder holds ``files/`` once for all backups, since a stored file never changes, and a
folder a backup, named by its time, with the database's dump and a manifest of what belongs to it.
The database goes first: whatever row the dump has, its files are there, unless the photo was
deleted meanwhile.
"""

from __future__ import annotations

import json
import shutil
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from django.apps import apps
from django.conf import settings
from django.core.files.storage import default_storage
from django.db import connection, connections

from classifier.operations import backup_files, database_dumps
from classifier.operations.backup_files import Damaged, Facts, stored_names
from classifier.operations.database_dumps import BackupError, count_rows
from training.engine.training.checkpoints import write_durably
from training.projects import removals

MANIFEST = "manifest.json"
FORMAT = 1
# So many names of files are told in a sentence.
SHOWN = 5
# A file that was being written when the files were listed is whole by then.
SETTLE_SECONDS = 2.0


@dataclass(frozen=True)
class Done:
    """What a backup or a restore did.

    Attributes:
        copied: files that were written now.
        damaged: what was found wrong with files, a line each. Of a backup: stored files that are not
            what they were, or are gone. Of a restore: files that were left out.
    """

    folder: Path
    rows: int
    files: int
    copied: int
    damaged: tuple[str, ...] = ()


def back_up(
    folder: Path,
    *,
    keep: int = 0,
    verify: bool = False,
    allow_missing: bool = False,
    now: datetime | None = None,
) -> Done:
    """Dump the database and copy the files that ``folder`` does not have yet.

    Args:
        keep: how many backups to keep, this one included; older ones go, and the files that none of
            the others names; 0: all of them. Nothing goes where a file is missing or damaged.
        verify: read every stored file and compare it, not its size alone.
        allow_missing: go on where files that rows name are missing; the manifest names them.

    Raises:
        BackupError: a program is missing or failed, files that rows name are missing, or the database
            is empty and the last backup's was not. No backup is left then.
    """
    whole = whole_backups(folder)
    last = read_manifest(whole[-1]) if whole else None
    _refuse_an_empty_database(last)
    made = folder / f"{now or datetime.now(UTC):%Y-%m-%dT%H-%M-%SZ}"
    part = made.with_name(f".{made.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    try:
        # Rows of these were there before the dump; their files came before the rows.
        named = backup_files.named_files()
        dump, rows = database_dumps.make(part)
        # What is to be removed goes into no backup: a restored site goes on removing it.
        waiting = removals.waiting()
        present = [name for name in stored_names(default_storage) if not waiting.holds(name)]
        missing = _missing(named, present)
        if missing and not allow_missing:
            raise BackupError(
                f"{len(missing):,} of {len(named):,} files that the database names are not in the storage "
                f"({_some(missing)}): are VAR_DIR and STORAGE_URL those of the site? Nothing was backed up, "
                "and older backups stay. Where the files are lost for good, add --allow-missing."
            )
        time.sleep(SETTLE_SECONDS)
        files, copied, damaged = _keep_all(present, folder / "files", last, verify=verify)
        manifest = {
            "format": FORMAT,
            "made_at": datetime.now(UTC).isoformat(),
            "database": {
                "engine": connection.vendor,
                "file": dump.name,
                "sha256": backup_files.sha256_of(dump),
            },
            "rows": rows,
            "files": files,
            "missing": missing,
        }
        write_durably(part / MANIFEST, json.dumps(manifest).encode())
        part.rename(made)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise
    damaged += [f"{name} is missing" for name in missing]
    if keep and not damaged:
        _forget_older(folder, keep)
    return Done(made, sum(rows.values()), len(files), copied, tuple(damaged))


def restore(made: Path, *, replace: bool = False, leave_out_damaged: bool = False) -> Done:
    """Put a backup back: the database as it was, and every file of it.

    Args:
        replace: what the database holds now may go.
        leave_out_damaged: restore without the files whose copies are missing or damaged.

    Raises:
        BackupError: the backup is damaged, of another database, or something would be lost.
    """
    manifest = read_manifest(made)
    if manifest["database"]["engine"] != connection.vendor:
        raise BackupError(
            f"The backup is of {manifest['database']['engine']}, and DATABASE_URL names {connection.vendor}. "
            "Restore it there, then move it with 'manage.py copy_database'."
        )
    dump = made / manifest["database"]["file"]
    if backup_files.sha256_of(dump) != manifest["database"]["sha256"]:
        raise BackupError(f"{dump} is damaged (its sha256 differs): use another backup.")
    if not replace and _holds_something():
        raise BackupError("The database is not empty: empty it, or add --replace to delete its contents.")
    kept = made.parent / "files"
    files: dict[str, Facts] = manifest["files"]
    damaged = sorted(name for name, facts in files.items() if not backup_files.is_whole(kept / name, facts))
    if damaged and not leave_out_damaged:
        raise BackupError(
            f"{len(damaged):,} of {len(files):,} files are missing in the backup or damaged "
            f"({_some(damaged)}): nothing was changed. Add --leave-out-damaged to restore all the others."
        )
    for name in damaged:
        del files[name]
    copied = sum(backup_files.put_back(name, kept / name, facts) for name, facts in files.items())
    connections.close_all()
    database_dumps.put_back(dump)
    found = count_rows()
    fewer = {name: (n, found.get(name, 0)) for name, n in manifest["rows"].items() if found.get(name, 0) < n}
    if fewer:
        raise BackupError(f"Rows are missing after the restore (backup, now): {fewer}.")
    left_out = [*damaged, *manifest.get("missing", ())]
    return Done(made, sum(found.values()), len(files), copied, tuple(left_out))


def newest(folder: Path) -> Path:
    """The last whole backup of a folder.

    Raises:
        BackupError: there is none.
    """
    found = whole_backups(folder)
    if not found:
        raise BackupError(f"{folder} contains no backup.")
    return found[-1]


def whole_backups(folder: Path) -> list[Path]:
    """Oldest first."""
    return sorted(path.parent for path in folder.glob(f"[0-9]*/{MANIFEST}"))


def read_manifest(made: Path) -> dict[str, Any]:
    try:
        manifest: dict[str, Any] = json.loads((made / MANIFEST).read_text())
    except (OSError, ValueError) as error:
        raise BackupError(f"{made} is not a complete backup ({error}).") from error
    if manifest.get("format") != FORMAT:
        raise BackupError(f"{made} has format {manifest.get('format')}, and this version reads {FORMAT}.")
    return manifest


def _refuse_an_empty_database(last: dict[str, Any] | None) -> None:
    """Nobody loses all accounts between two backups: it is another database, such as a new VAR_DIR's."""
    user = apps.get_model(settings.AUTH_USER_MODEL)
    before = last["rows"].get(user._meta.label, 0) if last else 0
    is_empty = user._meta.db_table not in connection.introspection.table_names()
    if before and (is_empty or not user._base_manager.exists()):
        raise BackupError(
            f"The last backup has {before:,} accounts and the database has none: are VAR_DIR and "
            "DATABASE_URL those of the site? Nothing was backed up, and older backups stay."
        )


def _missing(named: set[str], present: list[str]) -> list[str]:
    missing = named.difference(present)
    # What was deleted meanwhile is not missing.
    return sorted(missing & backup_files.named_files()) if missing else []


def _some(names: list[str]) -> str:
    return ", ".join(names[:SHOWN]) + (", ..." if len(names) > SHOWN else "")


def _keep_all(
    names: list[str], kept: Path, last: dict[str, Any] | None, *, verify: bool
) -> tuple[dict[str, Facts], int, list[str]]:
    """What each file is, how many were copied now, and what is wrong with which."""
    known = last["files"] if last else {}
    files: dict[str, Facts] = {}
    damaged: list[str] = []
    copied = 0
    for name in names:
        try:
            files[name], new = backup_files.keep(name, kept, known.get(name), verify=verify)
            copied += new
        except FileNotFoundError:
            continue  # deleted since the listing
        except Damaged as error:
            files[name] = known[name]
            damaged.append(str(error))
    return files, copied, damaged


def _holds_something() -> bool:
    tables = set(connection.introspection.table_names())
    user = apps.get_model(settings.AUTH_USER_MODEL)
    photo = apps.get_model("classifier.Photo")
    return any(m._meta.db_table in tables and m._base_manager.exists() for m in (user, photo))


def _forget_older(folder: Path, keep: int) -> None:
    whole = whole_backups(folder)
    for old in whole[:-keep]:
        shutil.rmtree(old)
    named = {name for made in whole[-keep:] for name in read_manifest(made)["files"]}
    files = folder / "files"
    for path in [path for path in files.rglob("*") if path.is_file()]:
        if str(path.relative_to(files)) not in named:
            path.unlink()
