"""Flame graphs: where the site's processes spend their time while it does what a benchmark measures.

    python -m benchmarks.flames FOLDER [NAME ...]

py-spy looks 100 times a second at which functions run or wait for a core; those that wait for anything else
do not count, and neither does importing, except in ``start``. Each graph is an SVG in FOLDER: a box is as
wide as its share of all looks, below what it calls; a mouse over it tells the share. Boxes of less than
1 % are left out. The benchmarks' own figures are not kept: being looked at costs time. py-spy must be
allowed to read other processes: run this as root, or with ``kernel.yama.ptrace_scope`` 0.
"""

from __future__ import annotations

import argparse
import html
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from importlib import import_module
from pathlib import Path
from typing import NamedTuple
from unittest import mock

from benchmarks import batch, results, uploads
from benchmarks.clients import Photo, Turns, take_turn
from benchmarks.intake import make_photo
from benchmarks.process_tree import PARTS

SECONDS, ONE_BY_ONE = 15, 90
SECONDS_AT_MOST = 900
LOOKS_A_SECOND = 100
LEAST = 0.01
WIDTH, ROW = 1200, 15
# Of which kind a process is, by its command line.
KINDS = {
    **PARTS,
    "--queues predict": "prediction worker",
    "manage.py prepare": "prepare",
    "million measure 1000000": "requests",
}
# Innermost frames that wait: py-spy takes one look in a hundred at a waiting thread for a busy one.
WAITING = re.compile(
    r"([\w.<>]*\.)?(wait|wait_for|get|_?poll|select|acquire|accept|_?recv\w*|_?receive\w*|readinto|body|run) "
    r"\(.*(threading|queue|selectors|connection|socket|pool|synchronize|subprocess|sandbox|sandbox_child)\.py"
)
# Frames that stand below everything and say nothing.
NOISE = re.compile(
    r"(Thread\.\w+|_worker|_run_\w+|<module>|<lambda>|main) |_WorkItem|convert_exception_to_response"
    r"|MiddlewareMixin|(Arbiter|BaseApplication|WSGIApplication|Application)\."
)


# --- What is looked at ------------------------------------------------------------------------

Work = tuple[int, Callable[[], object]]


@contextmanager
def clients(variant: str, many: int) -> Iterator[Work]:
    """People who upload, one photo after the other; one alone with pauses."""
    photos = [Photo(make_photo(640, 480))]
    with tempfile.TemporaryDirectory() as folder, uploads.running_site(variant, Path(folder), many) as site:
        take_turn(site, photos, 10, Turns())
        if many > 1:
            yield site.pid, lambda: uploads.side_by_side([site], photos, SECONDS, rounds=1)
        else:
            yield site.pid, lambda: uploads.one_by_one([site], photos, n=ONE_BY_ONE)


@contextmanager
def archive(photos: int) -> Iterator[Work]:
    """A ZIP of drawn JPEGs."""
    with tempfile.TemporaryDirectory() as folder, uploads.running_site("embedded", Path(folder), 1) as site:
        file = Path(folder) / "photos.zip"
        batch.make_archive(file, photos, Path(folder) / "drawn")
        time.sleep(10)
        yield site.pid, lambda: site.send_archive(file)


@contextmanager
def benchmark(name: str, *words: str) -> Iterator[Work]:
    """All of another benchmark, whose figures are not kept."""
    module = import_module(f"benchmarks.{name}")
    with mock.patch.object(sys, "argv", [name, *words]), mock.patch.object(results, "write"):
        yield os.getpid(), module.main


class Row(NamedTuple):
    """What is done; by which kinds of processes, "here" being this one; below which function, if not all."""

    work: Callable[[], AbstractContextManager[Work]]
    kinds: tuple[str, ...]
    below: str = ""
    imports: bool = False


SITE = ("web", "decoder", "prediction worker")
ROWS = {
    "clients": Row(lambda: clients("embedded", 32), SITE),
    "idle": Row(lambda: clients("embedded", 1), SITE),
    "idle-redis": Row(lambda: clients("redis", 1), SITE),
    "archive": Row(lambda: archive(1_000), SITE),
    "search": Row(
        lambda: benchmark("million", "--database", "postgres", "--only", "one in 500", "--n", "40"),
        ("requests",),
    ),
    "workers": Row(
        lambda: benchmark("workers", "--photos", "2000", "--rounds", "1", "--way", "simulated"), SITE
    ),
    "intake": Row(lambda: benchmark("intake", "--n", "20"), ("here",), below="ours"),
    "start": Row(
        lambda: benchmark("start", "--skip-first", "--n", "2"), (*SITE, "prepare", "supervisor"), imports=True
    ),
}


# --- Looking ----------------------------------------------------------------------------------


def record(work: Work) -> Counter[tuple[str, ...]]:
    """How often which stack was met, outermost first, while the work was done; a process is a frame too."""
    pid, do = work
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "stacks"
        words = [str(Path(sys.executable).with_name("py-spy")), "record", "--subprocesses", "--format", "raw"]
        words += ["--output", str(file), "--rate", str(LOOKS_A_SECOND), "--duration", str(SECONDS_AT_MOST)]
        words += ["--pid", str(pid)]
        spy = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        try:
            time.sleep(2)
            do()
        finally:
            spy.send_signal(signal.SIGINT)  # it writes what it has
            _out, said = spy.communicate(timeout=120)
        if not file.exists():
            raise SystemExit(f"py-spy: {said.strip()}")
        return read(file.read_text(errors="replace"))


def read(text: str) -> Counter[tuple[str, ...]]:
    """py-spy's ``raw`` format: a stack a line, its frames between semicolons, and how often it was met."""
    found: Counter[tuple[str, ...]] = Counter()
    # Command lines are frames too, and may hold both separators.
    text = re.sub(r'process \d+:"[^"]*"', lambda command: re.sub(r"[;\n]", " ", command[0]), text)
    for line in text.splitlines():
        stack, _space, times = line.rpartition(" ")
        if times.isdigit():  # else a piece of a command line with quotes in it, a shell's
            found[tuple(stack.split(";"))] += int(times)
    return found


def readable(stacks: Counter[tuple[str, ...]], row: Row) -> Counter[tuple[str, ...]]:
    """Of the row's kinds of processes alone, with the names that people know."""
    found: Counter[tuple[str, ...]] = Counter()
    for stack, times in stacks.items():
        if WAITING.match(stack[-1]):
            continue
        if not row.imports and any("importlib._bootstrap" in frame for frame in stack):
            continue
        last = max((place for place, frame in enumerate(stack) if frame.startswith("process ")), default=-1)
        kind = next((kind for words, kind in KINDS.items() if last >= 0 and words in stack[last]), "here")
        if kind not in row.kinds:
            continue
        frames = [name_of(frame) for frame in stack[last + 1 :] if not NOISE.match(frame)]
        if row.below:
            names = [frame.partition(" (")[0] for frame in frames]
            if row.below not in names:
                continue
            frames = frames[names.index(row.below) + 1 :]
        found[(kind, *frames)] += times
    return found


def name_of(frame: str) -> str:
    """'check (classifier/images/validation.py:12)' without the line, and without most of the folders."""
    function, _space, place = re.sub(r":\d+\)$", ")", frame).rpartition(" (")
    return f"{function} ({'/'.join(place.split('/')[-2:])}" if function else frame


# --- Drawing ----------------------------------------------------------------------------------


def draw(title: str, stacks: Counter[tuple[str, ...]]) -> str:
    """An SVG. Frames of the site itself are darker."""
    total = stacks.total()
    boxes: list[tuple[str, int, int, int]] = []  # name, depth, where it begins, how often

    def place(name: str, depth: int, begin: int, inside: list[tuple[tuple[str, ...], int]]) -> None:
        times = sum(count for _stack, count in inside)
        if times < LEAST * total:
            return
        boxes.append((name, depth, begin, times))
        callees: dict[str, list[tuple[tuple[str, ...], int]]] = {}
        for stack, count in inside:
            if len(stack) > depth:
                callees.setdefault(stack[depth], []).append((stack, count))
        for callee, of in sorted(callees.items(), key=lambda item: -sum(count for _stack, count in item[1])):
            place(callee, depth + 1, begin, of)
            begin += sum(count for _stack, count in of)

    place(f"{title}, {total:,} looks", 0, 0, list(stacks.items()))
    height = (max((depth for _name, depth, _begin, _times in boxes), default=0) + 1) * ROW
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
        'font-family="sans-serif" font-size="10">'
    ]
    for name, depth, begin, times in boxes:
        x, width, y = begin / total * WIDTH, times / total * WIDTH, height - (depth + 1) * ROW
        room = int(width / 5.6)
        text = name if len(name) <= room else f"{name[: room - 1]}…" if room > 4 else ""
        label = f'<text x="{x + 2:.1f}" y="{y + 11}">{html.escape(text)}</text>' if text else ""
        lines.append(
            f"<g><title>{html.escape(name)}: {times / total:.1%}</title>"
            f'<rect x="{x:.1f}" y="{y}" width="{width:.1f}" height="{ROW - 1}" fill="{colour(name)}"/>'
            f"{label}</g>"
        )
    return "\n".join([*lines, "</svg>", ""])


def colour(name: str) -> str:
    if "(" not in name:
        return "#9ab7d3"
    folder = Path(name.rpartition(" (")[2].rstrip(")")).parts[0]
    return "#e88b5a" if folder in OWN else "#efd08c"


# The site's own folders, by which its functions are known.
OWN = {
    folder.name
    for top in ("cifarsite", "classifier", "training")
    for folder in [Path(top), *Path(top).rglob("*")]
    if folder.is_dir()
}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"some of: {', '.join(ROWS)}")
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    for name in arguments.names or ROWS:
        row = ROWS[name]
        with row.work() as work:
            stacks = readable(record(work), row)
        if not stacks:
            raise SystemExit(f"{name}: no process of {', '.join(row.kinds)} was met.")
        file = arguments.folder / f"{name}.svg"
        file.write_text(draw(name, stacks))
        print(f"{file}: {stacks.total():,} looks", flush=True)


if __name__ == "__main__":
    main()
