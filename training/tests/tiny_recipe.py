"""A recipe for tests: trains in a second, and fails in the ways that runs fail."""

import os
import signal
import time

import numpy as np

from training.engine.data.cifar10 import CLASS_NAMES, IMAGE_SHAPE, TrainingData
from training.engine.training.recipe import Batch, Hyperparameter, Recipe, Values, batch_size, epochs, seed


def build(data: TrainingData, values: Values, steps_per_epoch: int):
    import keras
    from keras import layers
    from tensorflow.python.framework import config

    print("op determinism:", config.is_op_determinism_enabled(), flush=True)
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


def augment(data: TrainingData, values: Values, batch: Batch):
    """The epoch named by a parameter goes wrong, each time it comes; epochs count from 1."""
    import tensorflow as tf

    def go_wrong(epoch):
        time.sleep(float(values["pause"]))
        if epoch + 1 == values["killed_in"]:
            os.kill(os.getpid(), signal.SIGKILL)
        if epoch + 1 == values["hungry_in"]:
            np.ones(2**37)
        return np.float32("nan") if epoch + 1 == values["nan_in"] else np.float32(1)

    factor = tf.numpy_function(go_wrong, [batch.epochs[0]], tf.float32)
    return tf.cast(batch.images, tf.float32) * tf.reshape(factor, ())


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
        Hyperparameter("pause", 0.0, 0.0, 60.0, "Seconds before each batch."),
        Hyperparameter("killed_in", 0, 0, 1_000, "The epoch in which the process kills itself."),
        Hyperparameter("nan_in", 0, 0, 1_000, "The epoch in which the images become NaN."),
        Hyperparameter("hungry_in", 0, 0, 1_000, "The epoch that asks for a terabyte."),
    ),
    build=build,
    augment=augment,
)
