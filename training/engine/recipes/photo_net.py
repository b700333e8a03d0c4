"""For what people really upload: what ImageNet taught, beside what CIFAR-10 teaches.

Three networks look at a 128x128 input. An EfficientNet-Lite0 body stays as ImageNet made it and
sees it sharp: its thousand classes are grouped into the ten. A second such body is trained here,
and sees it as blurred as an enlarged CIFAR image is. The third is the shipped fast_cnn, which sees
it at 32x32. A sharp input is answered by the product of both bodies' opinions, a soft one by the
trained body and fast_cnn together.

The body is trained in two cycles of the learning rate; what is kept is the mean of the weights at the
ends of both.

Sources: EfficientNet and its weights, see ``training.engine.efficientnet``; G. Hinton,
"Training Products of Experts by Minimizing Contrastive Divergence", 2002; T. Dietterich, "Ensemble
Methods in Machine Learning", 2000; P. Izmailov et al., "Averaging Weights Leads to Wider Optima and
Better Generalization", 2018.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from training.engine.data import CLASS_NAMES, TrainingData, one_hot
from training.engine.preprocessing import make_inputs
from training.engine.recipe import Batch, Parameter, Recipe, Values, batch_size, epochs, seed, shuffled_rows

SIZE = 128
TRAINED_SIZE = 96
PREPROCESSING = "squash128-v1"
PADDING = 4
PROBE_IMAGES = 4_000
# Where each cycle of the learning rate begins, as a share of the parameter.
CYCLE_RATES = (1.0, 5 / 7)
# How the two opinions are joined; chosen on validation images and on 63 photos of the ten and 74 of
# other things that were set apart for choosing, never on what the figures are reported on. An input
# sharper than AS_SHARP_AS_A_PHOTO is answered by both bodies, a softer one by the trained body alone.
AS_SHARP_AS_A_PHOTO, STEEPNESS = 0.41, 60.0
# ImageNet's weight, and the mass below which it no longer counts.
KEPT_WEIGHT, FLOOR = 0.5, 3e-4
# fast_cnn's share of a soft input's answer, and what brings its logits to the scale of the other's.
SMALL = Path(__file__).parents[2] / "pretrained" / "fast_cnn" / "model.keras"
SMALL_SHARE, SMALL_SCALE = 0.4, 1.5
# Photos are answered with less confidence; the offset lets 8 % of them fall below the score that 5 %
# of the validation images fall below.
MODESTY, OFFSET = 0.3, 2.7
# ImageNet's classes that are one of the ten, by their number in ILSVRC 2012's order.
IMAGENET_CLASSES: dict[str, tuple[int, ...]] = {
    "airplane": (404, 895),
    "automobile": (436, 468, 511, 609, 627, 656, 661, 705, 751, 817),
    "bird": (*range(7, 25), *range(80, 101), *range(127, 147)),
    "cat": tuple(range(281, 286)),
    "deer": (351, 352, 353),
    "dog": tuple(range(151, 269)),
    "frog": (30, 31, 32),
    "horse": (339,),
    "ship": (403, 472, 484, 510, 554, 576, 625, 628, 724, 780, 814, 833, 871, 914),
    "truck": (555, 569, 675, 717, 734, 864, 867),
}


def build(data: TrainingData, values: Values, steps_per_epoch: int):  # type: ignore[no-untyped-def]
    """The body that is trained, behind the blur, with a linear layer fitted to its first features."""
    import keras
    from keras import layers

    from training.engine import efficientnet
    from training.engine.optimizers import CosineCycles

    inputs = keras.Input((SIZE, SIZE, 3))
    features = efficientnet.body(blurred(inputs))
    head = layers.Dense(len(CLASS_NAMES), dtype="float32", name="logits")
    model = keras.Model(inputs, head(features), name="photo_net")
    efficientnet.load_imagenet_weights(model)
    for layer in model.layers:
        if isinstance(layer, layers.BatchNormalization):
            layer.trainable = False  # ImageNet's statistics; batches here would blur them
    head.set_weights(linear_probe(keras.Model(inputs, features), data))
    lengths = [epochs * steps_per_epoch for epochs in cycles(values)]
    rates = [float(values["learning_rate"]) * share for share in CYCLE_RATES]
    schedule = CosineCycles(rates[: len(lengths)], lengths)
    model.compile(
        optimizer=keras.optimizers.AdamW(schedule, weight_decay=0.01),
        loss=keras.losses.CategoricalCrossentropy(
            from_logits=True, label_smoothing=float(values["label_smoothing"])
        ),
        metrics=["accuracy"],
        jit_compile=False,
    )
    return model


def cycles(values: Values) -> list[int]:
    """Epochs of each cycle of the learning rate: two halves, or one epoch alone."""
    epochs = int(values["epochs"])
    return [epochs - epochs // 2, epochs // 2] if epochs > 1 else [epochs]


def ends_of_cycles(values: Values) -> tuple[int, ...]:
    """The epochs, counted from 1, whose weights are averaged: where the learning rate came to zero."""
    return tuple(np.cumsum(cycles(values)).tolist())


def blurred(inputs: Any) -> Any:
    """128x128 to 96x96 by way of 64x64: about as soft as an enlarged 32x32 image."""
    from keras import layers

    halved = layers.AveragePooling2D(2)(inputs)
    return layers.Resizing(TRAINED_SIZE, TRAINED_SIZE, interpolation="bilinear")(halved)


def linear_probe(body: Any, data: TrainingData) -> list[NDArray[np.float32]]:
    """Kernel and bias of a ridge regression from features to the ten classes."""
    images = make_inputs(data.x_train[:PROBE_IMAGES], PREPROCESSING)
    features = body.predict(images, batch_size=200, verbose=0).astype(np.float64)
    mean = features.mean(axis=0)
    centred = features - mean
    targets = 10 * (one_hot(data.y_train[:PROBE_IMAGES]) - 0.1)
    gram = centred.T @ centred + 10 * len(images) / 100 * np.eye(centred.shape[1])
    kernel = np.linalg.solve(gram, centred.T @ targets)
    return [kernel.astype(np.float32), (-mean @ kernel).astype(np.float32)]


def batches(data: TrainingData, values: Values, epoch: int) -> Iterator[Batch]:
    """Random crops of 60 to 100 % of a padded image, mirrored or not, enlarged to 128x128."""
    seed = int(values["seed"])
    rng = np.random.default_rng([seed, epoch, 1])
    border = ((0, 0), (PADDING, PADDING), (PADDING, PADDING), (0, 0))
    for rows in shuffled_rows(len(data.x_train), int(values["batch_size"]), seed, epoch):
        padded = np.pad(data.x_train[rows], border, mode="reflect")
        x = np.stack([enlarged_crop(image, rng) for image in padded])
        yield x, one_hot(data.y_train[rows])


def enlarged_crop(image: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """A random part of a uint8 [40, 40, 3] image as uint8 [128, 128, 3]."""
    side = len(image)
    area, stretch = rng.uniform(0.6, 1.0), np.exp(rng.uniform(-0.15, 0.15))
    width, height = (min(32 * np.sqrt(area) * s, side) for s in (stretch, 1 / stretch))
    left, top = rng.uniform(0, side - width), rng.uniform(0, side - height)
    box = (left, top, left + width, top + height)
    made = Image.fromarray(image).resize((SIZE, SIZE), Image.Resampling.BICUBIC, box=box)
    return np.asarray(made)[:, :: rng.choice((-1, 1))]


def finish(model: Any, data: TrainingData, values: Values) -> Any:
    """Set ImageNet's body and fast_cnn beside the trained one, and join their opinions."""
    import keras
    from keras import layers, ops

    from training.engine import efficientnet

    original = keras.Input((SIZE, SIZE, 3))
    kept = keras.Model(original, efficientnet.body(original), name="imagenet_body")
    efficientnet.load_imagenet_weights(kept)
    trained = keras.Model(model.inputs, model.get_layer("features").output, name="cifar_body")
    thousand = layers.Dense(1_000, activation="softmax", name="imagenet")
    groups = layers.Dense(len(CLASS_NAMES), use_bias=False, name="imagenet_groups")
    head = layers.Dense(len(CLASS_NAMES), name="cifar_head")
    small = keras.models.load_model(SMALL, compile=False)

    inputs = keras.Input((SIZE, SIZE, 3))
    features = layers.Identity(name="features")(trained(inputs))
    opinion = head(features)
    # Without antialiasing this takes the middle of every 4x4 pixels: an enlarged image as it was.
    second = SMALL_SCALE * small(layers.Resizing(32, 32, interpolation="bilinear")(inputs))
    familiar = KEPT_WEIGHT * ops.log(groups(thousand(kept(inputs))) + FLOOR)
    sharp = ops.sigmoid(STEEPNESS * (sharpness(inputs) - AS_SHARP_AS_A_PHOTO))
    both = opinion + (1 - sharp) * SMALL_SHARE * (second - opinion)
    joined = (both + sharp * familiar) * (1 - MODESTY * sharp) + OFFSET * sharp
    fused = keras.Model(inputs, layers.Identity(dtype="float32", name="logits")(joined), name="photo_net")
    thousand.set_weights(efficientnet.imagenet_head())
    groups.set_weights([imagenet_groups()])
    head.set_weights(model.get_layer("logits").get_weights())
    return fused


def sharpness(inputs: Any) -> Any:
    """[N, 1]: what is lost by halving, against what is lost by halving again.

    About 0.32 for an enlarged 32x32 image (99 % of them below 0.36), 0.7 for a photo (99 % above
    0.47).
    """
    from keras import layers, ops

    halved = layers.AveragePooling2D(2)(inputs)
    quartered = layers.AveragePooling2D(4)(inputs)
    restored = layers.Resizing(SIZE, SIZE, interpolation="bilinear")(halved)
    half_restored = layers.Resizing(SIZE // 2, SIZE // 2, interpolation="bilinear")(quartered)
    fine = ops.mean(ops.abs(inputs - restored), axis=(1, 2, 3))
    coarse = ops.mean(ops.abs(halved - half_restored), axis=(1, 2, 3))
    return ops.expand_dims(fine / (coarse + 0.5), -1)


def imagenet_groups() -> NDArray[np.float32]:
    """Float32 [1000, 10]: 1 where an ImageNet class belongs to one of the ten."""
    matrix = np.zeros((1_000, len(CLASS_NAMES)), np.float32)
    for column, name in enumerate(CLASS_NAMES):
        matrix[list(IMAGENET_CLASSES[name]), column] = 1
    return matrix


RECIPE = Recipe(
    name="photo_net",
    title="Network for photos",
    description=(
        "Features learned on ImageNet, one half kept and one half trained on CIFAR-10. The best on "
        "photos from phones and cameras; knows best when a photo shows none of the ten."
    ),
    preprocessing=PREPROCESSING,
    validation_fraction=0.05,
    parameters=(
        epochs(8),
        batch_size(100),
        Parameter("learning_rate", 0.0007, 1e-6, 0.1, "AdamW's highest step size; it rises, then falls."),
        Parameter("label_smoothing", 0.1, 0.0, 0.5, "Share of the target spread over all classes."),
        seed(),
    ),
    build=build,
    batches=batches,
    averaged=ends_of_cycles,
    finish=finish,
)
