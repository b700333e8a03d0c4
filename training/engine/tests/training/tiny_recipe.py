"""A recipe of seconds that has all that a resumed run must carry on: dropout, BatchNorm,
a schedule, averaged weights, early stopping, augmentation."""

from training.engine.training.recipe import Hyperparameter, Recipe, batch_size, epochs, seed


def build(data, values, steps_per_epoch):
    import keras
    from keras import layers

    model = keras.Sequential(
        [
            keras.Input((32, 32, 3)),
            layers.Rescaling(1 / 255),
            layers.AveragePooling2D(4),
            # A bias in front of BatchNorm has no gradient but rounding, which Adam makes a step of.
            layers.Conv2D(8, 3, use_bias=False),
            layers.BatchNormalization(synchronized=True),
            layers.ReLU(),
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


def augment(data, values, batch):
    from training.engine.training.augment import mirrored

    return mirrored(batch.images, batch.draws[:, 0] < 0.5)


RECIPE = Recipe(
    name="tiny",
    title="Tiny",
    description="For tests.",
    preprocessing="squash32-v1",
    validation_fraction=0.2,
    parameters=(
        epochs(6),
        batch_size(50),
        Hyperparameter("learning_rate", 0.005, 1e-6, 1e30, "Adam's first step size."),
        Hyperparameter("dropout", 0.2, 0.0, 0.9, "Share of activations dropped."),
        Hyperparameter("averaged", 0, 0, 1, "1: the weights of epochs 2 and 5 are averaged."),
        seed(),
    ),
    build=build,
    augment=augment,
    draws=1,
    averaged=lambda values: (2, 5) if values["averaged"] else (),
)
