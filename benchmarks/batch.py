"""A ZIP of 10,000 photos to stored answers: the whole site against bare TensorFlow on the same archive.

    python -m benchmarks.batch [--photos 10000] [--rounds 2] [--source FOLDER] [--quick]

The archive is made of real photos (``--source``; ``../shared/photos`` by default): each goes in again and
again, cropped a little differently and saved as JPEG, so that no two are equal. Without such a folder the
photos are drawn. The site is started as people start it, with one prediction worker, and gets the archive
through the API; it is measured from the first byte sent to the moment when the last answer was stored, with
the progress asked for every second. ``benchmarks.peers.bare_tensorflow`` gets the same file in turn, by both
of its decoders; the faster one is the bound. The site stands idle meanwhile.

Where the site's time goes: seconds of the worker in entries and in the model (its own metrics), and the
processor's time of each kind of process (Linux). Memory is the largest that each process ever held.
"""

from __future__ import annotations

import argparse
import csv
import http.client
import io
import json
import os
import secrets
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from collections import defaultdict
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from PIL import Image, ImageOps

from benchmarks import results, spending
from benchmarks.intake import make_photo
from training.engine.data.cifar10 import CLASS_NAMES

ROOT = Path(__file__).parent.parent
# The model that answers from the first start on.
MODEL = ROOT / "training" / "pretrained" / "photo_net" / "model.keras"
DECODERS = ("pillow", "tensorflow")
LONGEST = 1_600
CHUNK = 1024 * 1024
GOAL = 0.65


def sources(folder: Path) -> list[Image.Image]:
    """The photos of a folder, turned upright; drawn ones where there is no such folder."""
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg", ".png"))
    if not files:
        return [Image.open(io.BytesIO(make_photo(640, 480))).convert("RGB")]
    images = []
    for path in files:
        with Image.open(path) as image:
            upright = ImageOps.exif_transpose(image).convert("RGB")
        upright.thumbnail((LONGEST, LONGEST))
        images.append(upright)
    return images


def make_archive(path: Path, photos: int, folder: Path) -> None:
    """Each photo is another crop of a source: a few rows and columns are cut off."""
    images = sources(folder)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for number in range(photos):
            image, turn = images[number % len(images)], number // len(images)
            cropped = image.crop((turn % 7, turn // 7 % 7, image.width - turn // 49, image.height))
            file = io.BytesIO()
            cropped.save(file, "JPEG", quality=90)
            archive.writestr(f"photos/{number:05}.jpg", file.getvalue())


class Site:
    """The site with a data folder and a port of its own, embedded unless ``settings`` say otherwise."""

    def __init__(self, folder: Path, **settings: str) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        self.folder = folder
        self.environment = {
            **os.environ,
            "VAR_DIR": str(folder),
            "PORT": str(self.port),
            "DATABASE_URL": "",
            "BROKER_URL": "",
            "CACHE_URL": "",
            "STORAGE_URL": "",
            "API_RATE_BURST": "1000000",
            "API_RATE_SUSTAINED": "10000000",
            "METRICS_TOKEN": secrets.token_hex(16),
            "ADMIN_USERNAME": "bench",
            "ADMIN_PASSWORD": "bench-password-of-no-use",
            **settings,
        }
        with (folder / "site.log").open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "cifarsite.supervisor"],
                cwd=ROOT,
                env=self.environment,
                stdout=log,
                stderr=log,
            )

    def manage(self, *words: str) -> str:
        """Run one of the site's commands; what it printed."""
        argv = [sys.executable, "manage.py", *words]
        done = subprocess.run(argv, cwd=ROOT, env=self.environment, stdout=subprocess.PIPE, check=True)
        return done.stdout.decode()

    def token(self) -> str:
        return self.manage("apitoken", "bench", "--scopes", "predict,read").strip()

    def warm_up(self, token: str) -> None:
        """One photo, answered: decoder, model and worker are there."""
        boundary = "warm"
        file = make_photo(640, 480)
        body = (
            f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="a.jpg"\r\n'
            "Content-Type: image/jpeg\r\n\r\n"
        ).encode()
        body += file + f"\r\n--{boundary}--\r\n".encode()
        headers = {"Authorization": f"Bearer {token}"}
        kind = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
        answer = json.loads(self.ask("POST", "photos?wait=30", body=body, headers=headers | kind))
        address = f"photos/{answer['photos'][0]['id']}"
        while json.loads(self.ask("GET", address, headers=headers))["status"] == "queued":
            time.sleep(0.5)
        # Photos of archives are taken few at a time for a while after a person's own.
        time.sleep(35)

    def wait(self, path: str) -> None:
        for _second in range(300):
            try:
                connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
                connection.request("GET", path)
                if connection.getresponse().status == 200:
                    return
            except OSError:
                pass
            time.sleep(1)
        raise SystemExit(f"The site did not start: see {self.folder / 'site.log'}.")

    def ask(self, method: str, path: str, **more: Any) -> bytes:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=600)
        connection.request(method, f"/api/v1/{path}", **more)
        response = connection.getresponse()
        content = response.read()
        if response.status >= 400:
            raise SystemExit(f"{method} {path}: {response.status} {content[:500]!r}")
        return content

    def counted(self) -> dict[str, float]:
        """What the workers counted so far, by the metric's name."""
        headers = {"Authorization": f"Bearer {self.environment['METRICS_TOKEN']}"}
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        connection.request("GET", "/metrics", headers=headers)
        found: dict[str, float] = defaultdict(float)
        for line in connection.getresponse().read().decode().splitlines():
            if not line.startswith("#"):
                name, _, value = line.rpartition(" ")
                found[name.partition("{")[0]] += float(value)
        return found

    def end(self) -> None:
        self.process.terminate()
        self.process.wait(60)


def body_of(archive: Path, boundary: str) -> tuple[int, Iterator[bytes]]:
    """A multipart form with the archive, in pieces, and its length."""
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="archive"; filename="many.zip"\r\n'
    first = (head + "Content-Type: application/zip\r\n\r\n").encode()
    last = f"\r\n--{boundary}--\r\n".encode()

    def pieces() -> Iterator[bytes]:
        yield first
        with archive.open("rb") as file:
            while chunk := file.read(CHUNK):
                yield chunk
        yield last

    return len(first) + archive.stat().st_size + len(last), pieces()


def send(site: Site, token: str, archive: Path) -> dict[str, Any]:
    """The archive through the site once: what took how long."""
    headers = {"Authorization": f"Bearer {token}"}
    boundary = "cifarsite-bench"
    length, body = body_of(archive, boundary)
    sent = {
        **headers,
        "Content-Type": f"multipart/form-data; boundary={boundary}",
        "Content-Length": str(length),
    }
    before_that, before = site.counted(), spending.spent(site.process.pid)
    start, since = time.perf_counter(), time.time()
    batch = json.loads(site.ask("POST", "batches", body=body, headers=sent))
    uploaded = time.perf_counter() - start
    progress: list[tuple[float, int]] = []
    slowest = 0.0
    while batch["state"] == "running":
        time.sleep(1)
        asked = time.perf_counter()
        batch = json.loads(site.ask("GET", f"batches/{batch['id']}", headers=headers))
        slowest = max(slowest, time.perf_counter() - asked)
        progress.append((round(time.perf_counter() - start, 1), batch["done"]))
    spent, peaks = spending.spent(site.process.pid), spending.peaks(site.process.pid)
    counted = {name: value - before_that[name] for name, value in site.counted().items()}
    # Noted by the worker itself, on the clock of this machine.
    seconds = datetime.fromisoformat(batch["finished_at"]).timestamp() - since
    asked = time.perf_counter()
    table = site.ask("GET", f"batches/{batch['id']}/results.csv", headers=headers).decode("utf-8-sig")
    rows = list(csv.DictReader(io.StringIO(table)))
    return {
        "upload_s": round(uploaded, 2),
        "all_s": round(seconds, 2),
        "photos_per_s": round(batch["done"] / seconds, 2),
        "done": batch["done"],
        "failed": batch["failed"],
        "entries_s": round(counted["cifarsite_entry_seconds_total"], 2),
        "model_s": round(counted["cifarsite_prediction_seconds_total"], 2),
        "model_batches": int(counted["cifarsite_prediction_batch_count"]),
        "processor_s": {kind: round(spent[kind] - before.get(kind, 0.0), 2) for kind in sorted(spent)},
        "peak_mib": {kind: round(size / 1024**2) for kind, size in sorted(peaks.items())},
        "progress": progress[:: max(1, len(progress) // 20)],
        "slowest_progress_ms": round(slowest * 1000),
        "csv_s": round(time.perf_counter() - asked, 2),
        "csv_rows": len(rows),
        "csv_answered": sum(row["status"] == "done" for row in rows),
        "answers": [CLASS_NAMES.index(row["label"]) if row["label"] else -1 for row in rows],
    }


def bare(archive: Path, decoder: str) -> dict[str, Any]:
    """The archive through bare TensorFlow once, in a process of its own."""
    words = [sys.executable, "-m", "benchmarks.peers.bare_tensorflow", str(archive), str(MODEL)]
    words += ["--decoder", decoder]
    done = subprocess.run(words, cwd=ROOT, stdout=subprocess.PIPE, check=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def alike(one: list[int], other: list[int]) -> float:
    """The share of photos to which both gave the same class."""
    return round(sum(a == b for a, b in zip(one, other, strict=True)) / len(one), 4)


def rows_of(
    photos: int, ours: list[dict[str, Any]], bound: list[dict[str, Any]], *, plain: bool
) -> list[results.Row]:
    """The table: speed against the bound, then where a photo's time goes, all as medians of the rounds."""

    def median(found: list[dict[str, Any]], name: str) -> float:
        return float(statistics.median(one[name] for one in found))

    def each(seconds: float) -> float:
        return seconds * 1000 / photos

    n = len(ours)
    entries, model = median(ours, "entries_s"), median(ours, "model_s")
    left = median(ours, "all_s") - median(ours, "upload_s") - entries - model
    rows = [
        results.ratio(
            f"bulk: {photos:,} JPEGs in a ZIP to stored answers, one worker, against bare TensorFlow",
            ours=median(ours, "photos_per_s"),
            peer=median(bound, "photos_per_s"),
            unit="photos/s",
            n=n,
            at_least=None if plain else GOAL,
        ),
        results.figure("bulk: upload of the archive", median(ours, "upload_s"), "s", n),
        results.figure(
            "bulk: worker takes entries in (decode, files, rows)", photos / entries, "photos/s", n
        ),
        results.figure("bulk: worker reads inputs and runs the model", photos / model, "photos/s", n),
        results.figure("bulk: by the clock, entries", each(entries), "ms a photo", n),
        results.figure("bulk: by the clock, inputs and model", each(model), "ms a photo", n),
        results.figure("bulk: by the clock, upload", each(median(ours, "upload_s")), "ms a photo", n),
        results.figure("bulk: by the clock, the rest (claims, answers stored)", each(left), "ms a photo", n),
        results.figure(
            "bulk: by the clock, bare TensorFlow in its model",
            each(median(bound, "in_model_s")),
            "ms a photo",
            n,
        ),
    ]
    for kind in ours[0]["processor_s"]:
        spent = statistics.median(one["processor_s"].get(kind, 0.0) for one in ours)
        rows.append(results.figure(f"bulk: processor, {kind}", each(spent), "ms a photo", n))
    spent = median(bound, "processor_s")
    rows.append(results.figure("bulk: processor, bare TensorFlow", each(spent), "ms a photo", n))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--source", type=Path, default=ROOT.parent / "shared" / "photos")
    parser.add_argument("--quick", action="store_true", help="a few photos: says nothing about speed")
    arguments = parser.parse_args()
    photos, rounds = (150, 1) if arguments.quick else (arguments.photos, arguments.rounds)
    folder = Path(tempfile.mkdtemp(prefix="cifarsite-batch-"))
    site: Site | None = None
    ours: list[dict[str, Any]] = []
    peers: dict[str, list[dict[str, Any]]] = {decoder: [] for decoder in DECODERS}
    try:
        archive = folder / "many.zip"
        make_archive(archive, photos, arguments.source)
        size = archive.stat().st_size
        site = Site(folder)
        site.wait("/healthz")
        site.wait("/readyz")
        token = site.token()
        site.warm_up(token)
        for number in range(rounds):
            for decoder in DECODERS:
                peers[decoder].append(bare(archive, decoder))
            ours.append(send(site, token, archive))
            print(f"round {number + 1}: {ours[-1]['photos_per_s']} photos/s", flush=True)
    finally:
        if site is not None:
            site.end()
        shutil.rmtree(folder, ignore_errors=True)
    speed = {name: statistics.median(one["photos_per_s"] for one in peers[name]) for name in DECODERS}
    bound = peers[max(speed, key=speed.__getitem__)]
    same = {name: alike(ours[0]["answers"], peers[name][0]["answers"]) for name in DECODERS}
    for found in (*ours, *peers["pillow"], *peers["tensorflow"]):
        del found["answers"]
    results.write(
        "batch",
        rows_of(photos, ours, bound, plain=arguments.quick),
        quick=arguments.quick,
        photos=photos,
        archive_mb=round(size / 1e6, 1),
        bound=bound[0]["decoder"],
        same_class_as_the_site=same,
        site=ours,
        bare_tensorflow=peers,
    )


if __name__ == "__main__":
    main()
