"""Training through the site's worker against plain ``model.fit``, and the time to the report's accuracy.

    python -m benchmarks.training [--epochs 3] [--rounds 2] [--skip-time-to-accuracy] [--quick]
                                  [--recipe fast_cnn] [--set epochs=1 --set batch_size=500 ...]

First row: images a second of ``seed_cnn`` through a job as the site runs it (a Celery worker on the embedded
broker, a process of its own for the run, progress each second, a row and a checkpoint an epoch) against
``benchmarks.peers.bare_fit``, in turns. Counted are whole epochs from the end of the first one to the end of
the last one: training, validation, checkpoint and row. Left out are the first epoch, which compiles, and the
start of processes; the clock from the request to the end of the last epoch stands beside it.

Second row: seconds to 75 % of the validation images, the accuracy of the report, by the best recipe's short
schedule against ``seed_cnn`` by ``bare_fit``. Both train on the same images and are judged by the same
10,000 validation images; the test images are never looked at. For both the clock starts when the data is in
memory, before the network is built, so that compiling counts, and so do all validations on the way. It ends
for ``seed_cnn`` with the first epoch that reaches 75 %, for the recipe when ``fit`` returns its model, which
is then measured. Needs ``CIFAR10_DIR``.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks import results
from cifarsite.tests.hosts import Host
from conftest import cifar10_folder

ROOT = Path(__file__).parent.parent
GOAL_SPEED = 0.95
GOAL_TIME = 0.2
ACCURACY = 0.75
SEED_EPOCHS = 40  # the report's own schedule
SHORT: dict[str, float] = {"epochs": 1, "small_epochs": 0, "cutout": 0, "batch_size": 500}
TINY = "training.tests.tiny_recipe"

REQUEST = """
from training.jobs import lifecycle as jobs
answer = jobs.request_training(recipe=%(recipe)r, parameters=%(parameters)r, by=None).pk
"""


def part(*words: str) -> dict[str, Any]:
    """Run a module in a process of its own; the JSON of its last line."""
    environment = {"TF_CPP_MIN_LOG_LEVEL": "2", **os.environ}
    done = subprocess.run(
        [sys.executable, "-m", *words], cwd=ROOT, env=environment, stdout=subprocess.PIPE, check=True
    )
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


# --- Through a worker -------------------------------------------------------------------------


def through_a_worker(recipe: str, epochs: int, seed: int) -> dict[str, Any]:
    """One job, watched from outside: when each epoch's line stood in the run's log."""
    name = "tiny" if recipe == TINY else recipe
    with tempfile.TemporaryDirectory(prefix="training-") as folder:
        host = Host(
            Path(folder) / "site",
            # Beside nothing else it makes no difference; beside something it would be unfair.
            TRAINING_NICE=0,
            HEARTBEAT_SECONDS=5,
            LEASE_SECONDS=30,
            EXTRA_RECIPES=recipe if recipe == TINY else "",
        )
        try:
            host.prepare()
            host.start_worker("trainer", queues="train")
            host.wait_for_worker("trainer")
            started = time.perf_counter()
            job = host.ask(REQUEST % {"recipe": name, "parameters": {"epochs": epochs, "seed": seed}})
            log = host.folder / "runs" / str(job) / "log.txt"
            ends: list[float] = []
            seen = 0
            while len(ends) < epochs:
                time.sleep(0.05)
                lines = log.read_text().splitlines() if log.exists() else []
                ends += [time.perf_counter() - started] * (count_epochs(lines) - seen)
                seen = count_epochs(lines)
                if time.perf_counter() - started > 6 * 3600:
                    raise SystemExit(f"The job has not come to its end: {lines[-3:]}")
            images = int(
                next(line for line in lines if "images to train on" in line).split()[2].replace(",", "")
            )
        finally:
            host.destroy()
    return {"images": images, "epoch_ends_s": [round(end, 3) for end in ends]}


def count_epochs(lines: list[str]) -> int:
    return sum(" epoch " in line and "val_accuracy" in line for line in lines)


def steady(found: dict[str, Any]) -> float:
    """Images a second from the end of the first epoch to the end of the last one."""
    ends = found["epoch_ends_s"]
    return float(found["images"] * (len(ends) - 1) / (ends[-1] - ends[0]))


def compare_speed(recipe: str, epochs: int, rounds: int, quick: bool) -> tuple[list[results.Row], Any]:
    bare: list[dict[str, Any]] = []
    ours: list[dict[str, Any]] = []
    for number in range(rounds):
        words = ["--recipe", recipe, "--epochs", str(epochs), "--seed", str(number)]
        started = time.perf_counter()
        bare.append(part("benchmarks.peers.bare_fit", *words))
        bare[-1]["clock_s"] = round(time.perf_counter() - started, 1)
        ours.append(through_a_worker(recipe, epochs, number))
        ours[-1]["clock_s"] = round(ours[-1]["epoch_ends_s"][-1], 1)
        print(f"round {number + 1}: {steady(ours[-1]):.1f}, bare {steady(bare[-1]):.1f} images/s", flush=True)
    name = recipe.rpartition(".")[2]
    return [
        results.ratio(
            f"training {name} through a worker against model.fit, whole epochs",
            ours=statistics.median(map(steady, ours)),
            peer=statistics.median(map(steady, bare)),
            unit="images/s",
            n=rounds * (epochs - 1),
            at_least=None if quick else GOAL_SPEED,
        ),
        results.ratio(
            f"training {name}: from request or command to the end of {epochs} epochs, starts included",
            ours=statistics.median(found["clock_s"] for found in ours),
            peer=statistics.median(found["clock_s"] for found in bare),
            unit="s",
            n=rounds,
        ),
    ], {"worker": ours, "bare_fit": bare}


# --- Time to the report's accuracy ------------------------------------------------------------


def short(recipe_name: str, values: dict[str, float]) -> dict[str, Any]:
    """A part, in a process of its own: the recipe's short schedule, on the images of ``seed_cnn``."""
    from benchmarks.peers.bare_fit import find, split
    from training.engine.data.cifar10 import one_hot
    from training.engine.data.preprocessing import make_inputs
    from training.engine.training.fit import fit

    data = split(find("seed_cnn"))
    recipe = find(recipe_name)
    started = time.perf_counter()
    fitted = fit(recipe, data, values)
    seconds = time.perf_counter() - started
    inputs = make_inputs(data.x_val, recipe.preprocessing)
    answers = fitted.model.predict(inputs, batch_size=500, verbose=0).argmax(axis=1)
    return {
        "seconds": round(seconds, 2),
        "val_accuracy": round(float((answers == one_hot(data.y_val).argmax(axis=1)).mean()), 4),
        "images": len(data.x_train),
        "validation_images": len(data.x_val),
        "history": [round(value, 4) for value in fitted.history["val_accuracy"]],
    }


def compare_time(
    recipe: str, values: dict[str, float], rounds: int, accuracy: float, seed_epochs: int, quick: bool
) -> tuple[list[results.Row], Any]:
    ours: list[dict[str, Any]] = []
    seeds: list[dict[str, Any]] = []
    for number in range(rounds):
        own = json.dumps({**values, "seed": number})
        ours.append(part("benchmarks.training", "--part-short", own, "--recipe", recipe))
        words = ["--epochs", str(seed_epochs), "--until", str(accuracy), "--seed", str(number)]
        seeds.append(part("benchmarks.peers.bare_fit", *words))
        print(f"round {number + 1}: {ours[-1]}; seed_cnn {seeds[-1]['epoch_ends_s'][-1]} s", flush=True)
    row = results.ratio(
        f"time to {accuracy:.0%} of the validation images: {recipe} ({written(values)}) against seed_cnn",
        ours=statistics.median(found["seconds"] for found in ours),
        peer=statistics.median(found["epoch_ends_s"][-1] for found in seeds),
        unit="s",
        n=rounds,
        at_most=None if quick else GOAL_TIME,
    )
    short_of_it = [found["val_accuracy"] for found in ours if found["val_accuracy"] < accuracy]
    if short_of_it and not quick:
        row["met"] = False
        row["what"] += f"; NOT REACHED: {short_of_it}"
    if any(max(found["val_accuracy"]) < accuracy for found in seeds):
        row["what"] += f"; seed_cnn did not reach it in {seed_epochs} epochs"
    return [row], {"ours": ours, "seed_cnn": seeds, "parameters": values}


def written(values: dict[str, float]) -> str:
    return ", ".join(f"{name}={value:g}" for name, value in values.items())


def assignment(text: str) -> tuple[str, float]:
    name, _, value = text.partition("=")
    return name, float(value)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=3, help="of each run of the first row, 2 or more")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--recipe", default="fast_cnn", help="that of the second row")
    parser.add_argument("--set", type=assignment, action="append", help="a parameter of it, such as epochs=3")
    parser.add_argument("--time-rounds", type=int, default=1, help="of the second row, a seed each")
    parser.add_argument("--skip-speed", action="store_true")
    parser.add_argument("--skip-time-to-accuracy", action="store_true")
    parser.add_argument("--quick", action="store_true", help="a tiny network: says nothing about speed")
    parser.add_argument("--part-short", type=json.loads, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if cifar10_folder() is None:
        print("CIFAR10_DIR names no folder with CIFAR-10's batches: nothing is measured.")
        return
    os.environ.setdefault("CIFAR10_DIR", str(cifar10_folder()))
    if arguments.part_short:
        print(json.dumps(short(arguments.recipe, arguments.part_short)))
        return
    quick = arguments.quick
    rows: list[results.Row] = []
    details: dict[str, Any] = {}
    if not arguments.skip_speed:
        recipe, epochs, rounds = ("seed_cnn", max(arguments.epochs, 2), arguments.rounds)
        if quick:
            recipe, epochs, rounds = TINY, 3, 1
        found, details["speed"] = compare_speed(recipe, epochs, rounds, quick)
        rows += found
    if not (arguments.skip_time_to_accuracy or quick):
        values = dict(arguments.set) if arguments.set else SHORT
        found, details["time"] = compare_time(
            arguments.recipe, values, arguments.time_rounds, ACCURACY, SEED_EPOCHS, quick
        )
        rows += found
    results.write("training", rows, quick=quick, data=Path(os.environ["CIFAR10_DIR"]).name, **details)


if __name__ == "__main__":
    main()
