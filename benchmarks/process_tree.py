"""What a process and its descendants take of the machine: memory, and seconds of the processor (Linux)."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

PARTS = {
    "gunicorn": "web",
    "classifier.images.sandbox_child": "decoder",
    "predict@": "prediction worker",
    "train@": "training worker",
    "manage.py recover": "sweeper",
    "cifarsite.supervisor": "supervisor",
}
TICK = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Weight:
    """Resident memory in MB (10^6 bytes).

    Attributes:
        rss: all pages that the process has in memory, those too that it shares with others.
        pss: the same with each shared page divided among those that share it: over all processes
            these add up to what is really taken.
        own: pages that no other process has: what would be free if it ended.
    """

    rss: float
    pss: float
    own: float


def tree(root: int) -> list[int]:
    """A process and its descendants that live, whatever groups and sessions they made."""
    children: dict[int, list[int]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue  # it has just ended
        children.setdefault(parent, []).append(int(folder.name))
    found = [root]
    for pid in found:
        found += children.get(pid, [])
    return found


def words(pid: int) -> str:
    """The command line; empty where the process is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


def part(pid: int) -> str:
    """Which of the site's processes it is; 'rest' for another."""
    line = words(pid)
    return next((name for sign, name in PARTS.items() if sign in line), "rest")


def processor_seconds(root: int) -> Counter[str]:
    """Of a process and its descendants, by part, those included that have ended and were waited for."""
    total: Counter[str] = Counter()
    for pid in tree(root):
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        total[part(pid)] += sum(map(int, fields[11:15]))  # utime, stime, cutime, cstime
    return Counter({name: ticks / TICK for name, ticks in total.items()})


def weight(pid: int) -> Weight:
    """The memory of one process."""
    found: dict[str, int] = {}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
        name, value, *_unit = line.split()
        found[name.rstrip(":")] = int(value) * 1024
    own = found["Private_Clean"] + found["Private_Dirty"]
    return Weight(*(round(size / 1e6, 1) for size in (found["Rss"], found["Pss"], own)))
