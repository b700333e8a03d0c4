"""The network of the report that this project grew out of, to the letter.

9,176,018 parameters, 40 epochs at batch 300, a fifth of the training images held out.
"""

from collections.abc import Iterator

from training.engine.data import CLASS_NAMES, IMAGE_SHAPE, TrainingData, one_hot
from training.engine.recipe import Batch, Parameter, Recipe, Values, batch_size, epochs, seed, shuffled_rows

FILTERS = (32, 32, 64, 64, 128, 128)
DENSE_UNITS = (2500, 1500)


def build(data: TrainingData, values: Values, steps_per_epoch: int):  # type: ignore[no-untyped-def]
    import keras
    from keras import layers

    dropout = float(values["dropout"])
    model = keras.Sequential([keras.Input(IMAGE_SHAPE), layers.Rescaling(1 / 255)], name="seed_cnn")
    for block in range(3):
        for filters in FILTERS[2 * block : 2 * block + 2]:
            model.add(layers.Conv2D(filters, 3, padding="same", activation="relu"))
        model.add(layers.MaxPooling2D())
        model.add(layers.Dropout(dropout))
    model.add(layers.Flatten())
    for number, units in enumerate(DENSE_UNITS):
        name = "features" if number == len(DENSE_UNITS) - 1 else None
        model.add(layers.Dense(units, activation="relu", name=name))
        model.add(layers.Dropout(dropout))
    model.add(layers.Dense(len(CLASS_NAMES), activation="softmax", dtype="float32", name="probabilities"))
    model.compile(
        optimizer=keras.optimizers.Adam(float(values["learning_rate"])),
        loss=keras.losses.CategoricalCrossentropy(),
        metrics=["accuracy"],
        jit_compile=False,
    )
    return model


def batches(data: TrainingData, values: Values, epoch: int) -> Iterator[Batch]:
    for rows in shuffled_rows(len(data.x_train), int(values["batch_size"]), int(values["seed"]), epoch):
        yield data.x_train[rows], one_hot(data.y_train[rows])


RECIPE = Recipe(
    name="seed_cnn",
    title="The report's network",
    description=(
        "Three pairs of convolutions with dropout, two dense layers, 9,176,018 parameters. "
        "The baseline that every other recipe is held against."
    ),
    preprocessing="squash32-v1",
    validation_fraction=0.2,
    parameters=(
        epochs(40),
        batch_size(300),
        Parameter(
            "learning_rate", 0.001, 1e-6, 1.0, "Adam's step size: how far the weights move at each step."
        ),
        Parameter("dropout", 0.3, 0.0, 0.9, "Share of activations dropped between the blocks."),
        seed(),
    ),
    build=build,
    batches=batches,
)
