"""Do two prediction workers answer twice as much as one, where each has cores of its own?

    python -m benchmarks.workers [--photos 4000] [--rounds 2] [--way simulated|real] [--quick]

Real workers on PostgreSQL and Redis: real claims, locks, messages, inputs read, answers judged and stored.
On a machine of four cores or more each worker is bound to half of them and runs the model (``real``). On
a smaller one the cores for a second model are not there. There the forward pass is replaced by a wait of
the time that it takes with all of this machine's cores, measured first (``simulated``): what is measured
is whether claims, locks and messages let two workers do twice the work. One worker and two take turns;
each time the same photos wait for an answer, as single uploads do, with a message for every 16 of them.
Measured is from the first message to the last answer stored, by the clock of this machine.
"""

from __future__ import annotations

import argparse
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psycopg

from benchmarks import results
from benchmarks.million import make_database, postgres
from benchmarks.process_tree import processor_seconds
from cifarsite.tests.faults.servers import Redis
from cifarsite.tests.hosts import WORKER, Host

ROOT = Path(__file__).parent.parent
MODEL = ROOT / "training" / "pretrained" / "photo_net" / "model.keras"
SMALL_MODEL = ROOT / "training" / "pretrained" / "fast_cnn" / "model.keras"
BATCH = 64
GOAL = 1.9
FOR_REAL = 4  # cores

PHOTOS = """
import io
from django.core.files.base import ContentFile
from django.utils import timezone
from PIL import Image
from classifier.images.inputs import encode_input
from classifier.models import Photo, Prediction, User
from training.engine.data.preprocessing import find_version
from training.registry.model_store import live_preprocessing

owner = User.objects.get(username="alice")
name = live_preprocessing()
height, width = find_version(name).size
noise = Image.effect_noise((width, height), 40).convert("RGB")
first = Prediction(owner=owner)
first.photo = Photo(owner=owner)
content, sha256 = encode_input(noise)
first.input.save("", content, save=False)
now = timezone.now()
photos = [
    Photo(owner=owner, filename=f"{n}.jpg", width=640, height=480, size=60_000, pixel_sha256="0" * 64)
    for n in range(%(photos)d)
]
Photo.objects.bulk_create(photos, batch_size=500)
Prediction.objects.bulk_create(
    [
        Prediction(
            photo=photo, owner=owner, photo_created_at=photo.created_at, preprocessing=name,
            input=first.input.name, input_sha256=sha256, priority=0,
        )
        for photo in photos
    ],
    batch_size=500,
)
answer = len(photos)
"""
# All wait again.
ASK = """
from django.utils import timezone
from classifier.models import Prediction
from classifier.predictions.queue import wake

rows = Prediction.objects.all()
rows.update(status="queued", attempt=0, claim=None, worker="", finished_at=None)
answer = timezone.now().timestamp()
for _message in range(rows.count() // 16):
    wake()
"""
LEFT = "SELECT count(*) FROM classifier_prediction WHERE status IN ('queued', 'running')"
FOUND = """
from django.db.models import Count, Max
from classifier.models import Prediction
done = Prediction.objects.filter(status="done")
answer = {
    "done": done.count(),
    "last": done.aggregate(last=Max("finished_at"))["last"].timestamp(),
    "by_worker": dict(done.order_by().values_list("worker").annotate(n=Count("pk"))),
    "taken_twice": done.filter(attempt__gt=1).count(),
}
"""
FORWARD = """
import statistics, sys, time
import numpy as np
from training.engine.inference.predictor import Predictor
model = Predictor(sys.argv[1])
images = np.random.default_rng(0).integers(0, 256, (64, *model.input_shape), dtype=np.uint8)
times = []
for _turn in range(int(sys.argv[2]) + 2):
    start = time.perf_counter()
    model.forward(images)
    times.append(time.perf_counter() - start)
print(statistics.median(times[2:]))
"""


def batch_seconds(model: Path, n: int) -> float:
    """Median seconds of a forward pass of 64 photos, with all cores of this machine."""
    environment = {"TF_CPP_MIN_LOG_LEVEL": "3", **os.environ}
    words = [sys.executable, "-c", FORWARD, str(model), str(n)]
    done = subprocess.run(words, cwd=ROOT, env=environment, stdout=subprocess.PIPE, check=True)
    return float(done.stdout)


def halves() -> list[str]:
    """The cores that this process may use, in two parts, as ``taskset`` writes them."""
    cores = sorted(os.sched_getaffinity(0))
    middle = len(cores) // 2
    return [",".join(map(str, part)) for part in (cores[:middle], cores[middle : 2 * middle])]


def start_worker(host: Host, number: int, way: str) -> subprocess.Popen[bytes]:
    name = f"w{number}-{time.monotonic_ns()}"
    words = ["--queues", "predict,batch,default", "--hostname", f"{name}@test"]
    if way == "simulated":
        celery = ["-c", "from benchmarks.waiting_worker import main; main()", *WORKER[2:], *words]
        process = host.start(sys.executable, *celery, name=name)
    else:
        cores = halves()[number - 1]
        process = host.start("taskset", "-c", cores, sys.executable, *WORKER, *words, name=name)
    host.wait_for_worker(name)
    return process


def turn(host: Host, redis: Redis, workers: int, way: str) -> dict[str, Any]:
    """All photos through so many workers, which are started for it and ended after it."""
    processes = [start_worker(host, number + 1, way) for number in range(workers)]
    settle(processes)
    asked = host.ask(ASK)
    with psycopg.connect(host.environment["DATABASE_URL"], autocommit=True) as database:
        while database.execute(LEFT).fetchone() != (0,):
            time.sleep(0.5)
    found = host.ask(FOUND)
    for process in processes:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        host.running.remove(process)
    empty(redis)
    seconds = found["last"] - asked
    return {"seconds": round(seconds, 2), "photos_per_s": round(found["done"] / seconds, 2), **found}


def settle(processes: list[subprocess.Popen[bytes]]) -> None:
    """Until the processes that the workers forked have loaded the model, and nothing more happens."""
    for _look in range(100):
        before = [processor_seconds(process.pid).total() for process in processes]
        time.sleep(3)
        after = [processor_seconds(process.pid).total() for process in processes]
        if all(new - old < 0.2 for old, new in zip(before, after, strict=True)):
            return
    raise SystemExit("The workers do not come to rest: see that nothing else runs here.")


def empty(redis: Redis) -> None:
    """What a turn left of messages is not the next one's."""
    import redis as client

    client.Redis(port=redis.port).flushall()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", type=int, default=4_000)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--way", choices=["simulated", "real"], help="by the number of cores unless given")
    parser.add_argument("--quick", action="store_true", help="few photos and the small model: says nothing")
    arguments = parser.parse_args()
    photos, rounds = (256, 1) if arguments.quick else (arguments.photos, arguments.rounds)
    cores = results.machine()["cores"]
    way = arguments.way or ("real" if cores >= FOR_REAL else "simulated")
    wait = batch_seconds(SMALL_MODEL if arguments.quick else MODEL, 2 if arguments.quick else 20)
    turns: dict[int, list[dict[str, Any]]] = {1: [], 2: []}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="workers-")))
        base = stack.enter_context(postgres(folder))
        make_database(base, "workers")
        redis = Redis()
        stack.callback(redis.destroy)
        redis.start()
        host = Host(
            folder / "site",
            DATABASE_URL=f"{base}/workers",
            BROKER_URL=redis.url,
            HEARTBEAT_SECONDS=5,
            LEASE_SECONDS=30,
            BENCH_BATCH_SECONDS=wait,
        )
        stack.callback(host.destroy)
        host.prepare()
        if not arguments.quick:
            # Not the small model of tests, but the one that answers on a site.
            host.manage("install_pretrained")
        host.ask(PHOTOS % {"photos": photos})
        for number in range(rounds):
            for workers in turns:
                turns[workers].append(turn(host, redis, workers, way))
                rate = turns[workers][-1]["photos_per_s"]
                print(f"round {number + 1}: {workers} worker(s): {rate} photos/s", flush=True)
    one, two = (statistics.median(t["photos_per_s"] for t in turns[workers]) for workers in (1, 2))
    results.write(
        "workers",
        [
            results.ratio(
                f"two worker processes against one, cores to spare ({way})",
                ours=two,
                peer=one,
                unit="photos/s",
                n=rounds,
                at_least=None if arguments.quick else GOAL,
            ),
            results.figure(f"forward pass of {BATCH} photos, all cores", wait * 1000, "ms", rounds),
        ],
        quick=arguments.quick,
        way=way,
        photos=photos,
        turns={str(workers): found for workers, found in turns.items()},
    )


if __name__ == "__main__":
    main()
