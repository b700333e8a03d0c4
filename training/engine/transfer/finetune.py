"""Fine-tuning: the last blocks of the network learn the classes, too, from a project's training images.

What the blocks before them make of each image, and of its mirror image where there are few, is computed once
and lies in a file that goes with the process; BatchNorm keeps ImageNet's statistics. The blocks are trained
as any recipe is, by ``training.engine.training.fit``.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import layers, ops

from training.engine.data.cifar10 import TrainingData
from training.engine.data.labelled_images import TRAINING, VALIDATION, LabelledImages
from training.engine.packaging.package import rounded
from training.engine.training.fit import Fitted, fit
from training.engine.training.recipe import Batch, Recipe, Values, batch_size, epochs, seed
from training.engine.training.stored import ImageFile, Stored
from training.engine.transfer.features import BATCH, Computed, Progress, activations
from training.engine.transfer.head import Head

# The layer before the first block that is trained: 7x7x192 numbers an image, 19 kB.
LAST_FROZEN = "block15_project_norm"
# With fewer images in either split nobody could tell whether it helps.
LEAST_IMAGES = 30
LEARNING_RATE, WEIGHT_DECAY, LABEL_SMOOTHING = 1e-4, 0.01, 0.1
# Added to features before their roots, whose slope has no bound at 0.
SOFT = 1e-3
# Images whose features are computed at once when the network has learned; whole batches.
LOOKED_AT = 16 * BATCH


def steps_an_epoch(images: int) -> int:
    """Of so many training images."""
    return -(-images // BATCH)


def fine_tune(
    images: LabelledImages,
    network: Any,
    before: Computed,
    head: Head,
    values: Values,
    *,
    checkpoints: Path | None,
    callbacks: Sequence[keras.callbacks.Callback],
    progress: Progress,
) -> tuple[Computed, Fitted]:
    """Train the network's last blocks, in place.

    Args:
        network: images to features; before: what it makes of the images now; head: fitted to that.
        checkpoints: a folder of this run; it goes on after the last whole epoch that lies there. The file of
            19 kB an image and view lies there, too; None: in the system's folder for temporary files.
        callbacks: see ``fit``.
        progress: is told how many images have passed the blocks that stay.

    Returns:
        What the network makes of the images from now on, and how it was trained.

    Raises:
        TrainingError: see ``fit``. What a callback or reading an image raises is raised.
        OSError: the disk is full.
    """
    stay = keras.Model(network.inputs, network.get_layer(LAST_FROZEN).output)
    learn = keras.Model(network.get_layer(LAST_FROZEN).output, network.outputs[0])
    views = len(before.features)
    if checkpoints:
        checkpoints.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=checkpoints) as file:
        seen = ImageFile(file, (views, *stay.output_shape[1:]))
        for batch in activations(images, stay, views, progress):
            seen.append(batch)
        fitted = _fit(images, seen, learn, head, values, checkpoints, callbacks)
        # As they will be saved: see ``features.body``.
        network.set_weights([rounded(weight) for weight in network.get_weights()])
        made = np.empty_like(before.features)
        for start in range(0, len(images), LOOKED_AT):
            rows = np.arange(start, min(start + LOOKED_AT, len(images)))
            shown = seen.read(rows)
            for view in range(views):
                made[view, rows] = learn.predict(shown[:, view], batch_size=BATCH, verbose=0)
    return Computed(made, before.penalty), fitted


def _fit(
    images: LabelledImages,
    seen: ImageFile,
    learn: Any,
    head: Head,
    values: Values,
    checkpoints: Path | None,
    callbacks: Sequence[keras.callbacks.Callback],
) -> Fitted:
    """Train the blocks ``learn`` and a head on what those before them make of the images."""
    rows = {split: images.rows(split) for split in (TRAINING, VALIDATION)}
    shown: Any = Stored(seen, rows[TRAINING])
    held_out: Any = Stored(seen, rows[VALIDATION], view=0)
    data = TrainingData(
        shown,
        images.labels[rows[TRAINING]],
        held_out,
        images.labels[rows[VALIDATION]],
        classes=len(images.classes),
    )
    wanted = {"epochs": values["epochs"], "seed": values["seed"], "batch_size": BATCH}
    return fit(_recipe(learn, head), data, wanted, callbacks, checkpoints)


def _recipe(learn: Any, head: Head) -> Recipe:
    def build(data: TrainingData, values: Values, steps_per_epoch: int) -> Any:
        for layer in learn.layers:
            if isinstance(layer, layers.BatchNormalization):
                layer.trainable = False
        steps = steps_per_epoch * int(values["epochs"])
        schedule = keras.optimizers.schedules.CosineDecay(
            0.0, steps - steps // 10, warmup_target=LEARNING_RATE, warmup_steps=steps // 10
        )
        optimizer = keras.optimizers.AdamW(schedule, weight_decay=WEIGHT_DECAY)
        optimizer.exclude_from_weight_decay(var_names=["bias"])
        inputs = keras.Input(learn.input_shape[1:])
        classifier = layers.Dense(data.classes, dtype="float32", name="classifier")
        logits = classifier(ops.sqrt(learn(inputs) + SOFT) - head.mean)
        model = keras.Model(inputs, logits, name="fine_tuning")
        classifier.set_weights([head.kernel, head.bias])
        loss = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=LABEL_SMOOTHING)
        model.compile(optimizer=optimizer, loss=loss, metrics=["accuracy"])
        return model

    return Recipe(
        name="fine_tuning",
        title="Fine-tuning",
        description="The last blocks of a network, on what the blocks before them make of the images.",
        preprocessing="",
        validation_fraction=0.05,
        parameters=(epochs(1), batch_size(BATCH), seed()),
        build=build,
        augment=_one_view,
        draws=1,
        # The weights of the last epoch, where the learning rate came to zero; of a run that was stopped, the
        # best epoch's by the validation images.
        averaged=lambda values: (int(values["epochs"]),),
    )


def _one_view(data: TrainingData, values: Values, batch: Batch) -> Any:
    """The image or its mirror image, of [N, V, ...] one of V at random."""
    which = tf.cast(batch.draws[:, 0] * batch.images.shape[1], tf.int32)
    return tf.cast(tf.gather(batch.images, which, axis=1, batch_dims=1), tf.float32)
