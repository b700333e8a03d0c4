"""What each kind of a site's processes spends: the processor's time and memory (Linux)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from benchmarks.process_tree import TICK, part, tree

WORKER = "prediction worker"


def kinds(root: int) -> Iterator[tuple[Path, str]]:
    """(folder in /proc, kind) of each living process of the site that process ``root`` started."""
    found: dict[int, str] = {}
    for pid in tree(root):  # parents before their children
        found[pid] = part(pid)
        if found[pid] == "decoder":
            found[pid] = f"decoders of the {found.get(_parent(pid), 'site')}"
        yield Path(f"/proc/{pid}"), found[pid]


def spent(root: int) -> dict[str, float]:
    """Seconds of the processor so far by kind; a worker's own thread apart from TensorFlow's.

    Decoders that ended are counted by their parent.
    """
    seconds: dict[str, float] = defaultdict(float)
    for place, kind in kinds(root):
        try:
            if kind == WORKER:
                for task in (place / "task").iterdir():
                    mine = task.name == place.name
                    name = kind if mine else f"{kind}, the model's and other threads"
                    seconds[name] += _seconds(task, 11)
            else:
                seconds[kind] += _seconds(place, 11)
            if kind in ("web", WORKER):
                seconds[f"decoders of the {kind}"] += _seconds(place, 13)
        except OSError:
            continue  # it has just ended
    return seconds


def peaks(root: int) -> dict[str, int]:
    """The largest resident memory so far of one process of each kind, in bytes."""
    sizes: dict[str, int] = defaultdict(int)
    for place, kind in kinds(root):
        try:
            lines = (place / "status").read_text().splitlines()
        except OSError:
            continue
        size = next((int(line.split()[1]) for line in lines if line.startswith("VmHWM")), 0) * 1024
        sizes[kind] = max(sizes[kind], size)
    return sizes


def _parent(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def _seconds(place: Path, first: int) -> float:
    """User's and system's: fields 11 and 12 are its own, 13 and 14 those of children that ended."""
    fields = (place / "stat").read_text().rpartition(")")[2].split()
    return (int(fields[first]) + int(fields[first + 1])) / TICK
