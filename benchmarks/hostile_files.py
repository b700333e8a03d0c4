"""What a decoder process spends on files made to do harm, and on those of ../shared/images.

    python -m benchmarks.hostile_files [--quick]

docs/security.md sums up its table. A decoder may take 300 MB and a second of the processor a file.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "cifarsite.settings")

from benchmarks import results
from classifier.images.errors import ImageRefused
from classifier.images.sandbox import check_isolated
from classifier.tests.images.hostile import FILES, Spent, measured
from classifier.tests.images.test_validation import LIMITS, encode, picture

MOST_MB, MOST_SECONDS = 300, 1
SHARED = Path(__file__).resolve().parent.parent.parent / "shared" / "images"


def spend(data: bytes) -> tuple[str, Spent]:
    with measured() as spent:
        try:
            check_isolated(data, preprocessing="squash32-v1", limits=LIMITS)
            outcome = "accepted"
        except ImageRefused as refusal:
            outcome = refusal.code
    return outcome, spent


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a few of the files")
    quick = parser.parse_args().quick
    most = 3 if quick else None
    table: dict[str, dict[str, object]] = {}
    spend(encode(picture(), "JPEG"))  # starts the process
    print("| file | size, MB | answer | memory, MB | processor, s |")
    print("| --- | --- | --- | --- | --- |")
    worst_made = Spent()
    for name, (made, _expected) in list(FILES.items())[:most]:
        data = made()
        outcome, spent = spend(data)
        size = len(data) / 1e6
        print(f"| {name} | {size:.1f} | {outcome} | {spent.megabytes:.0f} | {spent.seconds:.2f} |")
        table[name] = {
            "size_mb": round(size, 1),
            "answer": outcome,
            "memory_mb": round(spent.megabytes, 1),
            "processor_s": round(spent.seconds, 2),
        }
        worst_made = _worst(worst_made, spent)
    worst = Spent()
    files = [path for path in sorted(SHARED.rglob("*")) if path.is_file()][:most]
    for path in files:
        _outcome, spent = spend(path.read_bytes())
        worst = _worst(worst, spent)
    print(f"| the worst of the {len(files)} hard files | | | {worst.megabytes:.0f} | {worst.seconds:.2f} |")
    rows = []
    for kind, of, n in (
        ("made to do harm", worst_made, len(table)),
        ("of ../shared/images", worst, len(files)),
    ):
        what = f"the worst file {kind}, in a decoder"
        rows += [
            results.figure(f"{what}: memory", of.megabytes, "MB", n, at_most=MOST_MB),
            results.figure(f"{what}: processor", of.seconds, "s", n, at_most=MOST_SECONDS),
        ]
    results.write("hostile_files", rows if files else rows[:2], quick=quick, files=table)


def _worst(one: Spent, other: Spent) -> Spent:
    return Spent(max(one.megabytes, other.megabytes), max(one.seconds, other.seconds))


if __name__ == "__main__":
    main()
