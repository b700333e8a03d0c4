"""A small network that beats the report's: airbench's, trained on small images first.

Sources: K. Jordan, "94% on CIFAR-10 in 3.29 Seconds on a Single GPU", 2024 (arXiv:2404.00498):
frozen whitening convolution, identity-like initial filters, alternating flip, Muon. T. DeVries and
G. Taylor, "Improved Regularization of Convolutional Neural Networks with Cutout", 2017. J. Howard,
"Training ImageNet in 3 hours for 25 minutes", 2018: small images in the first epochs.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.engine.data import CLASS_NAMES, IMAGE_SHAPE, TrainingData, one_hot
from training.engine.recipe import Batch, Parameter, Recipe, Values, batch_size, epochs, seed, shuffled_rows

WIDTHS = (64, 256, 256)
SIDE, SMALL_SIDE = 32, 24
SHIFT = 4
NORM_MOMENTUM, STATISTICS_STEPS = 0.6, 10
HEAD_SCALE = 1 / 9


def build(data: TrainingData, values: Values, steps_per_epoch: int):  # type: ignore[no-untyped-def]
    import keras
    from keras import layers, ops

    from training.engine.optimizers import MuonSGD

    def normalised(x: Any) -> Any:
        x = layers.BatchNormalization(momentum=NORM_MOMENTUM, epsilon=1e-5, scale=False)(x)
        return ops.gelu(x, approximate=True)

    def convolution(width: int) -> Any:
        return layers.Conv2D(width, 3, padding="same", use_bias=False)

    mean = data.x_train.mean(axis=(0, 1, 2), dtype=np.float64)
    variance = data.x_train.var(axis=(0, 1, 2), dtype=np.float64)
    inputs = keras.Input((None, None, 3))
    x = layers.Normalization(mean=mean, variance=variance)(inputs)
    whitening = layers.Conv2D(24, 2, name="whitening")
    x = ops.gelu(whitening(x), approximate=True)
    for width in WIDTHS:
        x = layers.MaxPooling2D()(convolution(width)(x))
        x = normalised(x)
        x = normalised(convolution(width)(x))
    x = layers.GlobalMaxPooling2D(name="features")(x)
    x = layers.Dense(len(CLASS_NAMES), use_bias=False, name="head")(x)
    outputs = layers.Rescaling(HEAD_SCALE, dtype="float32", name="logits")(x)
    model = keras.Model(inputs, outputs, name="fast_cnn")

    whitening.kernel.assign(whitening_filters((data.x_train[:5000] - mean) / np.sqrt(variance)))
    whitening.kernel.trainable = False
    for layer in model.layers:
        if isinstance(layer, layers.Conv2D) and layer is not whitening:
            layer.kernel.assign(with_identity(layer.get_weights()[0]))
    steps = steps_per_epoch * int(values["epochs"])
    schedule = keras.optimizers.schedules.PolynomialDecay(1.0, steps, end_learning_rate=0.0)
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


def input_side(values: Values, epoch: int) -> int:
    """Height and width of the training images in an epoch, counted from 0."""
    return SMALL_SIDE if epoch < int(values["small_epochs"]) else SIDE


def batches(data: TrainingData, values: Values, epoch: int) -> Iterator[Batch]:
    """Every image is shifted, loses a square, and is mirrored every other epoch."""
    seed, square = int(values["seed"]), int(values["cutout"])
    first_flip = np.random.default_rng([seed]).integers(0, 2, len(data.x_train))
    places = np.random.default_rng([seed, epoch, 1])
    shifts = places.integers(0, 2 * SHIFT + 1, (len(data.x_train), 2))
    holes = places.integers(0, SIDE, (len(data.x_train), 2))
    border = ((0, 0), (SHIFT, SHIFT), (SHIFT, SHIFT), (0, 0))
    grey = data.x_train.mean(axis=(0, 1, 2)).astype(np.uint8)
    side = input_side(values, epoch)
    for rows in shuffled_rows(len(data.x_train), int(values["batch_size"]), seed, epoch):
        padded = np.pad(data.x_train[rows], border, mode="reflect")
        windows = np.lib.stride_tricks.sliding_window_view(padded, (SIDE, SIDE), axis=(1, 2))
        x = windows[np.arange(len(rows)), shifts[rows, 0], shifts[rows, 1]].transpose(0, 2, 3, 1)
        flip = (first_flip[rows] + epoch) % 2 == 1
        x = np.where(flip[:, None, None, None], x[:, :, ::-1], x)
        x = np.where(inside(holes[rows], square)[..., None], grey, x)
        yield np.ascontiguousarray(x if side == SIDE else shrunk(x, side)), one_hot(data.y_train[rows])


def inside(centres: NDArray[np.int64], size: int) -> NDArray[np.bool_]:
    """True in a square around each centre: int [N, 2] to bool [N, 32, 32]; none where ``size`` is 0."""
    distances = np.abs(2 * (np.arange(SIDE) - centres[..., None]) + 1 - size % 2)  # [N, 2, 32]
    near: NDArray[np.bool_] = distances < size
    return near[:, 0, :, None] & near[:, 1, None, :]


def shrunk(images: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """Uint8 [N, 32, 32, 3] as [N, side, side, 3], each pixel the mean of what it covers."""
    edges = np.arange(side + 1) * SIDE / side
    pixels = np.arange(SIDE)
    overlap = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
    share = (overlap.clip(0) * side / SIDE).astype(np.float32)
    rows = np.tensordot(images.astype(np.float32), share, ([1], [1]))  # [N, 32, 3, side]
    both = np.tensordot(rows, share, ([1], [1]))  # [N, 3, side, side]
    return np.rint(both.transpose(0, 2, 3, 1)).astype(np.uint8)


def finish(model: Any, data: TrainingData, values: Values) -> Any:
    """The network for images of 32x32 alone, BatchNorm's statistics measured over training images.

    Training keeps a quick average of the last few batches, which is good enough to steer by only.
    """
    import keras
    import tensorflow as tf

    finished = keras.models.clone_model(model, input_tensors=keras.Input(IMAGE_SHAPE))
    finished.set_weights(model.get_weights())
    norms = [layer for layer in finished.layers if isinstance(layer, keras.layers.BatchNormalization)]
    size = int(values["batch_size"])
    steps = min(STATISTICS_STEPS, len(data.x_train) // size) or 1
    rows = np.random.default_rng(int(values["seed"])).permutation(len(data.x_train))
    sums = [[0.0, 0.0] for _ in norms]
    forward = tf.function(lambda images: finished(images, training=True))
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
    return finished


RECIPE = Recipe(
    name="fast_cnn",
    title="Fast network",
    description=(
        "Six convolutions behind a frozen whitening layer, trained with Muon, on small images first. "
        "More accurate than the report's network, and a quarter of its size."
    ),
    preprocessing="squash32-v1",
    validation_fraction=0.05,
    parameters=(
        epochs(17),
        batch_size(2000),
        Parameter("small_epochs", 8, 0, 1_000, "Of these, the first ones see images of 24x24 pixels."),
        Parameter("filter_rate", 0.24, 0.001, 2.0, "Muon's step size for the filters."),
        Parameter("label_smoothing", 0.2, 0.0, 0.5, "Share of the target spread over all classes."),
        Parameter("cutout", 6, 0, 32, "Side of the square that each training image loses, pixels."),
        seed(),
    ),
    build=build,
    batches=batches,
    input_side=input_side,
    finish=finish,
)
