"""Dumps of the two databases, SQLite and PostgreSQL: made while people go on writing, and put back."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from django.apps import apps
from django.db import connection, transaction
from django.db.models import Model

# Not what people keep: Django's own, which each start makes again.
UNCOUNTED = {"sessions.Session", "classifier.RateCount", "training.Worker"}


class BackupError(Exception):
    """It cannot be done; the message says what to do."""


def count_rows() -> dict[str, int]:
    """Rows of every table that is kept, by the model's name."""
    return {model._meta.label: model._base_manager.count() for model in _kept_models()}


def _kept_models() -> list[type[Model]]:
    models = [model for model in apps.get_models() if model._meta.managed and not model._meta.proxy]
    return [model for model in models if model._meta.label not in UNCOUNTED]


def make(folder: Path) -> tuple[Path, dict[str, int]]:
    """Dump the database into a folder: the file, and the rows of each table that it holds.

    Raises:
        BackupError: a program is missing or failed.
    """
    return _dump_sqlite(folder) if connection.vendor == "sqlite" else _dump_postgresql(folder)


def put_back(dump: Path) -> None:
    """Make the database what it was when this was dumped.

    Raises:
        BackupError: a program is missing or failed.
    """
    _restore_sqlite(dump) if connection.vendor == "sqlite" else _restore_postgresql(dump)


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
