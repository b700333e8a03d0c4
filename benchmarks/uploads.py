"""Single photos: how many a second, how soon the answer, against FastAPI and Gradio over the same model.

    python -m benchmarks.uploads [--seconds 20] [--rounds 3] [--n 40] [--variants embedded,redis,postgres]

The site signs people in, checks and keeps each photo, and shows it in the history; the peers do none of
it (``benchmarks/peers/``). All systems run on this machine from the start to the end, idle but for the one
whose turn it is: single photos alternate, turns of 32 clients take ``--seconds`` each, round after round.
The clients are threads of this process and share the machine; what they and the systems take of the
processor stands beside each figure. Half of the people sign in by session, half by token; limits of rates
are raised, counting stays on. Variants of the site: ``embedded`` as ``make run`` starts it (SQLite, files
as the broker); ``redis``: Redis as broker and cache; ``postgres``: that and PostgreSQL, which syncs.
At the end single photos and pages are asked for while a ZIP goes through, for the histogram.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from benchmarks import batch, results
from benchmarks.clients import (
    BOUNDARY,
    MULTIPART,
    Client,
    GradioClient,
    NotAnswered,
    Photo,
    ReportClient,
    SiteClient,
    Turns,
    take_turn,
)
from benchmarks.intake import make_photo
from benchmarks.million import make_database, postgres
from benchmarks.peers.environment import PeerMissing, python_of
from conftest import accepts, free_port, postgres_folder, redis_server, wait_until

ROOT = Path(__file__).parent.parent
PEERS = Path(__file__).parent / "peers"
# The model that a new site answers with; the peers load the same file.
MODEL = ROOT / "training" / "pretrained" / "photo_net" / "model.keras"
SMALL, LARGE = (640, 480), (4000, 3000)
VARIANTS = ("embedded", "redis", "postgres")
PASSWORD = "correct-horse-battery"
BUCKETS_MS = (25, 50, 75, 100, 150, 200, 300, 400, 600, 800, 1_200, 2_000, 4_000, 10_000)
PEOPLE = """
from cifarsite.test import make_user
from classifier.accounts.tokens import make_token
for number in range({count}):
    print("token", make_token(make_user(f"bench-{{number}}"), scopes=["predict", "read"])[1])
"""


# --- The systems ------------------------------------------------------------------------------


class Peer:
    """A peer as a process, with clients."""

    def __init__(self, name: str, folder: Path, clients: int) -> None:
        self.name, self.port = name, free_port()
        python = str(python_of(name))
        words = [python, "-m", "uvicorn", "report_api:app", "--host", "127.0.0.1", "--port", str(self.port)]
        words += ["--log-level", "warning"]
        if name == "gradio":
            words = [python, "gradio_app.py"]
        environment = {
            **os.environ,
            "MODEL": str(MODEL),
            "PORT": str(self.port),
            "GRADIO_ANALYTICS_ENABLED": "False",
            "GRADIO_TEMP_DIR": str(folder / "gradio"),
            "TF_CPP_MIN_LOG_LEVEL": "2",
        }
        self.log = folder / f"{name}.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(words, cwd=PEERS, env=environment, stdout=log, stderr=log)
        self.pid = self.process.pid
        made = GradioClient if name == "gradio" else ReportClient
        self.clients: list[Client] = [made(self.port) for _client in range(clients)]

    def wait(self) -> None:
        for _tenth in range(1_800):
            if self.process.poll() is not None:
                break
            try:
                self.clients[0].ask("GET", "/")
                return
            except OSError:
                time.sleep(0.1)
        raise SystemExit(f"{self.name} did not start: {self.log.read_text()[-1000:]}")

    def end(self) -> None:
        self.process.terminate()
        self.process.wait(60)


class Way:
    """Another way to ask the same process: FastAPI's ``async def``."""

    def __init__(self, name: str, peer: Peer, path: str) -> None:
        self.name, self.pid = name, peer.pid
        self.clients: list[Client] = [ReportClient(peer.port, path) for _client in peer.clients]


class SiteSystem:
    """The site in one of its variants, with people who are signed in."""

    def __init__(self, name: str, folder: Path, clients: int, settings: dict[str, str]) -> None:
        folder.mkdir()
        self.name, self.site = name, batch.Site(folder, **settings)
        try:
            self.site.wait("/readyz")
            self.pid = self.site.process.pid
            self.clients: list[SiteClient] = [SiteClient(self.site.port) for _client in range(clients)]
            self.sign_in_ms = self.sign_in()
        except BaseException:
            self.site.end()
            raise

    def sign_in(self) -> float:
        """Everybody; the median milliseconds of a sign-in by the page."""
        words = ["shell", "--no-imports", "-c", PEOPLE.format(count=len(self.clients))]
        said = self.site.manage(*words)
        tokens = [line.split()[1] for line in said.splitlines() if line.startswith("token ")]
        took = []
        for number, (client, token) in enumerate(zip(self.clients, tokens, strict=True)):
            if number % 2:
                client.use_token(token)
            else:
                begun = time.perf_counter()
                client.sign_in(f"bench-{number}", PASSWORD)
                took.append(time.perf_counter() - begun)
            client.close()
        return round(sorted(took)[len(took) // 2] * 1000, 1)

    def send_archive(self, archive: Path) -> dict[str, Any]:
        """A ZIP through the API, until the last answer; what the site says of it at the end."""
        token = {"Authorization": f"Bearer {self.site.token()}"}
        length, body = batch.body_of(archive, BOUNDARY)
        sent = {**token, **MULTIPART, "Content-Length": str(length)}
        said: dict[str, Any] = json.loads(self.site.ask("POST", "batches", body=body, headers=sent))
        while said["state"] == "running":
            time.sleep(1)
            said = json.loads(self.site.ask("GET", f"batches/{said['id']}", headers=token))
        return said

    def lost(self) -> tuple[int, int]:
        """How many photos were answered, and how many of them their owner's history does not show."""
        answered = lost = 0
        for client in self.clients:
            mine = set(client.answered)
            answered += len(mine)
            lost += len(mine - client.history())
            client.close()
        return answered, lost


@contextmanager
def redis() -> Iterator[str]:
    """A Redis server of its own; an address without a database's number."""
    port = free_port()
    words = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: accepts(port), "Redis")
        yield f"redis://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(30)


def missing_for(variant: str) -> str:
    """What this machine lacks for a variant; empty: nothing."""
    if variant != "embedded" and not redis_server():
        return "redis-server"
    return "PostgreSQL's server" if variant == "postgres" and not postgres_folder() else ""


@contextmanager
def running_site(name: str, folder: Path, clients: int) -> Iterator[SiteSystem]:
    with ExitStack() as stack:
        settings: dict[str, str] = {}
        if name != "embedded":
            address = stack.enter_context(redis())
            settings |= {"BROKER_URL": f"{address}/0", "CACHE_URL": f"{address}/1"}
        if name == "postgres":
            # Not below the others' folder, which the person that PostgreSQL runs as may not enter.
            server = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="cifarsite-postgres-")))
            base = stack.enter_context(postgres(server, durable=True))
            make_database(base, "site")
            settings["DATABASE_URL"] = f"{base}/site"
        system = SiteSystem(name, folder / name, clients, settings)
        stack.callback(system.site.end)
        yield system


# --- What is measured -------------------------------------------------------------------------


def one_by_one(systems: Sequence[Any], photos: Sequence[Photo], n: int) -> dict[str, Turns]:
    """Single photos by one client, the systems alternating; the first three of each do not count."""
    found = {system.name: Turns() for system in systems}
    for number in range(n + 3):
        for system in systems:
            # A turn of no seconds at all sends nothing; one of any length sends one photo.
            once = found[system.name] if number >= 3 else Turns()
            take_turn(system, photos[number % len(photos) :], 1e-3, once, clients=1)
            time.sleep(0.1)  # what a system still does after its answer is not the next one's burden
    return found


def side_by_side(
    systems: Sequence[Any], photos: Sequence[Photo], seconds: float, rounds: int
) -> dict[str, Turns]:
    """All clients at once, the systems in turns; a short turn of each does not count."""
    found = {system.name: Turns() for system in systems}
    for system in systems:
        take_turn(system, photos, min(seconds, 5), Turns())
    for _round in range(rounds):
        for system in systems:
            take_turn(system, photos, seconds, found[system.name])
    return found


def under_mixed_load(system: SiteSystem, photos: Sequence[Photo], archive: Path) -> dict[str, Any]:
    """Single photos of two people, pages of a third, while a batch of a fourth goes through."""
    over = threading.Event()
    singles, pages = Turns(), Turns()
    reader, *_others = (client for client in system.clients if "Cookie" in client.headers)
    senders = [client for client in system.clients if client is not reader][:2]

    def send(client: SiteClient, found: Turns) -> None:
        number = 0
        while not over.is_set():
            begun = time.perf_counter()
            try:
                client.answer(photos[number % len(photos)])
                found.seconds.append(time.perf_counter() - begun)
            except NotAnswered as error:
                found.errors[str(error)] += 1
            number += 1
            over.wait(0.25)

    def read(client: SiteClient, found: Turns) -> None:
        own = next(iter(client.answered), "")
        addresses = [
            "/",
            "/history/",
            "/history/?label=cat",
            "/batches/",
            *([f"/photos/{own}/"] if own else []),
        ]
        number = 0
        while not over.is_set():
            begun = time.perf_counter()
            status, _page, _headers = client.ask("GET", addresses[number % len(addresses)])
            found.seconds.append(time.perf_counter() - begun)
            if status != 200:
                found.errors[f"{addresses[number % len(addresses)]}: {status}"] += 1
            number += 1
            over.wait(0.25)

    of_senders = [Turns() for _client in senders]
    threads = [threading.Thread(target=send, args=pair) for pair in zip(senders, of_senders, strict=True)] + [
        threading.Thread(target=read, args=(reader, pages))
    ]
    for thread in threads:
        thread.start()
    started = time.perf_counter()
    try:
        sent = system.send_archive(archive)
    finally:
        over.set()
        for thread in threads:
            thread.join()
    seconds = time.perf_counter() - started
    for turns in of_senders:
        singles.seconds += turns.seconds
        singles.errors += turns.errors
    singles.elapsed = pages.elapsed = seconds
    return {
        "batch_photos": sent["done"],
        "batch_failed": sent["failed"],
        "batch_photos_per_s": round(sent["done"] / seconds, 1),
        "seconds": round(seconds, 1),
        "single": singles.described(),
        "single_histogram": histogram(singles.seconds),
        "pages": pages.described(),
        "pages_histogram": histogram(pages.seconds),
    }


def histogram(seconds: Sequence[float]) -> dict[str, int]:
    """How many were answered within so many milliseconds, but not within the bucket before."""
    counts = dict.fromkeys([*(f"≤ {edge}" for edge in BUCKETS_MS), f"> {BUCKETS_MS[-1]}"], 0)
    for value in seconds:
        edge = next((edge for edge in BUCKETS_MS if value * 1000 <= edge), None)
        counts[f"≤ {edge}" if edge else f"> {BUCKETS_MS[-1]}"] += 1
    return counts


def drawn(title: str, counts: dict[str, int]) -> str:
    """A histogram as text, without the empty buckets at its ends."""
    filled = [number for number, count in enumerate(counts.values()) if count]
    shown = list(counts.items())[filled[0] : filled[-1] + 1] if filled else []
    most = max(counts.values(), default=1) or 1
    bars = (f"{edge:>8} ms {count:5} {'#' * round(50 * count / most)}" for edge, count in shown)
    return "\n".join([f"{title}, n = {sum(counts.values())}", *bars])


# --- All of it --------------------------------------------------------------------------------


def rows_of(what: str, found: dict[str, Turns], site: str, goals: dict[str, float]) -> list[results.Row]:
    """Ours beside the better of FastAPI's two ways, and beside Gradio.

    Args:
        goals: for ours / peer: ``rate`` at least, ``p95`` and ``p50`` at most.
    """
    for name, turns in found.items():
        if not turns.seconds:
            raise SystemExit(f"{name} answered no photo at all: {dict(turns.errors)}")
    ours, rows = found[site], []
    ways = [name for name in found if name.startswith("fastapi")]
    many = "rate" in goals
    better = max(ways, key=lambda name: found[name].rate if many else -found[name].milliseconds(0.5))
    for peer in filter(found.get, (better, "gradio")):
        theirs = found[peer]
        judged = goals if peer == better else {}
        name, n = f"{what}, {site} against {peer}", min(len(ours.seconds), len(theirs.seconds))
        if many:
            rows.append(
                results.ratio(
                    f"{name}: answered", ours.rate, theirs.rate, "photos/s", n, at_least=judged.get("rate")
                )
            )
        for share in (0.5, 0.95):
            key = f"p{share * 100:.0f}"
            pair = (ours.milliseconds(share), theirs.milliseconds(share))
            rows.append(results.ratio(f"{name}: {key}", *pair, "ms", n, at_most=judged.get(key)))
    return rows


def measure(arguments: argparse.Namespace, folder: Path) -> tuple[list[results.Row], dict[str, Any]]:
    rows: list[results.Row] = []
    details: dict[str, Any] = {"without": {}}
    quick = arguments.quick
    small = [Photo(make_photo(*SMALL, seed)) for seed in range(2 if quick else 12)]
    large = [Photo(make_photo(*LARGE, seed)) for seed in range(1 if quick else 3)]
    details["photo_bytes"] = {"small": small[0].size, "large": large[0].size}
    with ExitStack() as stack:
        peers: list[Any] = []
        variants = arguments.variants.split(",")
        for name in ("fastapi", "gradio") if "embedded" in variants else ("fastapi",):
            try:
                peer = Peer(name, folder, arguments.clients)
            except PeerMissing as missing:
                print(missing, flush=True)
                details["without"][name] = str(missing)
                continue
            stack.callback(peer.end)
            peer.wait()
            peers += [peer] if name == "gradio" else [peer, Way("fastapi async def", peer, "/predict-async")]
        if "fastapi" in details["without"]:
            raise SystemExit("There is nothing to compare with: see above.")
        for variant in variants:
            if program := missing_for(variant):
                details["without"][variant] = f"{program} is not installed"
                print(f"{variant} is left out: {program} is not installed.", flush=True)
                continue
            print(f"-- the site, {variant}", flush=True)
            site = stack.enter_context(running_site(variant, folder, arguments.clients))
            found_rows, details[variant] = of_variant(arguments, site, peers, small, large, folder)
            rows += found_rows
            site.site.end()
    return rows, details


def of_variant(
    arguments: argparse.Namespace,
    site: SiteSystem,
    peers: list[Any],
    small: list[Photo],
    large: list[Photo],
    folder: Path,
) -> tuple[list[results.Row], dict[str, Any]]:
    name, first = site.name, site.name == "embedded"
    # Gradio once, beside the site as it starts by itself.
    asked = [site, *(peer for peer in peers if first or peer.name != "gradio")]
    details: dict[str, Any] = {"sign_in_median_ms": site.sign_in_ms}
    rows: list[results.Row] = []

    def keep(what: str, found: dict[str, Turns], goals: dict[str, float]) -> None:
        rows.extend(rows_of(what, found, name, goals))
        details[what] = {system: turns.described() for system, turns in found.items()}
        print(json.dumps({what: details[what]}, indent=1), flush=True)

    most = {"p50": 0.7 if name == "redis" else 1.0}
    keep("idle, one small photo", one_by_one(asked, small, arguments.n), most)
    if name != "redis":
        n, goals = arguments.clients, {"rate": 3.0, "p95": 0.4}
        times = (arguments.seconds, arguments.rounds)
        keep(f"{n} clients, small photos", side_by_side(asked, small, *times), goals)
        if first:
            keep(f"{n} clients, 12-megapixel photos", side_by_side(asked, large, *times), goals)
    if first and arguments.batch:
        archive = folder / "mixed.zip"
        batch.make_archive(archive, arguments.batch, arguments.source)
        mixed = details["mixed load"] = under_mixed_load(site, small, archive)
        archive.unlink()
        for part in ("single", "pages"):
            for key in ("p50_ms", "p95_ms"):
                what = f"while a batch of {arguments.batch} goes through, {part}: {key[:3]}"
                rows.append(results.figure(what, mixed[part][key], "ms", mixed[part]["answered"]))
        print(drawn("Single photos to their answers beside a batch", mixed["single_histogram"]))
        print(drawn("Pages beside a batch", mixed["pages_histogram"]), flush=True)
    answered, lost = site.lost()
    details["answered"], details["refused_with_503"] = answered, sum(c.refused for c in site.clients)
    what = f"answered photos that their history lacks, {name}"
    rows.append(results.figure(what, lost, "photos", answered, at_most=0))
    return rows, details


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=20, help="of a turn")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--n", type=int, default=40, help="single photos of each system")
    parser.add_argument("--batch", type=int, default=3_000, help="photos of the ZIP beside; 0: without it")
    parser.add_argument("--source", type=Path, default=ROOT.parent / "shared" / "photos")
    parser.add_argument("--variants", default=",".join(VARIANTS))
    parser.add_argument("--quick", action="store_true", help="only to see that it runs")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.seconds, arguments.rounds, arguments.clients = 2, 1, 4
        arguments.n, arguments.batch = 3, 12
    folder = Path(tempfile.mkdtemp(prefix="cifarsite-uploads-"))
    try:
        rows, details = measure(arguments, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    size = {key: getattr(arguments, key) for key in ("seconds", "rounds", "clients", "n", "batch")}
    results.write("uploads", rows, quick=arguments.quick, **size, **details)
    if any(row["what"].startswith("answered photos that") and not row["met"] for row in rows):
        raise SystemExit("Photos were lost: see the rows above.")


if __name__ == "__main__":
    main()
