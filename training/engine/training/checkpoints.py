"""One file an epoch that holds all a run needs to go on, written so that a kill never harms it.

The name carries the file's sha256, so weights, optimizer, history and hash are one unit:
``epoch-00007-<sha256>.npz``. A damaged file is recognised and the one before is used.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

KEPT = 2
Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Checkpoint:
    """State after ``epoch`` (counted from 1): named arrays and a JSON-able note."""

    epoch: int
    arrays: Arrays
    note: dict[str, Any]


def save(folder: Path, checkpoint: Checkpoint) -> Path:
    """Write durably (temporary file, fsync, rename) and drop all but the newest two."""
    folder.mkdir(parents=True, exist_ok=True)
    buffer = io.BytesIO()
    note = json.dumps({"epoch": checkpoint.epoch, **checkpoint.note}).encode()
    arrays: dict[str, Any] = {"note": np.frombuffer(note, np.uint8), **checkpoint.arrays}
    np.savez(buffer, **arrays)
    content = buffer.getbuffer()
    digest = hashlib.sha256(content).hexdigest()
    path = folder / f"epoch-{checkpoint.epoch:05d}-{digest}.npz"
    write_durably(path, content)
    for old in _newest_first(folder)[KEPT:]:
        old.unlink(missing_ok=True)
    return path


def load_latest(folder: Path) -> Checkpoint | None:
    """Return the newest undamaged checkpoint, or None where there is none."""
    for path in _newest_first(folder):
        content = path.read_bytes()
        if hashlib.sha256(content).hexdigest() == path.stem.rsplit("-", 1)[1]:
            return _parse(content)
    return None


def write_durably(path: Path, content: bytes | memoryview) -> None:
    """Write a file that is either wholly there after a crash, or not at all."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(path)
    finally:
        temporary.unlink(missing_ok=True)
    descriptor = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _newest_first(folder: Path) -> list[Path]:
    return sorted(folder.glob("epoch-*.npz"), reverse=True)


def _parse(content: bytes) -> Checkpoint:
    with np.load(io.BytesIO(content), allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    note = json.loads(arrays.pop("note").tobytes())
    return Checkpoint(epoch=note.pop("epoch"), arrays=arrays, note=note)
