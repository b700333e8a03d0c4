"""A small network that beats the report's: airbench's, taught by photo_net.

Sources: K. Jordan, "94% on CIFAR-10 in 3.29 Seconds on a Single GPU", 2024 (arXiv:2404.00498):
frozen whitening convolution, identity-like initial filters, alternating flip, Muon. G. Hinton et
al., "Distilling the Knowledge in a Neural Network", 2015: a teacher's opinion beside each label.
P. Izmailov et al., "Averaging Weights Leads to Wider Optima and Better Generalization", 2018.
"""

import json
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.engine.data import CLASS_NAMES, IMAGE_SHAPE, TrainingData, one_hot
from training.engine.preprocessing import make_inputs
from training.engine.recipe import Batch, Parameter, Recipe, Values, batch_size, epochs, seed, shuffled_rows

WIDTHS = (64, 256, 256)
SHIFT = 2
NORM_MOMENTUM, STATISTICS_STEPS = 0.6, 10
HEAD_SCALE = 1 / 9
TEACHER = Path(__file__).parents[2] / "pretrained" / "photo_net"
TEACHER_PREPROCESSING = "squash128-v1"


def build(data: TrainingData, values: Values, steps_per_epoch: int):  # type: ignore[no-untyped-def]
    import keras
    from keras import layers, ops

    from training.engine.optimizers import MuonSGD, TwoRounds

    def normalised(x: Any) -> Any:
        x = layers.BatchNormalization(momentum=NORM_MOMENTUM, epsilon=1e-5, scale=False)(x)
        return ops.gelu(x, approximate=True)

    def convolution(width: int) -> Any:
        return layers.Conv2D(width, 3, padding="same", use_bias=False)

    mean = data.x_train.mean(axis=(0, 1, 2), dtype=np.float64)
    variance = data.x_train.var(axis=(0, 1, 2), dtype=np.float64)
    inputs = keras.Input(IMAGE_SHAPE)
    x = layers.Normalization(mean=mean, variance=variance)(inputs)
    whitening = layers.Conv2D(24, 2, name="whitening")
    x = ops.gelu(whitening(x), approximate=True)
    for width in WIDTHS:
        x = layers.MaxPooling2D()(convolution(width)(x))
        x = normalised(x)
        x = normalised(convolution(width)(x))
    x = layers.GlobalMaxPooling2D(name="features")(x)
    x = layers.Dense(len(CLASS_NAMES), use_bias=False, name="head")(x)
    outputs = layers.Rescaling(HEAD_SCALE, name="logits")(x)
    model = keras.Model(inputs, outputs, name="fast_cnn")

    whitening.kernel.assign(whitening_filters((data.x_train[:5000] - mean) / np.sqrt(variance)))
    whitening.kernel.trainable = False
    for layer in model.layers:
        if isinstance(layer, layers.Conv2D) and layer is not whitening:
            layer.kernel.assign(with_identity(layer.get_weights()[0]))
    second_round = min(int(values["second_round"]), int(values["epochs"]))
    first_round = int(values["epochs"]) - second_round
    schedule = TwoRounds(steps_per_epoch * first_round, steps_per_epoch * second_round)
    model.compile(
        optimizer=MuonSGD(schedule, filter_rate=float(values["filter_rate"])),
        loss=keras.losses.CategoricalCrossentropy(
            from_logits=True, label_smoothing=float(values["label_smoothing"])
        ),
        metrics=["accuracy"],
        jit_compile=False,
    )
    return model


def whitening_filters(images: NDArray[np.floating]) -> NDArray[np.float32]:
    """Filters that decorrelate 2x2 patches: float32 [2, 2, 3, 24], each eigenvector and its negative.

    Args:
        images: standardised, [N, 32, 32, 3].
    """
    patches = np.lib.stride_tricks.sliding_window_view(images, (2, 2), axis=(1, 2))
    flat = patches.transpose(0, 1, 2, 4, 5, 3).reshape(-1, 2 * 2 * 3)
    values, vectors = np.linalg.eigh(np.cov(flat, rowvar=False))
    scaled = (vectors / np.sqrt(values + 5e-4)).reshape(2, 2, 3, -1)
    return np.concatenate([scaled, -scaled], axis=-1).astype(np.float32)


def with_identity(kernel: NDArray[np.float32]) -> NDArray[np.float32]:
    """Let the first filters pass their input channel through: kernel [3, 3, inputs, outputs]."""
    inputs, outputs = kernel.shape[2:]
    kernel = kernel.copy()
    same = min(inputs, outputs)
    kernel[..., :same] = 0
    kernel[1, 1, np.arange(same), np.arange(same)] = 1
    return kernel


def finish(model: Any, data: TrainingData, values: Values) -> Any:
    """Measure BatchNorm's means and variances over the training images.

    Training keeps a quick average of the last few batches, which is good enough to steer by only.
    """
    import keras
    import tensorflow as tf

    norms = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    size = int(values["batch_size"])
    steps = min(STATISTICS_STEPS, len(data.x_train) // size) or 1
    rows = np.random.default_rng(int(values["seed"])).permutation(len(data.x_train))
    sums = [[0.0, 0.0] for _ in norms]
    forward = tf.function(lambda images: model(images, training=True))
    for norm in norms:
        norm.momentum = 0.0  # what one batch has, and nothing of the ones before
    for step in range(steps):
        images = data.x_train[rows[step * size : (step + 1) * size]]
        forward(tf.cast(images, tf.float32))
        for total, norm in zip(sums, norms, strict=True):
            total[0] += norm.moving_mean.numpy() / steps
            total[1] += norm.moving_variance.numpy() / steps
    for total, norm in zip(sums, norms, strict=True):
        norm.moving_mean.assign(total[0])
        norm.moving_variance.assign(total[1])
        norm.momentum = NORM_MOMENTUM
    return model


def ends_of_rounds(values: Values) -> tuple[int, ...]:
    """The epochs, counted from 1, whose weights are averaged: where the rates have come down."""
    epochs = int(values["epochs"])
    first_round = epochs - min(int(values["second_round"]), epochs)
    return (first_round, epochs) if 0 < first_round < epochs else (epochs,)


def batches(data: TrainingData, values: Values, epoch: int) -> Iterator[Batch]:
    """Every image is shifted by up to 2 pixels and mirrored every other epoch."""
    seed, weight = int(values["seed"]), float(values["teacher_weight"])
    targets = one_hot(data.y_train)
    if weight:
        targets = (1 - weight) * targets + weight * teacher_opinion(
            data, float(values["teacher_temperature"])
        )
    first_flip = np.random.default_rng([seed]).integers(0, 2, len(data.x_train))
    shifts = np.random.default_rng([seed, epoch, 1]).integers(0, 2 * SHIFT + 1, (len(data.x_train), 2))
    border = ((0, 0), (SHIFT, SHIFT), (SHIFT, SHIFT), (0, 0))
    for rows in shuffled_rows(len(data.x_train), int(values["batch_size"]), seed, epoch):
        padded = np.pad(data.x_train[rows], border, mode="reflect")
        windows = np.lib.stride_tricks.sliding_window_view(padded, (32, 32), axis=(1, 2))
        x = windows[np.arange(len(rows)), shifts[rows, 0], shifts[rows, 1]].transpose(0, 2, 3, 1)
        flip = (first_flip[rows] + epoch) % 2 == 1
        x = np.where(flip[:, None, None, None], x[:, :, ::-1], x)
        yield np.ascontiguousarray(x), targets[rows]


@lru_cache(maxsize=1)
def teacher_opinion(data: TrainingData, temperature: float) -> NDArray[np.float32]:
    """The shipped photo_net's probabilities for each training image, float32 [N, 10].

    Its training and validation images are the same as here, so validation stays unseen.
    """
    import keras

    teacher = keras.models.load_model(TEACHER / "model.keras", compile=False)
    opinions = []
    for start in range(0, len(data.x_train), 1_000):  # in chunks, to bound memory
        inputs = make_inputs(data.x_train[start : start + 1_000], TEACHER_PREPROCESSING)
        logits = teacher.predict(inputs, batch_size=250, verbose=0) / temperature
        exponents = np.exp(logits - logits.max(axis=1, keepdims=True))
        opinions.append(exponents / exponents.sum(axis=1, keepdims=True))
    return np.concatenate(opinions).astype(np.float32)


def teachers_flops(data: TrainingData, values: Values) -> int:
    """What the teacher cost: its own training on CIFAR-10 (not on ImageNet), and its opinions."""
    if not values["teacher_weight"]:
        return 0
    spent = json.loads((TEACHER / "card.json").read_text())["flops"]
    return int(spent["training"] + spent["forward"] * len(data.x_train))


RECIPE = Recipe(
    name="fast_cnn",
    title="Fast network",
    description=(
        "Six convolutions behind a frozen whitening layer, trained with Muon and taught by the shipped "
        "photo_net. More accurate than the report's network, and a quarter of its size."
    ),
    preprocessing="squash32-v1",
    validation_fraction=0.05,
    parameters=(
        epochs(14),
        batch_size(2000),
        Parameter("second_round", 4, 0, 1_000, "Of these, epochs of a second, gentler descent of the rates."),
        Parameter("filter_rate", 0.24, 0.001, 2.0, "Muon's step size for the filters."),
        Parameter("label_smoothing", 0.0, 0.0, 0.5, "Share of the target spread over all classes."),
        Parameter("teacher_weight", 0.8, 0.0, 1.0, "Share of the target that the teacher gives; 0: none."),
        Parameter("teacher_temperature", 2.0, 0.1, 20.0, "Softens the teacher's opinion; 1 leaves it."),
        seed(),
    ),
    build=build,
    batches=batches,
    averaged=ends_of_rounds,
    finish=finish,
    overhead=teachers_flops,
)
