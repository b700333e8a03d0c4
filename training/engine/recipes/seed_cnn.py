"""The network of the report that this project grew out of, to the letter.

9,176,018 parameters, 40 epochs at batch 300, a fifth of the training images held out.
"""

from training.engine.data.cifar10 import CLASS_NAMES, IMAGE_SHAPE, TrainingData
from training.engine.training.recipe import Hyperparameter, Recipe, Values, batch_size, epochs, seed

FILTERS = (32, 32, 64, 64, 128, 128)
DENSE_UNITS = (2500, 1500)


def build(data: TrainingData, values: Values, steps_per_epoch: int):  # type: ignore[no-untyped-def]
    import keras
    from keras import layers

    dropout = float(values["dropout"])
    model = keras.Sequential([keras.Input(IMAGE_SHAPE), layers.Rescaling(1 / 255)], name="seed_cnn")
    for block in range(3):
        first, second = FILTERS[2 * block : 2 * block + 2]
        model.add(layers.Conv2D(first, 3, padding="same", activation="relu"))
        model.add(layers.Dropout(dropout))
        model.add(layers.Conv2D(second, 3, padding="same", activation="relu"))
        model.add(layers.MaxPooling2D())
    model.add(layers.Flatten())
    model.add(layers.Dropout(dropout))
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


RECIPE = Recipe(
    name="seed_cnn",
    title="The report's network",
    description=(
        "Three pairs of convolutions with dropout, two dense layers, 9,176,018 "
        "parameters. The baseline for every other recipe."
    ),
    translations={
        "vi": (
            "Mạng của báo cáo gốc",
            "Ba cặp lớp tích chập với dropout, hai lớp dày đặc, 9.176.018 tham số. Mốc so sánh "
            "cho mọi công thức khác.",
        )
    },
    preprocessing="squash32-v1",
    validation_fraction=0.2,
    parameters=(
        epochs(40),
        batch_size(300),
        Hyperparameter(
            "learning_rate",
            0.001,
            1e-6,
            1.0,
            "Adam's learning rate.",
            {"vi": ("Tốc độ học", "Tốc độ học của Adam.")},
        ),
        Hyperparameter(
            "dropout",
            0.3,
            0.0,
            0.9,
            "Share of activations dropped, within each block and before each dense layer.",
            {"vi": ("Dropout", "Tỷ lệ giá trị kích hoạt bị bỏ, trong mỗi khối và trước mỗi lớp dense.")},
        ),
        seed(),
    ),
    build=build,
    jit_compile=True,
)
