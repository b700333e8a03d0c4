"""Backup of everything that a site cannot make again: the database and the stored files.

A backup folder holds ``files/`` once for all backups, since a stored file never changes, and a
folder a backup, named by its time, with the database's dump and a manifest of what belongs to it.
The database goes first: whatever row the dump has, its files are there, unless the photo was
deleted meanwhile.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from django.apps import apps
from django.conf import settings
from django.core.files.base import File
from django.core.files.storage import Storage, default_storage
from django.db import connection, connections, transaction
from django.db.models import Model

from training.engine.checkpoints import write_durably

MANIFEST = "manifest.json"
FORMAT = 1
CHUNK = 1024 * 1024
# Not what people keep: Django's own, which each start makes again.
UNCOUNTED = {"sessions.Session", "classifier.RateCount", "training.Worker"}


class BackupError(Exception):
    """It cannot be done; the message says what to do."""


@dataclass(frozen=True)
class Done:
    """What a backup or a restore did."""

    folder: Path
    rows: int
    files: int
    copied: int


def back_up(folder: Path, *, keep: int = 0, now: datetime | None = None) -> Done:
    """Dump the database and copy the files that ``folder`` does not have yet.

    Args:
        keep: how many backups to keep, this one included; older ones go, and the files that
            none of the others names; 0: all of them.

    Raises:
        BackupError: a program is missing or failed, or a file cannot be read.
    """
    made = folder / f"{now or datetime.now(UTC):%Y-%m-%dT%H-%M-%SZ}"
    part = made.with_name(f".{made.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    dump, rows = _dump_sqlite(part) if connection.vendor == "sqlite" else _dump_postgresql(part)
    files: dict[str, dict[str, Any]] = {}
    copied = 0
    for name in stored_names(default_storage):
        try:
            files[name], new = _keep(name, folder / "files")
        except FileNotFoundError:
            continue  # deleted since the listing
        copied += new
    manifest = {
        "format": FORMAT,
        "made_at": datetime.now(UTC).isoformat(),
        "database": {"engine": connection.vendor, "file": dump.name, "sha256": _sha256(dump)},
        "rows": rows,
        "files": files,
    }
    write_durably(part / MANIFEST, json.dumps(manifest).encode())
    part.rename(made)
    if keep:
        _forget_older(folder, keep)
    return Done(made, sum(rows.values()), len(files), copied)


def restore(made: Path, *, replace: bool = False) -> Done:
    """Put a backup back: the database as it was, and every file of it.

    Args:
        replace: what the database holds now may go.

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
    if _sha256(dump) != manifest["database"]["sha256"]:
        raise BackupError(f"{dump} is damaged (its sha256 differs): use another backup.")
    if not replace and _holds_something():
        raise BackupError("The database is not empty: empty it, or add --replace to lose what it holds.")
    for name, facts in manifest["files"].items():
        if not _is_whole(made.parent / "files" / name, facts):
            raise BackupError(f"{name} is missing in the backup or damaged: nothing was changed.")
    copied = sum(_put_back(name, made.parent / "files" / name, f) for name, f in manifest["files"].items())
    connections.close_all()
    _restore_sqlite(dump) if connection.vendor == "sqlite" else _restore_postgresql(dump)
    found = count_rows()
    fewer = {name: (n, found.get(name, 0)) for name, n in manifest["rows"].items() if found.get(name, 0) < n}
    if fewer:
        raise BackupError(f"Rows are missing after the restore (backup, now): {fewer}.")
    return Done(made, sum(found.values()), len(manifest["files"]), copied)


def newest(folder: Path) -> Path:
    """The last whole backup of a folder.

    Raises:
        BackupError: there is none.
    """
    found = whole_backups(folder)
    if not found:
        raise BackupError(f"{folder} holds no backup.")
    return found[-1]


def whole_backups(folder: Path) -> list[Path]:
    """Oldest first."""
    return sorted(path.parent for path in folder.glob(f"[0-9]*/{MANIFEST}"))


def read_manifest(made: Path) -> dict[str, Any]:
    try:
        manifest: dict[str, Any] = json.loads((made / MANIFEST).read_text())
    except (OSError, ValueError) as error:
        raise BackupError(f"{made} is no whole backup ({error}).") from error
    if manifest.get("format") != FORMAT:
        raise BackupError(f"{made} has format {manifest.get('format')}, and this version reads {FORMAT}.")
    return manifest


def count_rows() -> dict[str, int]:
    """Rows of every table that is kept, by the model's name."""
    return {model._meta.label: model._base_manager.count() for model in _kept_models()}


def stored_names(storage: Storage, folder: str = "") -> Iterator[str]:
    """Every file in the storage, folder by folder."""
    try:
        folders, files = storage.listdir(folder)
    except FileNotFoundError:
        return
    for name in sorted(files):
        if name:
            yield f"{folder}/{name}" if folder else name
    for name in sorted(folders):
        yield from stored_names(storage, f"{folder}/{name}" if folder else name)


def _kept_models() -> list[type[Model]]:
    models = [model for model in apps.get_models() if model._meta.managed and not model._meta.proxy]
    return [model for model in models if model._meta.label not in UNCOUNTED]


def _keep(name: str, kept: Path) -> tuple[dict[str, Any], bool]:
    """Have the file in the backup; what it is, and whether it was copied now."""
    target = kept / name
    size = default_storage.size(name)
    if target.is_file() and target.stat().st_size == size:
        return {"size": size, "sha256": _sha256(target)}, False
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.part")
    with default_storage.open(name, "rb") as source, part.open("wb") as copy:
        shutil.copyfileobj(source, copy, CHUNK)
        copy.flush()
        os.fsync(copy.fileno())
    part.replace(target)
    return {"size": target.stat().st_size, "sha256": _sha256(target)}, True


def _put_back(name: str, kept: Path, facts: dict[str, Any]) -> bool:
    if default_storage.exists(name):
        if default_storage.size(name) == facts["size"]:
            return False
        default_storage.delete(name)
    with kept.open("rb") as file:
        stored = default_storage.save(name, File(file))
    if stored != name:
        raise BackupError(f"{name} could not be put back under its name: is something else writing?")
    return True


def _is_whole(kept: Path, facts: dict[str, Any]) -> bool:
    return kept.is_file() and kept.stat().st_size == facts["size"] and _sha256(kept) == facts["sha256"]


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


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


# --- The two databases ----------------------------------------------------------------------


def _dump_sqlite(folder: Path) -> tuple[Path, dict[str, int]]:
    """SQLite's own online backup: consistent, while people go on writing; and the rows that it holds."""
    dump = folder / "database.sqlite3"
    with (
        closing(sqlite3.connect(str(connection.settings_dict["NAME"]), timeout=20)) as source,
        closing(sqlite3.connect(dump)) as copy,
    ):
        source.backup(copy)
        # One file, without a log beside it.
        copy.execute("PRAGMA journal_mode=DELETE")
        tables = {model._meta.label: model._meta.db_table for model in _kept_models()}
        rows = {
            label: copy.execute(f'SELECT count(*) FROM "{table}"').fetchone()[0]  # noqa: S608
            for label, table in tables.items()
        }
    _sync(dump)
    return dump, rows


def _restore_sqlite(dump: Path) -> None:
    target = Path(str(connection.settings_dict["NAME"]))
    for left in target.parent.glob(f"{target.name}-*"):
        left.unlink()  # the log of what is replaced
    part = target.with_name(f"{target.name}.part")
    shutil.copyfile(dump, part)
    _sync(part)
    part.replace(target)


def _dump_postgresql(folder: Path) -> tuple[Path, dict[str, int]]:
    """pg_dump, while people go on writing; and the rows that it holds, counted in the same snapshot."""
    dump = folder / "database.dump"
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        # It only waits for pg_dump, which may take long.
        cursor.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
        cursor.execute("SELECT pg_export_snapshot()")
        (snapshot,) = cursor.fetchone()
        rows = count_rows()
        options = ["--format=custom", "--no-owner", "--no-privileges", f"--snapshot={snapshot}"]
        _run(["pg_dump", *options, f"--file={dump}"])
    _sync(dump)
    return dump, rows


def _restore_postgresql(dump: Path) -> None:
    options = ["--clean", "--if-exists", "--no-owner", "--no-privileges", "--exit-on-error"]
    name = str(connection.settings_dict["NAME"])
    _run(["pg_restore", *options, "--single-transaction", f"--dbname={name}", str(dump)])


def _sync(path: Path) -> None:
    """See to it that a power cut does not take it away again."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _run(argv: list[str], run: Callable[..., Any] = subprocess.run) -> None:
    """One of PostgreSQL's programs; the password goes by the environment, where ps does not show it."""
    where = connection.settings_dict
    names = {"PGHOST": "HOST", "PGPORT": "PORT", "PGUSER": "USER", "PGPASSWORD": "PASSWORD"}
    environment = {name: str(where[key]) for name, key in names.items() if where[key]}
    try:
        done = run(
            argv,
            env={**os.environ, **environment, "PGDATABASE": str(where["NAME"])},
            capture_output=True,
            text=True,
        )
    except FileNotFoundError as error:
        raise BackupError(f"{argv[0]} is not installed: install PostgreSQL's client programs.") from error
    if done.returncode:
        raise BackupError(f"{argv[0]} failed: {done.stderr.strip()[-2_000:]}")
