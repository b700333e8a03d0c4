"""What the site's processes take of memory, and a prediction worker beside bare TensorFlow.

    python -m benchmarks.memory [--photos 300] [--batch 512]

The site, as ``make run`` starts it, answers single photos and a ZIP, and shows pages; then each process
is weighed. Bare TensorFlow (``peers/bare_memory.py``) is a process of its own afterwards: the same model,
as often asked for batches of the same sizes, which the site's log has. RSS is what a process has in
memory, shared pages too; PSS has these divided among those that share them; 'own' is what no other process
has (``process_tree.py``). A web process is judged by its RSS. A prediction worker is two processes,
Celery's and the one that it forked, which holds the model: judged by the RSS of the second and what the
first has for itself. 1 MB is 10^6 bytes.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks import batch, results
from benchmarks.clients import Photo, Turns, take_turn
from benchmarks.intake import make_photo
from benchmarks.process_tree import Weight, part, tree, weight
from benchmarks.uploads import MODEL, ROOT, SMALL, SiteSystem

MOST_WEB_MB, MOST_WORKER, MOST_MB = 150, 1.2, 2_000
CLIENTS = 4
# As classifier.predictions.inference and training.engine.inference.predictor have them; this process
# does not load those.
LATELY_SECONDS = 31
# Those of a processor for images of 224x224; a larger batch is run in parts.
BATCH_SIZES = (1, 2, 4, 8, 16)
PAGES = ("/", "/history/", "/batches/", "/models/", "/account/")


def work(system: SiteSystem, arguments: argparse.Namespace, folder: Path) -> int:
    """Single photos, a batch, pages; returns how many photos were answered."""
    files = [Photo(make_photo(*SMALL, seed)) for seed in range(4)]
    found = Turns()
    while len(found.seconds) < arguments.photos:
        take_turn(system, files, 5, found)
        if found.errors:
            raise SystemExit(f"A photo was not answered: {found.errors}")
    archive = folder / "many.zip"
    batch.make_archive(archive, arguments.batch, ROOT.parent / "shared" / "photos")
    if not arguments.quick:
        time.sleep(LATELY_SECONDS)  # until then a worker takes few photos of a batch at a time
    done: int = system.send_archive(archive)["done"]
    reader = next(client for client in system.clients if "Cookie" in client.headers)
    for _time in range(5):
        for page in PAGES:
            status, _content, _headers = reader.ask("GET", page)
            if status != 200:
                raise SystemExit(f"{page}: {status}")
    reader.close()
    return len(found.seconds) + done


def weigh(system: SiteSystem) -> list[tuple[str, int, Weight]]:
    """Part, parent's place in this list or -1, and weight of each of the site's processes."""
    pids = tree(system.pid)
    found = []
    for pid in pids:
        parent = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        found.append((part(pid), pids.index(parent) if parent in pids else -1, weight(pid)))
    return found


def batches(log: Path) -> Counter[int]:
    """How often the worker ran its model on batches of each of the compiled sizes, by the site's log."""
    answered = re.findall(r" answered .*?\bbatch=(\d+)", log.read_text(errors="replace"))
    if not answered:
        raise SystemExit(f"The site's log {log} has no line of an answered photo.")
    times: Counter[int] = Counter()
    for size, lines in Counter(map(int, answered)).items():
        runs, (whole, rest) = -(-lines // size), divmod(size, BATCH_SIZES[-1])
        times[BATCH_SIZES[-1]] += runs * whole
        if rest:
            times[next(s for s in BATCH_SIZES if s >= rest)] += runs
    return times


def bare(times: Counter[int]) -> Weight:
    """Of TensorFlow with the model, after predictions of the same batches."""
    words = [sys.executable, "-m", "benchmarks.peers.bare_memory", str(MODEL)]
    words += [f"{size}:{often}" for size, often in sorted(times.items())]
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2"}
    done = subprocess.run(words, cwd=ROOT, env=environment, stdout=subprocess.PIPE, check=True)
    return Weight(**json.loads(done.stdout.splitlines()[-1]))


def judge(
    weights: list[tuple[str, int, Weight]], peer: Weight, n: int
) -> tuple[list[results.Row], dict[str, Any]]:
    # The first process of a part started the others of it.
    web = [of for name, parent, of in weights if name == "web" and weights[parent][0] == "web"]
    workers = [of for name, _parent, of in weights if name == "prediction worker"]
    celery, model = workers[0], max(workers[1:], key=lambda of: of.rss)
    rows = [
        results.figure("a web process, RSS", max(of.rss for of in web), "MB", n, at_most=MOST_WEB_MB),
        results.figure("a web process, PSS", max(of.pss for of in web), "MB", n),
        results.ratio(
            "a prediction worker against bare TensorFlow, RSS",
            model.rss + celery.own,
            peer.rss,
            "MB",
            n,
            at_most=MOST_WORKER,
        ),
        results.ratio("its process with the model alone, RSS", model.rss, peer.rss, "MB", n),
        results.figure(
            "all of the site, PSS", round(sum(of.pss for *_, of in weights)), "MB", n, at_most=MOST_MB
        ),
    ]
    listed = [{"part": name, "started_by": parent, **asdict(of)} for name, parent, of in weights]
    return rows, {"processes_mb": listed, "bare_tensorflow_mb": asdict(peer)}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--photos", type=int, default=300)
    parser.add_argument("--batch", type=int, default=512)
    parser.add_argument("--quick", action="store_true", help="only to see that it runs")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.photos, arguments.batch = 8, 8
    folder = Path(tempfile.mkdtemp(prefix="cifarsite-memory-"))
    try:
        system = SiteSystem("embedded", folder / "site", CLIENTS, {})
        try:
            n = work(system, arguments, folder)
            weights = weigh(system)
            times = batches(folder / "site" / "site.log")
        finally:
            system.site.end()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    # By itself: two that map the same library at once would share its pages.
    rows, details = judge(weights, bare(times), n)
    results.write("memory", rows, quick=arguments.quick, predictions=n, batches=times, **details)


if __name__ == "__main__":
    main()
