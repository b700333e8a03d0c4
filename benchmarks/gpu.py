"""What a GPU makes of training and of predicting, and how much of it is used.

    python -m benchmarks.gpu [--data FOLDER] [--out FILE] [--seconds 300] [--parts NAME,...] [--quick]

Needs the engine alone: no Django, no database. ``--data`` is a folder with CIFAR-10's batches (default:
``CIFAR10_DIR``). Each part is a process of its own with a time limit, the most telling first; a figure is
printed as soon as it is known, and all of them are written to ``--out``.

- ``fast_cnn``, ``seed_cnn``: the whole default run; ``photo_net``: its first three epochs. Images a second
  are those of the training part of an epoch, from the third one on and without the first one of another
  image size, which compiles. ``bound``: the same network's ``fit`` on one batch that stays on the device.
- ``forward``: images a second of each model through ``Predictor``, and how far an image's answer alone is
  from its answer in a batch.
- ``together``: a training run beside a process that predicts, on one card.
- ``NAME:jit``, ``NAME:plain``, ``NAME:bfloat16``: three epochs of a recipe compiled by XLA, not compiled, or
  in another precision.

``--quick`` runs every part on whatever there is, with a few images: it shows that all works, and no speed.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
PARTS = {
    # Longest time each may take, seconds.
    "fast_cnn": 85,
    "seed_cnn": 115,
    "photo_net": 75,
    "forward": 60,
    "together": 80,
    "fast_cnn:jit": 50,
    "seed_cnn:plain": 30,
    "seed_cnn:bfloat16": 40,
    "photo_net:jit": 60,
    "fast_cnn:bfloat16": 30,
}
SIZES = (1, 8, 64, 256)
QUICK_IMAGES = 200
TOGETHER_SECONDS = 25.0


def tell(**figures: Any) -> None:
    """One line on standard output, which the parent process reads, too."""
    print(json.dumps(figures), flush=True)


# --- A training run, and its bound -----------------------------------------------------------------


def training(name: str, variant: str, data_folder: str, quick: bool) -> None:
    """Train a recipe and say how fast; then the bound of the same step."""
    import keras
    import tensorflow as tf

    from training.engine.data.cifar10 import load_cifar10, split_training
    from training.engine.data.preprocessing import make_inputs
    from training.engine.recipes import RECIPES
    from training.engine.training import devices
    from training.engine.training.fit import fit

    strategy = devices.prepare_training()
    if variant == "bfloat16":
        keras.mixed_precision.set_global_policy("mixed_bfloat16")
    began = time.perf_counter()
    cifar = load_cifar10(data_folder)
    data = split_training(cifar, RECIPES[name].validation_fraction, 0)
    if quick:
        data = replace(
            data,
            **{key: getattr(data, key)[:QUICK_IMAGES] for key in ("x_train", "y_train", "x_val", "y_val")},
        )
    tell(data_s=round(time.perf_counter() - began, 1), tensorflow=tf.__version__, gpus=devices.prepare())
    recipe, traced = counting(RECIPES[name])
    if variant:
        recipe = replace(recipe, jit_compile={"jit": True, "plain": False}.get(variant, recipe.jit_compile))
    values = recipe.clean(wanted(name, variant, quick))
    watch = watching()
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        fitted = fit(recipe, data, values, [watch], checkpoint_folder=Path(folder), strategy=strategy)
    seconds = time.perf_counter() - started
    history = fitted.history
    sides = [recipe.input_side(values, e) if recipe.input_side else None for e in range(len(history["loss"]))]
    first = {side: sides.index(side) for side in sides}
    steady = {
        side: statistics.median(
            [
                r
                for e, r in enumerate(history["images_per_second"])
                if sides[e] == side and e not in first.values()
            ]
            or [history["images_per_second"][first[side]]]
        )
        for side in first
    }
    compiling = sum(history["seconds"][e] - len(data.x_train) / steady[side] for side, e in first.items())
    tell(
        images_per_second={str(side or "all"): round(rate) for side, rate in steady.items()},
        waiting=round(max(history["waiting"][1:]), 4),
        first_step_s=round(watch.first - started, 1),
        compiling_s=round(compiling, 1),
        run_s=round(seconds, 1),
        epochs=len(history["loss"]),
        epoch_s=round(statistics.median(history["seconds"][1:]), 2),
        traces=len(traced),
        jit=recipe.jit_compile and devices.prepare() == 1,
        val_accuracy=round(max(history["val_accuracy"]), 4),
    )
    shown = slice(0, QUICK_IMAGES if quick else 2_000 if name == "photo_net" else None)
    inputs = make_inputs(cifar.x_test[shown], recipe.preprocessing)
    fitted.model.jit_compile = False  # Keras would have XLA compile it, for these few batches
    answers = fitted.model.predict(inputs, batch_size=500, verbose=0).argmax(axis=1)
    tell(test_accuracy=round(float((answers == cifar.y_test[shown]).mean()), 4), test_images=len(inputs))
    ratios = {}
    for side, rate in steady.items():
        at_most = bound(recipe, data, values, side, 3 if quick else 20)
        ratios[str(side or "all")] = round(rate / at_most, 3)
        tell(bound={str(side or "all"): round(at_most)}, of_the_bound=ratios)


def wanted(name: str, variant: str, quick: bool) -> dict[str, Any]:
    values: dict[str, Any] = {}
    if name == "photo_net" or variant:
        values["epochs"] = 3
        if name == "fast_cnn":
            values["small_epochs"] = 0
    if quick:
        values |= {"epochs": 3, "batch_size": 50}
        if name == "fast_cnn":
            values["small_epochs"] = 1
    return values


def counting(recipe: Any) -> tuple[Any, list[Any]]:
    """The recipe, and a list that grows with each trace of its training step."""
    traced: list[Any] = []

    def augment(data: Any, values: Any, batch: Any) -> Any:
        traced.append(batch.side)
        return recipe.augment(data, values, batch) if recipe.augment else batch.images

    return replace(recipe, augment=augment), traced


def watching() -> Any:
    import keras

    class Watch(keras.callbacks.Callback):  # type: ignore[misc]
        first = 0.0

        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            self.first = self.first or time.perf_counter()

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            shown = ("images_per_second", "seconds", "waiting", "loss", "val_accuracy")
            tell(epoch=epoch + 1, **{name: round(float(logs[name]), 4) for name in shown})

    return Watch()


def bound(recipe: Any, data: Any, values: Mapping[str, Any], side: int | None, steps: int) -> float:
    """Images a second of Keras' ``fit`` where every step takes the same batch, which is on the device."""
    import keras
    import tensorflow as tf

    from training.engine.training import devices
    from training.engine.training.batches import Images, Order

    order = Order(len(data.x_train), recipe.draws, values)
    source = Images(recipe, data, values)
    source.side = side
    x, y, _ = tf.function(source.batch, autograph=False)(*next(iter(order.dataset())))
    x, y = tf.Variable(x, trainable=False), tf.Variable(y, trainable=False)

    class Kept(keras.Model):  # type: ignore[misc]
        def train_step(self, data: Any) -> Any:
            return super().train_step((x.read_value(), y.read_value()))

    class Clock(keras.callbacks.Callback):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.taken: list[float] = []

        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            self.begun = time.perf_counter()

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            self.taken.append(time.perf_counter() - self.begun)

    network = recipe.build(data, values, order.steps)
    kept = Kept(network.inputs, network.outputs)
    gpu = devices.prepare() > 0
    kept.compile(
        optimizer=network.optimizer,
        loss=network.loss,
        weighted_metrics=["accuracy"],
        steps_per_execution=steps if gpu else 1,
        jit_compile=recipe.jit_compile and gpu,
    )
    clock = Clock()
    kept.fit(tf.data.Dataset.range(steps), epochs=6, callbacks=[clock], verbose=0)
    return float(order.size * steps / min(clock.taken[1:]))


# --- Predicting ------------------------------------------------------------------------------------


def model_files(folder: Path) -> dict[str, Path]:
    """The shipped models, and the report's network as it is before training."""
    from training.engine.data.cifar10 import TrainingData
    from training.engine.packaging.package import saved
    from training.engine.recipes import RECIPES

    found = {path.parent.name: path for path in sorted(ROOT.glob("training/pretrained/*/model.keras"))}
    recipe = RECIPES["seed_cnn"]
    import numpy as np

    nothing = TrainingData(*(np.zeros((1, 32, 32, 3), np.uint8), np.zeros(1, np.uint8)) * 2)
    path = folder / "model.keras"
    path.write_bytes(saved(recipe.build(nothing, recipe.clean(), 1)))
    return {"photo_net": found.pop("photo_net"), **found, "seed_cnn": path}


def forward(quick: bool) -> None:
    import numpy as np

    from training.engine.inference.predictor import Predictor
    from training.engine.training import devices

    devices.prepare()
    with tempfile.TemporaryDirectory() as folder:
        for name, path in model_files(Path(folder)).items():
            started = time.perf_counter()
            predictor = Predictor(path)
            predictor.network.warm_up()
            ready = time.perf_counter() - started
            images = np.random.default_rng(0).integers(
                0, 256, (max(SIZES), *predictor.input_shape), dtype=np.uint8
            )
            rates = {}
            for size in SIZES[:2] if quick else SIZES:
                taken = []
                predictor.forward(images[:size])
                end = time.perf_counter() + (0.2 if quick else 1.5)
                while len(taken) < 3 or time.perf_counter() < end:
                    begun = time.perf_counter()
                    predictor.forward(images[:size])
                    taken.append(time.perf_counter() - begun)
                rates[str(size)] = round(size / statistics.median(taken), 1)
            together = predictor.predict(images[:64]).probabilities
            alone = np.concatenate([predictor.predict(images[i : i + 1]).probabilities for i in range(8)])
            tell(
                model=name,
                forward=rates,
                loaded_and_warm_s=round(ready, 1),
                alone_against_batch=float(np.abs(alone - together[:8]).max()),
            )


def predicting(seconds: float) -> None:
    """Answer one photo after the other; the line says how many, and how long one took."""
    import numpy as np

    from training.engine.inference.predictor import Predictor

    predictor = Predictor(ROOT / "training/pretrained/photo_net/model.keras")
    predictor.network.warm_up()
    image = np.zeros((1, *predictor.input_shape), np.uint8)
    print("ready", flush=True)
    taken: list[float] = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(taken) < 20:
        begun = time.perf_counter()
        predictor.forward(image)
        taken.append(time.perf_counter() - begun)
        time.sleep(0.01)
    taken.sort()
    tell(
        answers=len(taken),
        median_ms=round(1e3 * statistics.median(taken), 2),
        p95_ms=round(1e3 * taken[int(0.95 * len(taken))], 2),
    )


def together(data_folder: str, quick: bool) -> None:
    """Predict alone, then while a run trains on the same card."""
    seconds = 1.0 if quick else TOGETHER_SECONDS
    mine = [sys.executable, "-m", "benchmarks.gpu", "--part", "predicting", "--seconds"]
    alone = subprocess.run([*mine, str(seconds / 5)], stdout=subprocess.PIPE, check=True, text=True)
    tell(predicting_alone=json.loads(alone.stdout.splitlines()[-1]))
    with subprocess.Popen([*mine, str(seconds)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()  # it is ready, and has its memory
        try:
            training("fast_cnn", "" if quick else "plain", data_folder, quick)
            tell(card=card_memory())
            tell(predicting_beside_training=json.loads(process.stdout.readlines()[-1]))
        finally:
            process.kill()


def card_memory() -> str:
    query = [
        "nvidia-smi",
        "--query-gpu=name,driver_version,memory.used,memory.total",
        "--format=csv,noheader",
    ]
    try:
        return subprocess.run(query, capture_output=True, text=True, timeout=20, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return "no nvidia-smi"


# --- All of it -------------------------------------------------------------------------------------


def run_part(name: str, words: list[str], limit: float, note: Callable[[dict[str, Any]], None]) -> None:
    """One part in a process of its own; ``note`` gets each figure as it comes."""
    command = [sys.executable, "-m", "benchmarks.gpu", "--part", name, *words]
    environment = {"TF_CPP_MIN_LOG_LEVEL": "2", **os.environ, "PYTHONUNBUFFERED": "1"}
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(
            ["timeout", "--kill-after=3", f"{limit:.0f}", *command],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
        assert process.stdout is not None
        for line in process.stdout:
            print(f"{name}: {line.rstrip()}", flush=True)
            if line.startswith("{"):
                note(json.loads(line))
        code = process.wait()
        if code:
            errors.seek(0)
            said = errors.read()[-2_500:]
            why = f"not over within {limit:.0f} s" if code in (124, 137) else f"exit status {code}"
            note({"failed": why, "said": said})
            print(f"{name}: FAILED, {why}\n{said}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--data", default=os.environ.get("CIFAR10_DIR", ""), help="folder with CIFAR-10's batches"
    )
    parser.add_argument("--out", type=Path, help="gets all figures as JSON")
    parser.add_argument("--seconds", type=float, default=300.0, help="for all parts together")
    parser.add_argument("--parts", default=",".join(PARTS), help="which, in this order")
    parser.add_argument("--quick", action="store_true", help="a few images: says nothing about speed")
    parser.add_argument("--part", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.part:
        name, _, variant = arguments.part.partition(":")
        if name == "forward":
            forward(arguments.quick)
        elif name == "predicting":
            predicting(arguments.seconds)
        elif name == "together":
            together(arguments.data, arguments.quick)
        else:
            training(name, variant, arguments.data, arguments.quick)
        return
    card = card_memory()
    if card == "no nvidia-smi" and not arguments.quick:
        print(
            "There is no NVIDIA GPU here, so there is nothing to measure. --quick tries all parts on the CPU."
        )
        return
    print(card, flush=True)
    found: dict[str, Any] = {"card": card, "python": platform.python_version(), "quick": arguments.quick}
    words = ["--data", arguments.data, *(["--quick"] if arguments.quick else [])]
    deadline = time.monotonic() + arguments.seconds

    def keep() -> None:
        if arguments.out:
            arguments.out.parent.mkdir(parents=True, exist_ok=True)
            arguments.out.write_text(json.dumps(found, indent=1) + "\n")

    for part in arguments.parts.split(","):
        left = deadline - time.monotonic()
        if left < 10:
            print(f"{part}: left out, the time is over", flush=True)
            continue
        figures: dict[str, Any] = found.setdefault(part, {})

        def note(line: dict[str, Any], figures: dict[str, Any] = figures) -> None:
            if "epoch" in line or "model" in line:
                figures.setdefault("lines", []).append(line)
            else:
                figures.update(line)
            keep()

        run_part(
            part, words, min(left, 10 * PARTS.get(part, 60) if arguments.quick else PARTS.get(part, 60)), note
        )
    keep()


if __name__ == "__main__":
    main()
