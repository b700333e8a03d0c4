"""What a benchmark found, in one shape: ``make bench`` puts all of it into one table.

    rows = [ratio("photos in bulk", ours=310.2, peer=400.1, unit="photos/s", n=3, at_least=0.7)]
    write("bulk", rows, photos=10_000)

writes ``results/bulk.json`` with the rows, the details and the machine, and prints the rows. ``quick``
is for a run at a size that says nothing about speed: its figures go to ``var/`` and not over the kept ones.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import subprocess
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypedDict

ROOT = Path(__file__).parent.parent
RESULTS = Path(__file__).parent / "results"
QUICK_RESULTS = ROOT / "var" / "benchmarks" / "quick"
PACKAGES = [
    "Django",
    "tensorflow-cpu",
    "tensorflow",
    "keras",
    "numpy",
    "pillow",
    "celery",
    "gunicorn",
    "redis",
]
# Before the benchmark made a load of its own.
LOAD_BEFORE = os.getloadavg()[0]


class Row(TypedDict):
    """One line of the table. ``ratio`` is always ours / peer; ``met`` is None where there is no goal."""

    what: str
    goal: str
    ours: float
    peer: float | None
    ratio: float | None
    unit: str
    n: int
    met: bool | None


def ratio(
    what: str,
    ours: float,
    peer: float,
    unit: str,
    n: int,
    *,
    at_least: float | None = None,
    at_most: float | None = None,
) -> Row:
    """A figure beside its peer's of the same run. The goal, if any, is one for ours / peer."""
    found = ours / peer if peer else float("inf")
    goal, met = _judge(found, " ×", at_least, at_most)
    return {
        "what": what,
        "goal": goal,
        "ours": _short(ours),
        "peer": _short(peer),
        "ratio": _short(found),
        "unit": unit,
        "n": n,
        "met": met,
    }


def figure(
    what: str,
    ours: float,
    unit: str,
    n: int,
    *,
    at_least: float | None = None,
    at_most: float | None = None,
) -> Row:
    """A figure with a goal of its own, in its unit, or with none."""
    goal, met = _judge(ours, f" {unit}", at_least, at_most)
    return {
        "what": what,
        "goal": goal,
        "ours": _short(ours),
        "peer": None,
        "ratio": None,
        "unit": unit,
        "n": n,
        "met": met,
    }


def _judge(found: float, unit: str, at_least: float | None, at_most: float | None) -> tuple[str, bool | None]:
    if at_least is not None:
        return f"≥ {at_least:g}{unit}", found >= at_least
    if at_most is not None:
        return f"≤ {at_most:g}{unit}", found <= at_most
    return "", None


def _short(number: float) -> float:
    return float(f"{number:.4g}")


def path_of(name: str, quick: bool = False) -> Path:
    """Where a benchmark's result is kept."""
    return (QUICK_RESULTS if quick else RESULTS) / f"{name}.json"


def write(name: str, rows: Iterable[Row], *, quick: bool = False, **details: Any) -> Path:
    """Keep what benchmark ``name`` found, with the machine that it ran on; print its rows."""
    rows = list(rows)
    path = path_of(name, quick)
    path.parent.mkdir(parents=True, exist_ok=True)
    found = {"rows": rows, **details, "machine": machine()}
    path.write_text(json.dumps(found, indent=2, ensure_ascii=False) + "\n")
    print(table(rows), flush=True)
    print(f"(written to {path.relative_to(ROOT)})", flush=True)
    return path


def read(quick: bool = False) -> dict[str, list[Row]]:
    """The rows of each kept result, by the benchmark's name."""
    found = {}
    for path in sorted((QUICK_RESULTS if quick else RESULTS).glob("*.json")):
        found[path.stem] = json.loads(path.read_text()).get("rows", [])
    return found


def table(rows: Iterable[Row]) -> str:
    """The rows as text: row, goal, measured, peer, ratio, met or not."""
    lines = [("row", "goal", "ours", "peer", "ratio", "")]
    for row in rows:
        peer = "" if row["peer"] is None else f"{row['peer']:g} {row['unit']}"
        times = "" if row["ratio"] is None else f"{row['ratio']:.2f}"
        met = {True: "met", False: "NOT met", None: ""}[row["met"]]
        lines.append((row["what"], row["goal"], f"{row['ours']:g} {row['unit']}", peer, times, met))
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def machine() -> dict[str, Any]:
    """Where and with what it was measured. Load averages count waiting processes, other people's too."""
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": _commit(),
        "cores": usable,
        "processor": _processor(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        "load_before": round(LOAD_BEFORE, 1),
        "load_after": round(os.getloadavg()[0], 1),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": versions,
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "")


def _commit() -> str:
    """The project's commit; ``+`` after it where files were changed since."""
    words = ["git", "-C", str(ROOT), "describe", "--always", "--dirty=+", "--exclude=*"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    return done.stdout.strip()
