"""Files in which the processes of this host count: those of dead ones are added up into one.

prometheus_client keeps a file a process and kind for ever, so that counters never fall; with every worker
that gunicorn or Celery replaces there would be more of them, and each look at the metrics reads all.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from prometheus_client.mmap_dict import MmapedDict
from prometheus_client.multiprocess import MultiProcessCollector

# Figures that are sums; others would need to know which process they are of.
KINDS = ("counter", "histogram", "summary")


class AllProcesses(MultiProcessCollector):
    """What all processes of this host counted, the dead ones too; never while files are added up."""

    def collect(self) -> Any:
        add_up_dead()
        with _alone(Path(os.environ["PROMETHEUS_MULTIPROC_DIR"])):
            return super().collect()  # type: ignore[no-untyped-call]


def add_up_dead() -> int:
    """Move what processes that are no longer there counted to one file a kind. Returns how many files went.

    What was counted stays; a process that is lost between adding a file up and removing it leaves it to be
    counted twice.
    """
    name = os.environ.get("PROMETHEUS_MULTIPROC_DIR", "")
    folder = Path(name)
    if not name or not folder.is_dir():
        return 0
    with _alone(folder):
        dead = list(_dead_files(folder))
        for kind, file in dead:
            _add(file, folder / f"{kind}_gone.db")
            file.unlink()
    return len(dead)


def _add(file: Path, total: Path) -> None:
    sums = MmapedDict(str(total))  # type: ignore[no-untyped-call]
    try:
        counted: Any = MmapedDict.read_all_values_from_file(str(file))  # type: ignore[no-untyped-call]
        for key, value, at, _place in counted:
            before, _at = sums.read_value(key)  # type: ignore[no-untyped-call]
            sums.write_value(key, before + value, at)  # type: ignore[no-untyped-call]
    finally:
        sums.close()  # type: ignore[no-untyped-call]


def _dead_files(folder: Path) -> Iterator[tuple[str, Path]]:
    for file in sorted(folder.glob("*.db")):
        kind, _, pid = file.stem.rpartition("_")
        if kind in KINDS and pid.isdecimal() and not _lives(int(pid)):
            yield kind, file


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    with (folder / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
