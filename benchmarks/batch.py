"""A ZIP of thousands of photos, end to end: the whole site, started as people start it.

    python -m benchmarks.batch [--photos 5000] [--source FOLDER]

The archive is made of real photos (``--source``; ``../shared/photos`` by default): each goes in
again and again, cropped a little differently and saved as JPEG, so that no two are equal. Without
such a folder the photos are drawn. The archive goes in through the API, the progress is asked for
every second, and the CSV is read at the end. Memory is the largest that each process ever held.
"""

from __future__ import annotations

import argparse
import csv
import http.client
import io
import json
import os
import platform
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import zipfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from PIL import Image, ImageOps

from benchmarks.intake import make_photo

ROOT = Path(__file__).parent.parent
RESULT = Path(__file__).parent / "results" / "batch.json"
LONGEST = 1_600
CHUNK = 1024 * 1024


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
        self.peaks: Counter[str] = Counter()

    def manage(self, *words: str) -> str:
        """Run one of the site's commands; what it printed."""
        argv = [sys.executable, "manage.py", *words]
        done = subprocess.run(argv, cwd=ROOT, env=self.environment, stdout=subprocess.PIPE, check=True)
        return done.stdout.decode()

    def token(self) -> str:
        return self.manage("apitoken", "bench", "--scopes", "predict,read").strip()

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

    def look_at_memory(self) -> None:
        """Note the largest resident memory so far of each kind of process, in bytes (Linux)."""
        mark = f"VAR_DIR={self.folder}".encode()
        for place in Path("/proc").glob("[0-9]*"):
            try:
                if mark not in (place / "environ").read_bytes().split(b"\0"):
                    continue
                words = (place / "cmdline").read_bytes().decode(errors="replace")
                lines = (place / "status").read_text().splitlines()
            except OSError:
                continue
            kind = next((k for k in ("gunicorn", "predict@", "decoder", "recover") if k in words), "")
            peak = next((int(line.split()[1]) for line in lines if line.startswith("VmHWM")), 0)
            if kind:
                self.peaks[kind] = max(self.peaks[kind], peak * 1024)

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


def measure(site: Site, archive: Path) -> dict[str, Any]:
    headers = {"Authorization": f"Bearer {site.token()}"}
    site.wait("/readyz")
    boundary = "cifarsite-bench"
    length, body = body_of(archive, boundary)
    start = time.perf_counter()
    sent = {
        **headers,
        "Content-Type": f"multipart/form-data; boundary={boundary}",
        "Content-Length": str(length),
    }
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
        site.look_at_memory()
    seconds = time.perf_counter() - start
    asked = time.perf_counter()
    table = site.ask("GET", f"batches/{batch['id']}/results.csv", headers=headers).decode("utf-8-sig")
    rows = list(csv.DictReader(io.StringIO(table)))
    return {
        "upload_s": round(uploaded, 2),
        "all_s": round(seconds, 1),
        "photos_per_s": round(batch["done"] / seconds, 1),
        "done": batch["done"],
        "failed": batch["failed"],
        "progress": progress[:: max(1, len(progress) // 20)],
        "slowest_progress_ms": round(slowest * 1000),
        "csv_s": round(time.perf_counter() - asked, 2),
        "csv_rows": len(rows),
        "csv_answered": sum(row["status"] == "done" for row in rows),
        "peak_mib": {kind: round(size / 1024**2) for kind, size in site.peaks.items()},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", type=int, default=5_000)
    parser.add_argument("--source", type=Path, default=ROOT.parent / "shared" / "photos")
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="cifarsite-batch-"))
    site = None
    try:
        archive = folder / "many.zip"
        make_archive(archive, arguments.photos, arguments.source)
        site = Site(folder)
        site.wait("/healthz")
        result = {
            "photos": arguments.photos,
            "archive_mb": round(archive.stat().st_size / 1e6, 1),
            **measure(site, archive),
            "machine": {
                "cpus": os.cpu_count(),
                "load": round(os.getloadavg()[0], 1),
                "machine": platform.machine(),
                "python": platform.python_version(),
            },
        }
    finally:
        if site:
            site.end()
        shutil.rmtree(folder, ignore_errors=True)
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps({key: value for key, value in result.items() if key != "progress"}, indent=2))


if __name__ == "__main__":
    main()
