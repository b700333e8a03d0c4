"""Plain ``model.fit`` of a recipe's network, with the arrays in memory, as Keras' documentation shows it.

    python -m benchmarks.peers.bare_fit [--recipe seed_cnn] [--epochs 3] [--seed 0] [--until 0.75]

The network, its optimizer, the batch size and the images are the recipe's own; there is no progress, no
checkpoint, no row, no data pipeline. ``--until`` ends after the first epoch whose validation accuracy is so
high. CIFAR-10 comes from ``CIFAR10_DIR``; of its training images the validation ones are held out as the
site does it, and the test images are never looked at. Prints a line of JSON: for each epoch the seconds from
the beginning of the build, data being in memory, to its end, validation included.
"""

from __future__ import annotations

import argparse
import importlib
import json
import math
import os
import time
from collections.abc import Mapping
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras

from training.engine.data.cifar10 import SPLIT_SEED, TrainingData, load_cifar10, one_hot, split_training
from training.engine.recipes import RECIPES
from training.engine.training.recipe import Recipe

VALIDATION_BATCH = 500


class Clock(keras.callbacks.Callback):  # type: ignore[misc]
    """Notes when each epoch ended; ends the run where validation is good enough."""

    def __init__(self, until: float) -> None:
        super().__init__()
        self.until = until
        self.started = time.perf_counter()
        self.ends: list[float] = []
        self.training: list[float] = []

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.begun = time.perf_counter()

    def on_test_begin(self, logs: Any = None) -> None:
        self.training.append(round(time.perf_counter() - self.begun, 3))

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self.ends.append(round(time.perf_counter() - self.started, 3))
        if (logs or {})["val_accuracy"] >= self.until:
            self.model.stop_training = True


def find(name: str) -> Recipe:
    """A recipe by its name, or by its module's name with dots."""
    return importlib.import_module(name).RECIPE if "." in name else RECIPES[name]


def split(recipe: Recipe) -> TrainingData:
    """CIFAR-10's training images, split as the recipe wants it."""
    cifar = load_cifar10(os.environ.get("CIFAR10_DIR") or None)
    return split_training(cifar, recipe.validation_fraction, SPLIT_SEED)


def run(
    recipe: Recipe, data: TrainingData, values: Mapping[str, Any], until: float = math.inf
) -> dict[str, Any]:
    """Train; ``values`` are the recipe's parameters, missing ones take their defaults."""
    cleaned = recipe.clean(values)
    y_train, y_val = one_hot(data.y_train), one_hot(data.y_val)
    clock = Clock(until)
    keras.utils.set_random_seed(int(cleaned["seed"]))
    batch_size = int(cleaned["batch_size"])
    model = recipe.build(data, cleaned, math.ceil(len(data.x_train) / batch_size))
    history = model.fit(
        data.x_train,
        y_train,
        batch_size=batch_size,
        epochs=int(cleaned["epochs"]),
        validation_data=(data.x_val, y_val),
        validation_batch_size=VALIDATION_BATCH,
        callbacks=[clock],
        verbose=0,
    )
    return {
        "images": len(data.x_train),
        "validation_images": len(data.x_val),
        "epoch_ends_s": clock.ends,
        "training_s": clock.training,
        "val_accuracy": [round(value, 4) for value in history.history["val_accuracy"]],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--recipe", default="seed_cnn")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--until", type=float, default=math.inf)
    arguments = parser.parse_args()
    recipe = find(arguments.recipe)
    values = {"epochs": arguments.epochs, "seed": arguments.seed}
    print(json.dumps(run(recipe, split(recipe), values, arguments.until)))


if __name__ == "__main__":
    main()
