"""A recipe of seconds that has all that a resumed run must carry on: dropout, BatchNorm,
a schedule, averaged weights, early stopping, augmentation."""

import numpy as np

from training.engine.data import one_hot
from training.engine.recipe import Parameter, Recipe, batch_size, epochs, seed, shuffled_rows


def build(data, values, steps_per_epoch):
    import keras
    from keras import layers

    model = keras.Sequential(
        [
            keras.Input((32, 32, 3)),
            layers.Rescaling(1 / 255),
            layers.AveragePooling2D(4),
            layers.Conv2D(8, 3, activation="relu"),
            layers.BatchNormalization(synchronized=True),
            layers.Dropout(float(values["dropout"])),
            layers.Flatten(),
            layers.Dense(32, activation="relu", name="features"),
            layers.Dense(10, name="logits"),
        ]
    )
    schedule = keras.optimizers.schedules.CosineDecay(
        float(values["learning_rate"]), decay_steps=steps_per_epoch * int(values["epochs"])
    )
    model.compile(
        optimizer=keras.optimizers.Adam(schedule, use_ema=True, ema_momentum=0.9),
        loss=keras.losses.CategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        jit_compile=False,
    )
    return model


def batches(data, values, epoch):
    flip = np.random.default_rng([int(values["seed"]), epoch, 1]).integers(0, 2, len(data.x_train)) == 1
    for rows in shuffled_rows(len(data.x_train), int(values["batch_size"]), int(values["seed"]), epoch):
        x = data.x_train[rows].copy()
        x[flip[rows]] = x[flip[rows]][:, :, ::-1]
        yield x, one_hot(data.y_train[rows])


RECIPE = Recipe(
    name="tiny",
    title="Tiny",
    description="For tests.",
    preprocessing="squash32-v1",
    validation_fraction=0.2,
    parameters=(
        epochs(6),
        batch_size(50),
        Parameter("learning_rate", 0.005, 1e-6, 1e30, "Adam's first step size."),
        Parameter("dropout", 0.2, 0.0, 0.9, "Share of activations dropped."),
        Parameter("patience", 0, 0, 100, "Epochs without a better one before the run ends; 0: never."),
        Parameter("averaged", 0, 0, 1, "1: the weights of epochs 2 and 5 are averaged."),
        seed(),
    ),
    build=build,
    batches=batches,
    averaged=lambda values: (2, 5) if values["averaged"] else (),
)
