"""What grows with photos, people and workers, and how fast: the exponent of each cost.

    python -m benchmarks.growth [--database postgres|sqlite] [--photos 1000,10000,100000]
                                [--people 100,1000,10000] [--workers 1,2,4,8] [--rounds 3] [--quick]

Sites of different sizes are filled by SQL as ``benchmarks.million`` does it, and take turns. At each size:
pages of a person with all the photos, an upload, a claim of 64 waiting photos among the answered ones, a pass
of the sweeper, bytes of the database. Then sites with so many people, one of whom has 1,000 photos. Last the
time of a claim while so many workers claim at once. Times are the processor's, of this process and of the
database's, the least of all turns; only claims at once are by the clock (the median of all claims).
The exponent is the slope of the logarithms, by least squares: 0 does not grow, 1 grows in proportion.
"""

from __future__ import annotations

import argparse
import io
import json
import multiprocessing
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import million, results
from benchmarks.intake import make_photo

PAGES = ("history", "history: label", "result", "calendar", "numbers", "batches", "batch", "upload", "review")
CLAIMED = 64
PHOTOS_OF_ONE = 1_000
CLAIMS = 40


def slope(found: dict[int, float]) -> float:
    """The exponent of a cost: the slope of its logarithm over that of the size."""
    sizes, costs = np.log(list(found)), np.log(np.maximum(list(found.values()), 1e-9))
    return round(float(np.polyfit(sizes, costs, 1)[0]), 3)


# --- Parts, each in a process of its own with one database ------------------------------------


def least(do: Callable[[], object], n: int) -> float:
    """Milliseconds of the processor, the least of ``n`` after one that does not count."""
    from django.db import connection

    found = []
    for _turn in range(n + 1):
        server = million.server_process(connection)
        busy = million.processor_seconds(server)
        do()
        found.append(million.processor_seconds(server) - busy)
    return min(found[1:]) * 1000


def measure(n: int, pages: bool) -> dict[str, float]:
    """Milliseconds and bytes of everything that is measured on one site."""
    million.start_django()

    from classifier.models import Photo, Prediction, User
    from classifier.operations import orphaned_files
    from classifier.operations.sweeper import Sweeper
    from classifier.uploads.photos import upload_photo

    person = User.objects.get(username="many")
    photo = make_photo(640, 480)
    found: dict[str, float] = {}

    def claim() -> None:
        mine = rows().claim(worker="bench", limit=CLAIMED)
        Prediction.objects.filter(pk__in=[row.pk for row in mine]).release()

    def rows() -> Any:
        from classifier.predictions.queue import claimable

        return claimable().order_by("id")

    with_files = Photo.objects.exclude(display="display.jpg").filter(owner=person)
    while with_files.count() < 2 * CLAIMED:
        upload_photo(person, io.BytesIO(photo), filename="new.jpg")
    found["claim of 64 photos, and giving them back"] = least(claim, n)
    found["upload of a photo (its own process's share)"] = least(
        lambda: upload_photo(person, io.BytesIO(photo), filename="new.jpg"), n
    )
    sweeper = Sweeper()
    # One pass in an hour looks at files, which these photos have none of, and at what is to expire.
    sweeper._looked_at = orphaned_files.part_of(time.time())
    sweeper._expires_from = time.monotonic() + 3_600
    found["pass of the sweeper"] = least(sweeper.sweep, n)
    if pages:
        for name, times in million.measure(Photo.objects.count(), n, "").items():
            if name in PAGES:
                found[f"page: {name}"] = min(spent for *_, spent in times) * 1000
    found["bytes of the database"] = float(database_bytes())
    files = [
        field.size
        for one in with_files[:20]
        for field in (one.display, one.thumbnail, one.predictions.get().input)
    ]
    found["bytes of files a photo (640 × 480)"] = sum(files) / min(with_files.count(), 20)
    return found


def database_bytes() -> int:
    from django.conf import settings
    from django.db import connection

    if connection.vendor == "sqlite":
        return Path(settings.DATABASES["default"]["NAME"]).stat().st_size
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_database_size(current_database())")
        return int(cursor.fetchone()[0])


def add_people(people: int) -> None:
    """So many people, who have signed up over three years and are never seen again."""
    million.start_django()
    from datetime import timedelta

    from django.utils import timezone

    from classifier.models import User

    now = timezone.now()
    rows = (
        User(
            username=f"person{number}",
            email=f"person{number}@example.org",
            password="!",
            date_joined=now - timedelta(seconds=million.YEARS * number / people),
        )
        for number in range(people)
    )
    User.objects.bulk_create(rows, batch_size=1_000)


def people_pages(n: int) -> dict[str, float]:
    """The administration's list of people, and the pages of one of them."""
    million.start_django()
    from django.test import Client

    from classifier.models import User

    client = Client()
    client.force_login(User.objects.get(username="many"))
    addresses = {
        "admin: people": "/admin/classifier/user/",
        "admin: people, by name": "/admin/classifier/user/?q=person5",
        "history": "/history/",
        "account": "/account/",
    }
    found = {}
    for name, address in addresses.items():
        if client.get(address).status_code != 200:
            raise SystemExit(f"{address} does not answer.")
        found[f"page: {name}"] = least(partial(client.get, address), n)
    return found


def claim_all(number: int, claims: int, start_at: float) -> list[float]:
    """One worker of several: claims eight waiting photos and gives them back, again and again."""
    million.start_django()
    from classifier.models import Prediction
    from classifier.predictions.queue import claimable

    rows = claimable().order_by("id")
    list(rows[:1])  # connected
    time.sleep(max(0.0, start_at - time.time()))
    seconds = []
    for _claim in range(claims):
        begun = time.perf_counter()
        mine = rows.claim(worker=f"w{number}", limit=8)
        seconds.append(time.perf_counter() - begun)
        Prediction.objects.filter(pk__in=[row.pk for row in mine]).release()
        time.sleep(0.02)  # a worker answers in between
    return seconds


def claims_at_once(workers: int, claims: int) -> float:
    """Median milliseconds of a claim while so many workers claim."""
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        start_at = time.time() + 5 + workers
        found = pool.starmap(claim_all, [(number, claims, start_at) for number in range(workers)])
    return statistics.median(second for each in found for second in each) * 1000


# --- All of it --------------------------------------------------------------------------------


def part(words: list[str], folder: Path, url: str) -> Any:
    return million.part(words, folder, url, module="benchmarks.growth")


class Sites:
    """Filled sites of different sizes."""

    def __init__(self, folder: Path, base: str) -> None:
        self.folder, self.base = folder, base

    def make(self, name: str, photos: int) -> tuple[Path, str]:
        place = self.folder / name
        place.mkdir()
        url = f"{self.base}/{name}" if self.base else f"sqlite:///{place / 'db.sqlite3'}"
        if self.base:
            million.make_database(self.base, name)
        print(f"{name}: {million.part(['fill', str(photos)], place, url)}", flush=True)
        return place, url


def together(rounds: list[dict[str, float]]) -> dict[str, float]:
    """The least of each figure over the rounds."""
    return {name: min(found[name] for found in rounds) for name in rounds[0]}


def by_photos(sites: Sites, sizes: list[int], rounds: int, n: int) -> dict[str, dict[int, float]]:
    made = {size: sites.make(f"photos{size}", size) for size in sizes}
    turns: dict[int, list[dict[str, float]]] = {size: [] for size in sizes}
    for _round in range(rounds):
        for size, site in made.items():
            turns[size].append(part(["measure", "--n", str(n)], *site))
    return turned({size: together(found) for size, found in turns.items()})


def by_people(sites: Sites, sizes: list[int], rounds: int, n: int) -> dict[str, dict[int, float]]:
    made = {}
    for size in sizes:
        made[size] = sites.make(f"people{size}", PHOTOS_OF_ONE)
        part(["add-people", str(size)], *made[size])
    turns: dict[int, list[dict[str, float]]] = {size: [] for size in sizes}
    for _round in range(rounds):
        for size, site in made.items():
            found = part(["measure", "--n", str(n), "--no-pages"], *site)
            turns[size].append(found | part(["people-pages", "--n", str(n)], *site))
    return turned({size: together(found) for size, found in turns.items()})


def by_workers(sites: Sites, sizes: list[int], rounds: int, photos: int) -> dict[str, dict[int, float]]:
    site = sites.folder / f"photos{photos}"
    url = f"{sites.base}/{site.name}" if sites.base else f"sqlite:///{site / 'db.sqlite3'}"
    turns: dict[int, list[float]] = {size: [] for size in sizes}
    for _round in range(rounds):
        for size in sizes:
            turns[size].append(part(["claims", str(size)], site, url))
    return {"claim of 8 photos, by the clock": {size: min(found) for size, found in turns.items()}}


def turned(found: dict[int, dict[str, float]]) -> dict[str, dict[int, float]]:
    names = next(iter(found.values()))
    return {name: {size: figures[name] for size, figures in found.items()} for name in names}


def rows_of(grows_with: str, found: dict[str, dict[int, float]], n: int) -> list[results.Row]:
    rows = []
    for name, costs in found.items():
        unit = "bytes" if name.startswith("bytes") else "ms"
        listed = ", ".join(f"{size:,}: {cost:.4g}" for size, cost in costs.items())
        what = f"{name}, exponent over {grows_with} ({listed} {unit})"
        rows.append(results.figure(what, slope(costs), "", n))
    return rows


def numbers(text: str) -> list[int]:
    return [int(word) for word in text.split(",")]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parts = ["measure", "add-people", "people-pages", "claims"]
    parser.add_argument("part", nargs="?", choices=parts, help=argparse.SUPPRESS)
    parser.add_argument("size", nargs="?", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--no-pages", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--database", choices=["sqlite", "postgres"], default="postgres")
    parser.add_argument("--photos", type=numbers, default=[1_000, 10_000, 100_000])
    parser.add_argument("--people", type=numbers, default=[100, 1_000, 10_000])
    parser.add_argument("--workers", type=numbers, default=[1, 2, 4, 8])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--n", type=int, default=5, help="how often each is done in a round")
    parser.add_argument("--quick", action="store_true", help="small sizes, once: says nothing")
    arguments = parser.parse_args()
    if arguments.part:
        print(json.dumps(run_part(arguments)))
        return
    if arguments.quick:
        arguments.photos, arguments.people, arguments.workers = [200, 400, 800], [10, 20, 40], [1, 2]
        arguments.rounds, arguments.n = 1, 1
    # One person has them all, and uploads one more.
    os.environ["QUOTA_PHOTOS"] = str(10 * max(arguments.photos))
    folder = Path(tempfile.mkdtemp(prefix="cifarsite-growth-"))
    try:
        if arguments.database == "postgres":
            with million.postgres(folder) as base:
                found = compare(arguments, Sites(folder, base))
        else:
            found = compare(arguments, Sites(folder, ""))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    n = arguments.rounds * arguments.n
    results.write(
        f"growth-{arguments.database}",
        [row for grows_with, costs in found.items() for row in rows_of(grows_with, costs, n)],
        quick=arguments.quick,
        database=arguments.database,
        costs=found,
    )


def run_part(arguments: argparse.Namespace) -> Any:
    if arguments.part == "measure":
        return measure(arguments.n, not arguments.no_pages)
    if arguments.part == "people-pages":
        return people_pages(arguments.n)
    if arguments.part == "claims":
        return claims_at_once(arguments.size, CLAIMS)
    return add_people(arguments.size)


def compare(arguments: argparse.Namespace, sites: Sites) -> dict[str, dict[str, dict[int, float]]]:
    return {
        "photos": by_photos(sites, arguments.photos, arguments.rounds, arguments.n),
        "people": by_people(sites, arguments.people, arguments.rounds, arguments.n),
        "workers": by_workers(sites, arguments.workers, arguments.rounds, arguments.photos[-1]),
    }


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    main()
