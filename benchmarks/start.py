"""How long until the first page and the first answer: of a first start, and of the next ones.

    python -m benchmarks.start [--skip-first] [--n 5]

First start: the project's last commit is cloned into an empty folder and ``make run`` is called there, as
somebody does who has just got it. Its packages lie on the disk beforehand, as wheels that ``pip download``
fetched (``var/benchmarks/wheels``, kept), and are installed from there alone, so that no network is
measured. The seconds of the clone are not counted. Next starts: ``make run`` again in the same folder.
``--skip-first``: no clone; this folder's own environment, with a data folder that was started once.
A page: the sign-in page, with 200. An answer: signed in through that page, a photo uploaded and labelled.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks import results
from benchmarks.clients import Photo, SiteClient
from benchmarks.intake import make_photo
from benchmarks.process_tree import processor_seconds
from conftest import free_port

ROOT = Path(__file__).parent.parent
WHEELS = ROOT / "var" / "benchmarks" / "wheels"
MOST_TO_PAGE, MOST_TO_ANSWER = 1.5, 5.0
LONGEST = 1_800.0
NAME, PASSWORD = "bench", "bench-password-of-no-use"
# What would give the new site other data, pip other places, or Python other ways than a new user has.
NOT_PASSED_ON = (
    "VAR_DIR",
    "DATABASE_URL",
    "BROKER_URL",
    "CACHE_URL",
    "STORAGE_URL",
    "CIFAR10_DIR",
    "MAKEFLAGS",
    "PYTHONDONTWRITEBYTECODE",  # each start would compile the project anew
)


@dataclass(frozen=True)
class Start:
    """Seconds from the command to the first page and to the first answer; of the processor, all in all."""

    page: float
    answer: float
    processor: float


def wheels() -> Path:
    """A folder with the packages of requirements.txt, filled where it is not yet."""
    files = sorted(ROOT.glob("requirements*.txt"))
    wanted = hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()
    stamp = WHEELS / "requirements.sha256"
    if not stamp.exists() or stamp.read_text() != wanted:
        print("Fetching the packages, which is not measured ...", flush=True)
        words = [sys.executable, "-m", "pip", "download", "--quiet", "--only-binary", ":all:"]
        words += ["--dest", str(WHEELS), "--requirement", str(ROOT / "requirements.txt")]
        subprocess.run(words, check=True)
        stamp.write_text(wanted)
    return WHEELS


def start(command: list[str], folder: Path, settings: dict[str, str], photo: Photo) -> Start:
    """Start the site, wait for a page and an answer, and end it."""
    port = free_port()
    environment = {name: value for name, value in os.environ.items() if name not in NOT_PASSED_ON}
    environment |= {"PORT": str(port), "ADMIN_USERNAME": NAME, "ADMIN_PASSWORD": PASSWORD, **settings}
    client = SiteClient(port)
    began = time.perf_counter()
    with (folder / "start.log").open("ab") as log:
        process = subprocess.Popen(
            command, cwd=folder, env=environment, stdout=log, stderr=log, start_new_session=True
        )
    try:
        while not _is_there(client):
            if process.poll() is not None or time.perf_counter() - began > LONGEST:
                said = (folder / "start.log").read_text(errors="replace")[-2_000:]
                raise SystemExit(f"The site did not start:\n{said}")
            time.sleep(0.02)
        page = time.perf_counter() - began
        client.sign_in(NAME, PASSWORD)
        client.answer(photo)
        answer = time.perf_counter() - began
        processor = processor_seconds(process.pid).total()
    finally:
        client.close()
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGINT)  # as Ctrl-C does
        process.wait(120)
    return Start(page, answer, processor)


def _is_there(client: SiteClient) -> bool:
    try:
        return client.ask("GET", "/accounts/login/")[0] == 200
    except OSError:
        client.close()
        return False


def measure(skip_first: bool, n: int, folder: Path) -> tuple[Start | None, list[Start]]:
    photo = Photo(make_photo(640, 480))
    if skip_first:
        folder.mkdir()
        words = [sys.executable, "-m", "cifarsite.supervisor"]
        settings = {"VAR_DIR": str(folder), "PYTHONPATH": str(ROOT)}
        start(words, folder, settings, photo)
        return None, [start(words, folder, settings, photo) for _time in range(n)]
    settings = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(wheels())}
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(folder)], check=True)
    words = ["make", "run"]
    first = start(words, folder, settings, photo)
    return first, [start(words, folder, settings, photo) for _time in range(n)]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--skip-first", action="store_true", help="build no environment")
    parser.add_argument("--n", type=int, default=5, help="next starts")
    parser.add_argument("--quick", action="store_true", help="only to see that it runs")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.skip_first, arguments.n = True, 1
    folder = Path(tempfile.mkdtemp(prefix="cifarsite-start-"))
    try:
        first, following = measure(arguments.skip_first, arguments.n, folder / "site")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    rows = []
    if first:
        rows.append(results.figure("first start of make run, to the first page", first.page, "s", 1))
        rows.append(results.figure("first start of make run, to the first answer", first.answer, "s", 1))
    n = len(following)
    page, answer = (statistics.median(getattr(one, what) for one in following) for what in ("page", "answer"))
    rows.append(results.figure("next starts, to the first page", page, "s", n, at_most=MOST_TO_PAGE))
    rows.append(results.figure("next starts, to the first answer", answer, "s", n, at_most=MOST_TO_ANSWER))
    details = {
        "first": _described(first) if first else None,
        "packages": "wheels on the disk" if first else "not installed: the environment of this folder",
        "next": [_described(one) for one in following],
    }
    results.write("start", rows, quick=arguments.quick, **details)


def _described(one: Start) -> dict[str, float]:
    return {
        "page_s": round(one.page, 2),
        "answer_s": round(one.answer, 2),
        "processor_s": round(one.processor, 2),
    }


if __name__ == "__main__":
    main()
