"""What a decoder process spends on files made to do harm, and on those of ../shared/images.

Run it by itself: ``python -m benchmarks.hostile_files``. It prints the table of docs/security.md.
"""

from __future__ import annotations

import os
from pathlib import Path

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "cifarsite.settings")

from classifier.decoder import check_isolated
from classifier.image_checks import ImageRefused
from classifier.tests.hostile import FILES, Spent, measured
from classifier.tests.test_image_checks import LIMITS, encode, picture

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
    spend(encode(picture(), "JPEG"))  # starts the process
    print("| file | size, MB | answer | memory, MB | processor, s |")
    print("| --- | --- | --- | --- | --- |")
    for name, (made, _expected) in FILES.items():
        data = made()
        outcome, spent = spend(data)
        size = len(data) / 1e6
        print(f"| {name} | {size:.1f} | {outcome} | {spent.megabytes:.0f} | {spent.seconds:.2f} |")
    worst = Spent()
    files = [path for path in sorted(SHARED.rglob("*")) if path.is_file()]
    for path in files:
        _outcome, spent = spend(path.read_bytes())
        worst = Spent(max(worst.megabytes, spent.megabytes), max(worst.seconds, spent.seconds))
    print(f"| the worst of the {len(files)} hard files | | | {worst.megabytes:.0f} | {worst.seconds:.2f} |")


if __name__ == "__main__":
    main()
