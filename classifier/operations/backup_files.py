"""The stored files in a backup: copied once, compared each time, never replaced by something worse.

A stored file never changes under its name. So what an earlier backup wrote down of it stays true,
and a copy or an original that says otherwise is damaged.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from django.apps import apps
from django.core.files.base import File
from django.core.files.storage import Storage, default_storage
from django.db.models import FileField

from training.data import evaluation_sets
from training.models import EmbeddingIndex, EvaluationSet, ModelVersion

Facts = dict[str, Any]
CHUNK = 1024 * 1024


class Damaged(Exception):
    """The original, or it and its copy, are not what an earlier backup wrote down."""


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


def named_files() -> set[str]:
    """Every stored file that a row names."""
    named: set[str] = set()
    for model in apps.get_models():
        for field in model._meta.get_fields():
            if isinstance(field, FileField):
                rows = model._base_manager.order_by().exclude(**{field.name: ""})
                named.update(rows.values_list(field.name, flat=True).iterator())
    named.update(f"models/{sha256}.keras" for sha256 in ModelVersion.objects.values_list("sha256", flat=True))
    named.update(EmbeddingIndex.objects.exclude(file="").values_list("file", flat=True))
    for row in EvaluationSet.objects.defer("manifest"):
        named.update(evaluation_sets.file_names(row))
    return named


def keep(name: str, folder: Path, known: Facts | None, *, verify: bool) -> tuple[Facts, bool]:
    """Have a stored file in the backup; what it is, and whether it was copied now.

    Args:
        known: what an earlier backup wrote down of it.
        verify: read the original too; otherwise its size is looked at, and it is read only where
            there is no whole copy yet.

    Raises:
        Damaged: the copy, where it is whole, stays as it is.
        FileNotFoundError: there is no such stored file.
    """
    copy = folder / name
    if known and is_whole(copy, known):
        if default_storage.size(name) != known["size"]:
            raise Damaged(f"{name} is no longer what it was: {default_storage.size(name):,} bytes")
        if verify and stored_facts(name) != known:
            raise Damaged(f"{name} is no longer what it was: its sha256 differs")
        return known, False
    copy.parent.mkdir(parents=True, exist_ok=True)
    part = copy.with_name(f".{copy.name}.part")
    with default_storage.open(name, "rb") as source, part.open("wb") as target:
        shutil.copyfileobj(source, target, CHUNK)
        target.flush()
        os.fsync(target.fileno())
    facts = {"size": part.stat().st_size, "sha256": sha256_of(part)}
    if known and facts != known:
        part.unlink()
        raise Damaged(f"{name} is no longer what it was, and the copy of it is missing or damaged")
    if is_whole(copy, facts):
        part.unlink()
        return facts, False
    part.replace(copy)
    return facts, True


def put_back(name: str, copy: Path, facts: Facts) -> bool:
    """Write a file to the storage unless it is there and whole; whether it was written."""
    if default_storage.exists(name):
        if default_storage.size(name) == facts["size"] and stored_facts(name) == facts:
            return False
        default_storage.delete(name)
    with copy.open("rb") as file:
        stored = default_storage.save(name, File(file))
    if stored != name:
        raise OSError(f"{name} could not be put back under its name: is something else writing?")
    return True


def is_whole(copy: Path, facts: Facts) -> bool:
    return copy.is_file() and copy.stat().st_size == facts["size"] and sha256_of(copy) == facts["sha256"]


def stored_facts(name: str) -> Facts:
    """Size and sha256 of a stored file, which is read."""
    with default_storage.open(name, "rb") as file:
        return {"size": default_storage.size(name), "sha256": _digest(file)}


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return _digest(file)


def _digest(file: IO[bytes]) -> str:
    digest = hashlib.sha256()
    while piece := file.read(CHUNK):
        digest.update(piece)
    return digest.hexdigest()
