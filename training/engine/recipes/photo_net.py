"""For what people really upload: ImageNet's network, taught CIFAR-10 without forgetting photos.

One network, EfficientNet-Lite1. As ImageNet left it, it ends in a thousand classes, of which 222 are one of
the ten; what it gives to a group of them is what it gives to the one. It is made in three steps:

1. CIFAR-10's images, enlarged, teach it these sums. Meanwhile a copy of the first network, its teacher,
   keeps its thousand answers to photos where they were (learning without forgetting).
2. Its weights are set between the first ones and the trained ones: nearer to the first ones it knows
   photos better, nearer to the trained ones CIFAR-10.
3. One layer over the features and the logarithms of the sums is fitted to photos and to CIFAR-10's
   images: logistic regression with eleven answers, the ten and 'none of these', whose examples are photos
   of other things and images that no camera took.

Without photos to learn from (``data.photos``) there is no teacher and no third step: then the sums'
logarithms are the answer, and what the thousand classes leave over is 'none of these'.

Sources: EfficientNet and its weights, see ``training.engine.training.efficientnet``; Z. Li and D. Hoiem,
"Learning without Forgetting", 2016; M. Wortsman et al., "Robust fine-tuning of zero-shot models", 2022 (the
weights
between); D. Wolpert, "Stacked Generalization", 1992.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from training.engine.data.cifar10 import CLASS_NAMES, TrainingData
from training.engine.data.photo_set import PhotoSet, folds
from training.engine.data.preprocessing import make_inputs
from training.engine.training.recipe import Batch, Hyperparameter, Recipe, Values, batch_size, epochs, seed

SIZE = 224
PREPROCESSING = "centre224-v1"
PADDING = 4
# Photos are kept a little larger than what the network sees: views of them are parts.
PHOTO_SIZE = 264
# Photos of every third site are not shown while training: how far the network forgets is seen on them.
PARTS = 3
# Of the training images, those that the last layer is fitted to.
PLAIN_IMAGES = 1_200
# Images that no camera took, of each kind, as examples of none of the classes; others measure the model.
SYNTHETIC_OOD_IMAGES, MADE_UP_SEED = 15, 3
FEATURES = 1280
# A group below a ten-thousandth counts as a ten-thousandth: logarithms of less say nothing.
FLOOR = 1e-4
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
    """ImageNet's network, whose answers are the logarithms of the classes' shares, beside its teacher."""
    import keras
    from keras import layers, ops

    from training.engine.forgetting import KeepAnswers

    pupil, teacher = imagenet_network(), imagenet_network()
    for layer in pupil.layers:
        if isinstance(layer, layers.BatchNormalization):
            layer.trainable = False  # ImageNet's statistics: other ones would make it forget photos
    steps = steps_per_epoch * int(values["epochs"])
    rate = float(values["learning_rate"])
    schedule = keras.optimizers.schedules.CosineDecay(
        0.0, steps - steps // 20, warmup_target=rate, warmup_steps=steps // 20
    )
    optimizer = keras.optimizers.AdamW(schedule, weight_decay=0.01)
    optimizer.exclude_from_weight_decay(var_names=["bias"])

    inputs = keras.Input((SIZE, SIZE, 3))
    shares = layers.Softmax(dtype="float32")(pupil(inputs)[1])
    if data.photos:
        shares = KeepAnswers(
            lambda views: pupil(views, training=True)[1],
            lambda views: teacher(views, training=False)[1],
            shown_photos(data.photos),
            views=int(values["photos_a_step"]),
            side=SIZE,
            weight=float(values["remembering"]),
            step=lambda: optimizer.iterations.value,
            seed=int(values["seed"]),
        )(shares)
    groups = layers.Dense(len(CLASS_NAMES), use_bias=False, trainable=False, dtype="float32", name="groups")
    model = keras.Model(inputs, ops.log(groups(shares) + 1e-6), name="photo_net")
    groups.set_weights([imagenet_groups()[:, : len(CLASS_NAMES)]])
    smoothing = float(values["label_smoothing"])

    def log_loss(labels: Any, logarithms: Any) -> Any:
        wanted = (1 - smoothing) * labels + smoothing / len(CLASS_NAMES)
        return -ops.sum(wanted * logarithms, axis=-1)

    model.compile(optimizer=optimizer, loss=log_loss, metrics=["accuracy"], jit_compile=False)
    return model


def imagenet_network() -> Any:
    """Images [N, 224, 224, 3] in 0..255 to features [N, 1280] and logits of ImageNet's classes [N, 1000]."""
    import keras
    from keras import layers

    from training.engine.training import efficientnet

    inputs = keras.Input((SIZE, SIZE, 3))
    features = efficientnet.body(inputs)
    thousand = layers.Dense(1_000, dtype="float32", name="imagenet")
    network = keras.Model(inputs, [features, thousand(features)], name="imagenet_network")
    efficientnet.load_imagenet_weights(network)
    thousand.set_weights(efficientnet.imagenet_head())
    return network


def shown_photos(photos: PhotoSet) -> NDArray[np.uint8]:
    """Uint8 [M, 264, 264, 3]: the whole frames of the photos that the teacher shows."""
    shown = folds(photos.sites, PARTS) != PARTS - 1
    frames = [Image.fromarray(image) for image in (*photos.ten, *photos.other)]
    size = (PHOTO_SIZE, PHOTO_SIZE)
    return np.stack(
        [
            np.asarray(frame.resize(size, Image.Resampling.BICUBIC, reducing_gap=3.0))
            for frame, kept in zip(frames, shown, strict=True)
            if kept
        ]
    )


def augment(data: TrainingData, values: Values, batch: Batch) -> Any:
    """Random crops of 60 to 100 % of a padded image, mirrored or not, enlarged to 224x224."""
    import tensorflow as tf

    from training.engine.training import augment as ways

    area, stretch, down, across, mirror = tf.unstack(batch.draws, axis=1)
    border = ((0, 0), (PADDING, PADDING), (PADDING, PADDING), (0, 0))
    padded = tf.pad(tf.cast(batch.images, tf.float32), border, mode="REFLECT")
    side = float(padded.shape[1])
    edge = 32 * tf.sqrt(0.6 + 0.4 * area)
    stretch = tf.exp(0.3 * stretch - 0.15)
    width, height = tf.minimum(edge * stretch, side), tf.minimum(edge / stretch, side)
    top, left = down * (side - height), across * (side - width)
    x = ways.resampled(padded, top, left, height, width, SIZE)
    return ways.mirrored(x, mirror < 0.5)


def last_epoch(values: Values) -> tuple[int, ...]:
    """Kept are the weights of the last epoch, where the learning rate came to zero."""
    return (int(values["epochs"]),)


def finish(model: Any, data: TrainingData, values: Values) -> Any:
    """Set the weights between the first and the trained ones, and fit the last layer."""
    network, share = imagenet_network(), float(values["trained_share"])
    trained = model.get_layer("imagenet_network").get_weights()
    network.set_weights(
        [(1 - share) * a + share * b for a, b in zip(network.get_weights(), trained, strict=True)]
    )
    return joined(network, data)


def joined(network: Any, data: TrainingData) -> Any:
    """The network with its last layer: images to log-odds against 'none of these', float [N, 10]."""
    import keras
    from keras import layers, ops

    features, thousand = network.outputs
    groups = layers.Dense(len(CLASS_NAMES) + 1, use_bias=False, name="groups")
    shares = groups(layers.Softmax(name="imagenet_shares")(thousand))
    inputs = layers.Concatenate(name="evidence")([features, ops.log(shares + FLOOR)])
    logits = layers.Dense(len(CLASS_NAMES), dtype="float32", name="logits")
    finished = keras.Model(network.inputs, logits(inputs), name="photo_net")
    groups.set_weights([imagenet_groups()])
    logits.set_weights(last_layer(keras.Model(network.inputs, inputs), data))
    return finished


def last_layer(evidence: Any, data: TrainingData) -> list[NDArray[np.float32]]:
    """Weights [1291, 10] and bias [10]: fitted to photos, or the logarithms against what is left over."""
    from training.engine.evaluation import synthetic_ood
    from training.engine.last_layer import Examples, fit_last_layer

    classes = len(CLASS_NAMES)
    if data.photos is None:
        weights = np.zeros((evidence.output.shape[-1], classes), np.float32)
        weights[-classes - 1 : -1] = np.eye(classes)
        weights[-1] = -1
        return [weights, np.zeros(classes, np.float32)]

    def seen(images: Any) -> NDArray[np.float32]:
        made: NDArray[np.float32] = evidence.predict(
            make_inputs(images, PREPROCESSING), batch_size=100, verbose=0
        )
        return made

    photos, plain = data.photos, slice(PLAIN_IMAGES)
    none = np.full(len(photos.other), classes)
    strange = [synthetic_ood.make(kind, SYNTHETIC_OOD_IMAGES, MADE_UP_SEED) for kind in synthetic_ood.KINDS]
    plain_inputs = [seen(data.x_train[plain]), *map(seen, strange)]
    plain_labels = [data.y_train[plain], np.full(sum(map(len, strange)), classes)]
    fitted = fit_last_layer(
        Examples(seen([*photos.ten, *photos.other]), np.concatenate([photos.labels, none])),
        photos.sites,
        Examples(np.concatenate(plain_inputs), np.concatenate(plain_labels)),
        classes,
        block=FEATURES,
    )
    return [fitted.weights, fitted.bias]


def imagenet_groups() -> NDArray[np.float32]:
    """Float32 [1000, 11]: 1 where an ImageNet class belongs to one of the ten, or to none of them."""
    matrix = np.zeros((1_000, len(CLASS_NAMES) + 1), np.float32)
    for column, name in enumerate(CLASS_NAMES):
        matrix[list(IMAGENET_CLASSES[name]), column] = 1
    matrix[:, -1] = 1 - matrix.sum(axis=1)
    return matrix


RECIPE = Recipe(
    name="photo_net",
    title="Network for photos",
    description=(
        "A network pretrained on ImageNet and fine-tuned on CIFAR-10 with distillation. "
        "The most accurate on photos from phones and cameras, and the best at detecting "
        "that a photo shows none of the ten."
    ),
    translations={
        "vi": (
            "Mạng cho ảnh chụp",
            "Mạng được huấn luyện trước trên ImageNet và tinh chỉnh trên CIFAR-10 với chưng cất. "
            "Chính xác nhất với ảnh từ điện thoại và máy ảnh, và phát hiện tốt nhất ảnh không "
            "thuộc mười thứ.",
        )
    },
    preprocessing=PREPROCESSING,
    validation_fraction=0.05,
    parameters=(
        epochs(8),
        batch_size(256),
        Hyperparameter(
            "learning_rate",
            0.0006,
            1e-6,
            0.1,
            "AdamW's peak learning rate; the schedule warms up, then decays.",
            {"vi": ("Tốc độ học", "Tốc độ học cao nhất của AdamW; tăng dần rồi giảm dần.")},
        ),
        Hyperparameter(
            "label_smoothing",
            0.1,
            0.0,
            0.5,
            "Share of the target probability spread over all classes.",
            {"vi": ("Làm mềm nhãn", "Phần xác suất mục tiêu được trải đều cho mọi lớp.")},
        ),
        Hyperparameter(
            "photos_a_step",
            64,
            1,
            1_000,
            "Photos per step on which the network imitates the teacher.",
            {"vi": ("Số ảnh chụp mỗi bước", "Số ảnh chụp mỗi bước mà mạng học theo mô hình thầy.")},
        ),
        Hyperparameter(
            "remembering",
            1.0,
            0.0,
            100.0,
            "Weight of the distillation loss on photos.",
            {"vi": ("Mức ghi nhớ", "Trọng số của hàm mất mát chưng cất trên ảnh chụp.")},
        ),
        Hyperparameter(
            "trained_share",
            1.0,
            0.0,
            1.0,
            "Position of the final weights between the initial weights (0) and the trained weights (1).",
            {
                "vi": (
                    "Phần đã huấn luyện",
                    "Vị trí của trọng số cuối giữa trọng số ban đầu (0) và trọng số đã huấn luyện (1).",
                )
            },
        ),
        seed(),
    ),
    build=build,
    augment=augment,
    draws=5,
    knows_none=True,
    averaged=last_epoch,
    finish=finish,
)
