"""A recipe for tests: trains in a second, and fails in the ways that runs fail."""

import os
import signal
import time
from collections.abc import Iterator

import numpy as np

from training.engine.data import CLASS_NAMES, IMAGE_SHAPE, TrainingData, one_hot
from training.engine.recipe import Batch, Parameter, Recipe, Values, batch_size, epochs, seed, shuffled_rows


def build(data: TrainingData, values: Values, steps_per_epoch: int):
    import keras
    from keras import layers

    model = keras.Sequential(
        [
            keras.Input(IMAGE_SHAPE),
            layers.AveragePooling2D(16),
            layers.Rescaling(1 / 255),
            layers.Flatten(name="features"),
            layers.Dense(len(CLASS_NAMES), name="logits"),
        ],
        name="tiny",
    )
    model.compile(
        optimizer=keras.optimizers.Adam(0.01),
        loss=keras.losses.CategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        jit_compile=False,
    )
    return model


def batches(data: TrainingData, values: Values, epoch: int) -> Iterator[Batch]:
    """The epoch named by a parameter goes wrong, each time it comes; epochs count from 1."""
    rows_of_batches = shuffled_rows(len(data.x_train), int(values["batch_size"]), int(values["seed"]), epoch)
    for rows in rows_of_batches:
        time.sleep(float(values["pause"]))
        x = data.x_train[rows].astype(np.float32)
        if epoch + 1 == values["killed_in"]:
            os.kill(os.getpid(), signal.SIGKILL)
        if epoch + 1 == values["nan_in"]:
            x[:] = np.nan
        if epoch + 1 == values["hungry_in"]:
            np.ones(2**37)
        yield x, one_hot(data.y_train[rows])


RECIPE = Recipe(
    name="tiny",
    title="Tiny network for tests",
    description="Ten linear outputs on four pixels.",
    preprocessing="squash32-v1",
    validation_fraction=0.1,
    parameters=(
        epochs(2),
        batch_size(10_000),
        seed(),
        Parameter("pause", 0.0, 0.0, 60.0, "Seconds before each batch."),
        Parameter("killed_in", 0, 0, 1_000, "The epoch in which the process kills itself."),
        Parameter("nan_in", 0, 0, 1_000, "The epoch in which the images become NaN."),
        Parameter("hungry_in", 0, 0, 1_000, "The epoch that asks for a terabyte."),
    ),
    build=build,
    batches=batches,
)
