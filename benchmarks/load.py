"""Twice as many photos as the site can take, for minutes: what it says, what it keeps, what it weighs.

    python -m benchmarks.load [SECONDS] [--times 2] [--quick]      default 60

The site is one of its own on this machine, as `make run` starts it: two web processes, a prediction
worker, the sweeper, SQLite. First a few clients that each wait for their answer find out how many
photos a second it accepts. Then ``--times`` as many are sent, whatever it answers. The load comes from the
same machine and is paid for by it.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import json
import os
import statistics
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks import results
from benchmarks.clients import MULTIPART, Connections, Photo
from cifarsite.tests.hosts import Host
from conftest import free_port, wait_until

CLIENTS = 6
TWICE = 2.0
# A page that a person may ask for meanwhile: it has to be answered too.
PAGE_EVERY = 1.0
PATIENCE = 60.0


@dataclass
class Seen:
    """What the clients were told."""

    statuses: Counter[str] = field(default_factory=Counter)
    accepted: list[str] = field(default_factory=list)
    seconds_accepted: list[float] = field(default_factory=list)
    seconds_refused: list[float] = field(default_factory=list)
    seconds_of_pages: list[float] = field(default_factory=list)
    without_retry_after: int = 0


def photo(number: int) -> bytes:
    """A JPEG of 1,600 × 1,200 pixels and some 400 KB, with the detail of a photo."""
    rng = np.random.default_rng(number)
    coarse = rng.integers(0, 255, (12, 16, 3), dtype=np.uint8)
    image = Image.fromarray(coarse).resize((1600, 1200), Image.Resampling.BICUBIC)
    grain = rng.normal(0, 9, (1200, 1600, 1))
    made = Image.fromarray(np.clip(np.asarray(image) + grain, 0, 255).astype(np.uint8))
    file = io.BytesIO()
    made.save(file, "JPEG", quality=85)
    return file.getvalue()


async def send(site: Connections, photo: Photo, seen: Seen) -> None:
    started = time.perf_counter()
    form = photo.forms["file"]
    headers = f"Content-Type: {MULTIPART['Content-Type']}\r\nContent-Length: {len(form)}\r\n"
    try:
        status, found, body = await site.ask("POST /api/v1/photos", headers, form)
    except (OSError, EOFError) as error:
        seen.statuses[type(error).__name__] += 1
        return
    seconds = time.perf_counter() - started
    seen.statuses[str(status)] += 1
    if status == 202:
        seen.accepted += [taken["id"] for taken in json.loads(body)["photos"]]
        seen.seconds_accepted.append(seconds)
    else:
        seen.seconds_refused.append(seconds)
        seen.without_retry_after += "retry-after" not in found


async def find_capacity(site: Connections, photos: list[Photo], seconds: float, seen: Seen) -> float:
    """Photos a second that are accepted when each client waits for its answer."""
    end = time.perf_counter() + seconds

    async def one(number: int) -> None:
        while time.perf_counter() < end:
            await send(site, photos[number % len(photos)], seen)

    before, started = len(seen.accepted), time.perf_counter()
    await asyncio.gather(*(one(number) for number in range(CLIENTS)))
    return (len(seen.accepted) - before) / (time.perf_counter() - started)


async def overload(
    site: Connections, photos: list[Photo], rate: float, seconds: float, seen: Seen, weigh: Any
) -> None:
    """Send ``rate`` photos a second, whatever comes back."""
    started = time.perf_counter()
    under_way: set[asyncio.Task[None]] = set()

    async def look() -> None:
        while True:
            await asyncio.sleep(PAGE_EVERY)
            begun = time.perf_counter()
            try:
                status, _headers, _body = await site.ask("GET /healthz")
            except (OSError, EOFError) as error:
                seen.statuses[f"page: {type(error).__name__}"] += 1
                continue
            seen.statuses[str(status)] += 1
            seen.seconds_of_pages.append(time.perf_counter() - begun)

    async def scale() -> None:
        while True:
            await asyncio.to_thread(weigh)
            await asyncio.sleep(5)

    beside = [asyncio.create_task(look()), asyncio.create_task(scale())]
    number = 0
    while (now := time.perf_counter() - started) < seconds:
        while number < now * rate:
            task = asyncio.create_task(send(site, photos[number % len(photos)], seen))
            under_way.add(task)
            task.add_done_callback(under_way.discard)
            number += 1
        await asyncio.sleep(0.01)
    await asyncio.gather(*under_way)
    for task in beside:
        task.cancel()
    await asyncio.gather(*beside, return_exceptions=True)


def weight(host: Host) -> float:
    """MiB that the site's processes take, shared pages divided among those that share them."""
    marked = f"VAR_DIR={host.folder}".encode()
    total = 0
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            own = marked in (folder / "environ").read_bytes().split(b"\0")
            decoder = b"classifier.images.sandbox_child" in (folder / "cmdline").read_bytes()
            if own or (decoder and _child_of(folder, marked)):
                text = (folder / "smaps_rollup").read_text()
                total += next(int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:"))
        except (OSError, StopIteration):
            continue
    return total / 1024


def _child_of(folder: Path, marked: bytes) -> bool:
    """Decoders know no settings; their parents do."""
    parent = (folder / "stat").read_text().rpartition(")")[2].split()[1]
    return marked in Path(f"/proc/{parent}/environ").read_bytes().split(b"\0")


def measure(
    seconds: float, *, capacity_seconds: float = 30, times: float = TWICE, **settings: Any
) -> dict[str, Any]:
    """Run it all; the figures."""
    with tempfile.TemporaryDirectory(prefix="load-") as name:
        host = Host(Path(name) / "site", LEASE_SECONDS=30, HEARTBEAT_SECONDS=5, **settings)
        try:
            return _measure(host, seconds, capacity_seconds, times)
        finally:
            host.destroy()


def _measure(host: Host, seconds: float, capacity_seconds: float, times: float) -> dict[str, Any]:
    token, port = host.prepare(), free_port()
    host.serve(port)
    host.start_worker("w1")
    host.python("manage.py", "recover", "--every", "15", name="sweeper")
    host.wait_for_worker("w1")
    photos = [Photo(photo(number)) for number in range(8)]
    warm, crowd, seen = Seen(), Seen(), Seen()
    weights: list[tuple[float, float]] = []
    began = time.perf_counter()

    def weigh() -> None:
        weights.append((time.perf_counter() - began, weight(host)))

    async def run() -> float:
        site = Connections(port, token, PATIENCE)
        await find_capacity(site, photos, min(capacity_seconds, 10), warm)
        found = await find_capacity(site, photos, capacity_seconds, warm)
        # What the first moments of too much load take is not growth: every thread has had its photo.
        await overload(site, photos, times * found, min(capacity_seconds, 20), crowd, weigh)
        weights.clear()
        await overload(site, photos, times * found, seconds, seen, weigh)
        site.close()
        return found

    capacity = asyncio.run(run())
    accepted = [*warm.accepted, *crowd.accepted, *seen.accepted]
    ended = time.perf_counter()
    open_now = host.ask(OPEN)["open"]
    wait_until(lambda: not host.ask(OPEN)["open"], "the last answers", 900)
    rows = host.ask(OPEN)
    weigh()
    third = max(len(weights) // 5, 1)
    first = statistics.median(w for _, w in weights[1 : third + 1] or weights[:1])
    last = statistics.median(w for _, w in weights[-third - 1 : -1] or weights[-1:])
    return {
        "seconds": seconds,
        "cores": os.cpu_count(),
        "load_average": os.getloadavg()[1],
        "photo_bytes": photos[0].size,
        "capacity_photos_per_second": round(capacity, 2),
        "offered_photos_per_second": round(times * capacity, 2),
        "statuses": dict(seen.statuses),
        "statuses_before": dict(warm.statuses + crowd.statuses),
        "refusals_without_retry_after": seen.without_retry_after,
        "accepted": len(accepted),
        "answered": rows["done"],
        "lost": len(accepted) - rows["done"],
        "waiting_at_the_end": open_now,
        "seconds_until_all_were_answered": round(time.perf_counter() - ended, 1),
        "accepted_seconds": percentiles(seen.seconds_accepted),
        "refused_seconds": percentiles(seen.seconds_refused),
        "healthz_seconds": percentiles(seen.seconds_of_pages),
        "memory_mib": {"first": round(first), "last": round(last), "growth": round(last / first - 1, 4)},
    }


OPEN = """
from classifier.models import Prediction as P
answer = {"open": P.objects.filter(status__in=["queued", "running"]).count(),
          "done": P.objects.filter(status="done").count()}
"""


def percentiles(values: list[float]) -> dict[str, float]:
    """Median, 95th percentile and the longest, in seconds."""
    if not values:
        return {}
    ordered = sorted(values)
    found = {"p50": 0.5, "p95": 0.95, "max": 1.0}
    return {
        name: round(ordered[min(int(len(ordered) * p), len(ordered) - 1)], 3) for name, p in found.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("seconds", type=float, nargs="?", default=60)
    parser.add_argument("--times", type=float, default=TWICE, help="how many times what it can take")
    parser.add_argument("--quick", action="store_true", help="only to see that it runs")
    arguments = parser.parse_args()
    if arguments.quick:
        figures = measure(5, capacity_seconds=3, times=arguments.times)
    else:
        figures = measure(arguments.seconds, times=arguments.times)
    n, accepted = figures["accepted"], figures["capacity_photos_per_second"]
    times = "twice" if arguments.times == TWICE else f"{arguments.times:g} times"
    figure, what = results.figure, f"at {times} what the site can take"
    rows = [
        figure("photos accepted by six clients that wait", accepted, "photos/s", n),
        figure(f"{what}: accepted photos that were lost", figures["lost"], "photos", n, at_most=0),
        figure(
            f"{what}: growth of memory", figures["memory_mib"]["growth"], "of what it was", n, at_most=0.1
        ),
    ]
    for name, seen in (("accepted", "accepted_seconds"), ("refused", "refused_seconds")):
        if figures[seen]:
            rows.append(figure(f"{what}: seconds until told '{name}', p95", figures[seen]["p95"], "s", n))
    results.write("load", rows, quick=arguments.quick, **figures)


if __name__ == "__main__":
    main()
