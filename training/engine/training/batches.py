"""Batches of training images, made where the images lie: on the device, inside the training step.

The host sends the numbers of the images, and random numbers, alone: from seed and epoch, by compiled code.
Images of a file (``training.engine.training.stored``) are read by the host and sent with them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from training.engine.data.cifar10 import TrainingData, one_hot
from training.engine.training.recipe import Batch, Recipe, Values
from training.engine.training.stored import Stored

PREFETCH = 8


class Order:
    """Which images each step of an epoch sees, as a ``tf.data`` pipeline, and how long steps waited for it.

    All batches have one size, so that the step is compiled once. What an epoch's last batch lacks is
    filled up with images of its first one, at weight zero: BatchNorm sees images, the loss does not.

    Args:
        stored: the images, where they lie in a file.
        timed: False where TensorFlow's operations are deterministic, since they know no time then.
    """

    def __init__(
        self, images: int, draws: int, values: Values, timed: bool = True, stored: Stored | None = None
    ) -> None:
        self.images, self.draws, self.seed, self.timed = images, draws, int(values["seed"]), timed
        self.size = min(int(values["batch_size"]), images)
        self.steps = math.ceil(images / self.size)
        self.stored = stored
        # tf.data runs on the host, whatever else there is.
        with tf.device("CPU:0"):
            self.epoch = tf.Variable(0, dtype=tf.int64, trainable=False)
            self.waited = tf.Variable(0.0, dtype=tf.float64, trainable=False)

    def begin(self, epoch: int) -> None:
        """The next iteration over ``dataset`` gives this epoch, counted from 0."""
        self.epoch.assign(epoch)
        self.waited.assign(0.0)

    def dataset(self) -> tf.data.Dataset:
        """One epoch: rows int64 [size], draws float32 [size, draws], weights float32, epochs int64 [size];
        and the images [size, ...], where they lie in a file."""
        batches = tf.data.Dataset.range(1).flat_map(self._epoch)
        if stored := self.stored:
            batches = batches.map(lambda rows, *more: (rows, *more, read_stored(stored, rows)))
        made = batches.map(lambda *batch: (batch, self._now())).prefetch(PREFETCH)
        # A zip asks its parts one after the other: the first one notes when the step began to wait.
        asked = tf.data.Dataset.counter().map(lambda _: self._now())
        options = tf.data.Options()
        options.experimental_optimization.apply_default_optimizations = False  # they would ask beforehand
        waited = tf.data.Dataset.zip((asked, made)).map(self._note).with_options(options)
        return waited.apply(tf.data.experimental.assert_cardinality(self.steps))

    def _epoch(self, _: tf.Tensor) -> tf.data.Dataset:
        epoch = self.epoch.read_value()
        places = np.arange(self.steps * self.size)
        weights = np.where(places < self.images, 1.0, 0.0).reshape(self.steps, self.size)
        # The loss divides by the size of the batch: the last one's images count as much as they would alone.
        weights *= self.size / weights.sum(axis=1, keepdims=True)
        order = tf.range(self.images, dtype=tf.int64)
        order = tf.random.experimental.stateless_shuffle(order, (self.seed, 2 * epoch))
        rows = tf.gather(order, places % self.images)
        draws = tf.random.stateless_uniform((len(places), self.draws), (self.seed, 2 * epoch + 1))
        return tf.data.Dataset.from_tensor_slices(
            (
                tf.reshape(rows, (self.steps, self.size)),
                tf.reshape(draws, (self.steps, self.size, self.draws)),
                weights.astype(np.float32),
                tf.fill((self.steps, self.size), epoch),
            )
        )

    def _now(self) -> tf.Tensor:
        return tf.timestamp() if self.timed else tf.constant(0.0, tf.float64)

    def _note(self, asked: tf.Tensor, made: Any) -> Any:
        batch, at = made
        self.waited.assign_add(tf.maximum(at - asked, 0.0))
        return batch


class Images:
    """The training images on the device, as they are stored, and how a batch is made of them."""

    def __init__(self, recipe: Recipe, data: TrainingData, values: Values, compiled: bool = False) -> None:
        self.recipe, self.data, self.values = recipe, data, values
        self.side = recipe.input_side(values, 0) if recipe.input_side else None
        images: Any = data.x_train
        self.images = None if isinstance(images, Stored) else tf.Variable(images, trainable=False)
        self.targets = tf.Variable(one_hot(data.y_train, data.classes), trainable=False)
        self.compiled = compiled

    def batch(
        self,
        rows: tf.Tensor,
        draws: tf.Tensor,
        weights: tf.Tensor,
        epochs: tf.Tensor,
        images: tf.Tensor | None = None,
    ) -> Any:
        """What Keras trains on, x, y and sample weights, of one element of ``Order.dataset``."""
        make = self._make
        if self.compiled:
            # Whether the network is compiled or not: many small operations become a few.
            make = tf.function(make, jit_compile=True, autograph=False)
        x, y = make(rows, draws, epochs, images)
        return x, y, weights

    def _make(
        self, rows: tf.Tensor, draws: tf.Tensor, epochs: tf.Tensor, images: tf.Tensor | None
    ) -> tuple[tf.Tensor, tf.Tensor]:
        if self.images is not None:
            images = tf.gather(self.images.read_value(), rows)
        y = tf.gather(self.targets.read_value(), rows)
        if self.recipe.augment is None:
            return images, y
        batch = Batch(images, rows, epochs, draws, self.side)
        return self.recipe.augment(self.data, self.values, batch), y


def stored_of(data: TrainingData) -> Stored | None:
    """The training images, where they lie in a file."""
    images: Any = data.x_train
    return images if isinstance(images, Stored) else None


def read_stored(images: Stored, places: tf.Tensor) -> tf.Tensor:
    """The images [N, ...] at places [N], inside of ``tf.data``."""
    made = tf.numpy_function(images.read, [places], tf.as_dtype(images.dtype))
    made.set_shape((places.shape[0], *images.shape[1:]))
    return made


class OnDevice(keras.Model):  # type: ignore[misc]  # untyped base
    """A recipe's network, with its layers and weights, that ``fit`` trains on ``Order.dataset``."""

    source: Images

    def train_step(self, data: Any) -> Any:
        return super().train_step(self.source.batch(*data))


def look(
    recipe: Recipe, data: TrainingData, values: Values, epoch: int
) -> Iterator[tuple[NDArray[Any], NDArray[np.float32], NDArray[np.float32]]]:
    """One epoch's batches as a step sees them: x, y and sample weights."""
    order = Order(len(data.x_train), recipe.draws, values, stored=stored_of(data))
    order.begin(epoch)
    source = Images(recipe, data, values)
    source.side = recipe.input_side(values, epoch) if recipe.input_side else None
    make = tf.function(source.batch, autograph=False)
    for batch in order.dataset():
        x, y, weights = make(*batch)
        yield x.numpy(), y.numpy(), weights.numpy()
