"""``make bench``: every benchmark of this folder, the quick ones first, and one table of all that they found.

    python -m benchmarks [--all] [--quick] [NAME ...]

A module that can be run is a benchmark. Each runs as a process of its own: one that fails does not stop
the others, is named at the end, and makes this end with 1. A goal that is not met does not.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path

from benchmarks import results
from conftest import postgres_folder

HERE = Path(__file__).parent
# Seconds to minutes each, on two cores; what is not named here comes after them.
ORDER = ["intake", "hostile_files", "memory", "start", "workers", "uploads", "fairness", "batch"]
# Tens of minutes to hours: only with --all, or when named.
LONG = ["growth", "load", "training", "million"]
# Runs others, to look at them.
NO_BENCHMARKS = ("__main__", "flames")


def benchmarks() -> list[str]:
    """The names of all, in the order in which they run."""
    names = [
        file.stem
        for file in sorted(HERE.glob("*.py"))
        if file.stem not in NO_BENCHMARKS and 'if __name__ == "__main__":' in file.read_text()
    ]
    places = {name: place for place, name in enumerate(ORDER)}
    return [
        *sorted((name for name in names if name not in LONG), key=lambda name: places.get(name, len(places))),
        *(name for name in LONG if name in names),
    ]


def words_of(name: str, quick: bool) -> list[str]:
    """What a benchmark is called with."""
    more = ["--quick"] if quick else []
    if name == "load" and not quick:
        more = ["600"]
    if name in ("growth", "million"):
        more += ["--database", "postgres" if postgres_folder() else "sqlite"]
    return [sys.executable, "-m", f"benchmarks.{name}", *more]


def main() -> int:
    known = benchmarks()
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"some of: {', '.join(known)}")
    parser.add_argument("--all", action="store_true", help=f"the long ones too: {', '.join(LONG)}")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, only to see that all of them run")
    arguments = parser.parse_args()
    if unknown := [name for name in arguments.names if name not in known]:
        parser.error(f"there is no benchmark {unknown[0]!r}; there are: {', '.join(known)}")
    chosen = arguments.names or [name for name in known if arguments.all or name not in LONG]
    failed, since = [], time.time()
    for name in chosen:
        print(f"\n== {name}", flush=True)
        began = time.monotonic()
        status = subprocess.run(words_of(name, arguments.quick), cwd=HERE.parent).returncode
        print(f"-- {name}: {time.monotonic() - began:.0f} s", flush=True)
        if status:
            print(f"{name} FAILED with status {status}", flush=True)
            failed.append(name)
    found = results.read(arguments.quick)
    rows = []
    for name, of in found.items():
        is_new = results.path_of(name, arguments.quick).stat().st_mtime >= since
        rows += [row if is_new else {**row, "what": f"{row['what']} (an earlier run)"} for row in of]
    print(f"\n{results.table(rows)}\n")
    met = [row["met"] for row in rows if row["met"] is not None]
    print(f"{sum(met)} of {len(met)} goals are met.")
    if failed:
        print(f"These benchmarks failed, see above: {', '.join(failed)}.")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
