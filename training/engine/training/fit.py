"""Train a recipe: the one way for the command, the worker and a notebook."""

from __future__ import annotations

import contextlib
import math
import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from tensorflow.python.framework import config

from training.engine.data.cifar10 import TrainingData, one_hot
from training.engine.data.preprocessing import make_inputs
from training.engine.training import devices
from training.engine.training.batches import Images, OnDevice, Order, read_stored, stored_of
from training.engine.training.callbacks import (
    AveragedWeights,
    BestWeights,
    Checkpoints,
    EpochTimes,
    FiniteLoss,
)
from training.engine.training.flops import TRAINING_FACTOR, forward_flops
from training.engine.training.recipe import Recipe, Values
from training.engine.training.stored import Stored

VALIDATION_BATCH = 500
# Steps that a GPU goes through before Python, and with it the callbacks, has its turn.
STEPS_PER_EXECUTION = 32


class StopTraining(Exception):
    """A callback raises it between two steps: the run ends with its best whole epoch."""


@dataclass(frozen=True)
class Fitted:
    """A trained model with the weights of its best epoch, or with the mean of several epochs' weights.

    Attributes:
        history: lists of one number an epoch, in the shape of Keras' ``History.history``; beside
            Keras' own ``learning_rate``, ``seconds`` (validation included), ``images_per_second``
            and ``waiting``, the share of the training time, 0 to 1, in which a step's batch was not ready.
        best_epoch: counted from 1, the highest validation accuracy.
        flops: what the training cost, see ``training.engine.training.flops``.
        averaged: the epochs, counted from 1, whose mean the weights are; none: they are the best epoch's.
    """

    model: keras.Model
    history: dict[str, list[float]]
    best_epoch: int
    flops: int
    averaged: tuple[int, ...] = ()


def fit(
    recipe: Recipe,
    data: TrainingData,
    values: Mapping[str, Any] | None = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    checkpoint_folder: Path | None = None,
    strategy: tf.distribute.Strategy | None = None,
    steps_per_execution: int | None = None,
    jit_compile: bool | None = None,
) -> Fitted:
    """Train ``recipe`` on ``data``, going on from the newest checkpoint where there is one.

    The images lie on the device, or in a file (``training.engine.training.stored``); Keras' ``fit`` trains
    the network, see ``training.engine.training.batches``.
    After ``tf.config.experimental.enable_op_determinism()`` the same arguments give the same weights bit for
    bit; ``waiting`` is 0 then, since such operations know no time.

    Args:
        values: the recipe's parameters; missing ones take their defaults.
        callbacks: Keras callbacks; they run after the epoch's checkpoint is on the disk, and see groups of
            ``steps_per_execution`` steps.
        checkpoint_folder: keeps two checkpoints; None keeps none.
        strategy: a ``tf.distribute`` strategy; None trains on one device.
        steps_per_execution: as in Keras' ``compile``; None: 1 on a CPU, 32 on a GPU.
        jit_compile: as in Keras' ``compile``; None: what the recipe says, on one GPU alone.

    Raises:
        ParameterError: a parameter is unknown or out of range.
        TrainingError: the loss became NaN or infinite, or the memory did not suffice.
        OSError: a checkpoint could not be written.
    """
    values = recipe.clean(values)
    gpus = devices.prepare()
    with _seeded(int(values["seed"])):
        model, network, order = _compiled(
            recipe, data, values, gpus, strategy, steps_per_execution, jit_compile
        )
        history, best = keras.callbacks.History(), BestWeights()
        average = AveragedWeights(recipe.averaged(values) if recipe.averaged else ())
        waiting = EpochTimes(order.images, lambda: float(order.waited))
        states = [_EpochsInput(model, order, recipe, values), FiniteLoss(), waiting, best, average, history]
        first_epoch = 0
        if checkpoint_folder:
            states.append(Checkpoints(checkpoint_folder, history, best, average))
            first_epoch = states[-1].restore(model)
        if first_epoch < int(values["epochs"]):
            with contextlib.suppress(StopTraining):
                model.fit(
                    order.dataset(),
                    initial_epoch=first_epoch,
                    epochs=int(values["epochs"]),
                    validation_data=_validation_batches(recipe, data),
                    callbacks=[*states, *callbacks],
                    shuffle=False,  # the order is the epoch's own
                    verbose=0,
                )
        epochs = len(history.history.get("loss", ()))
        averaged = average.epochs if epochs >= max(average.epochs, default=0) else ()
        if weights := average.weights if averaged else best.weights:
            network.set_weights(weights)
        flops = _training_flops(recipe, network, values, epochs, len(data.x_train))
        kept = recipe.finish(network, data, values) if recipe.finish else network
    return Fitted(kept, history.history, best.epoch, flops, averaged)


@contextlib.contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Seed the process' random numbers; put Python's and NumPy's back afterwards."""
    python, numpy = random.getstate(), np.random.get_state()
    keras.utils.set_random_seed(seed)
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)


def _compiled(
    recipe: Recipe,
    data: TrainingData,
    values: Values,
    gpus: int,
    strategy: tf.distribute.Strategy | None,
    steps_per_execution: int | None,
    jit_compile: bool | None,
) -> tuple[OnDevice, keras.Model, Order]:
    """What ``fit`` trains, the recipe's own network with the same weights, and the order of the images."""
    timed = not config.is_op_determinism_enabled()
    order = Order(len(data.x_train), recipe.draws, values, timed, stored_of(data))
    one_gpu = gpus > 0 and strategy is None
    with strategy.scope() if strategy else contextlib.nullcontext():
        network = recipe.build(data, values, order.steps)
        network.optimizer.build(network.trainable_variables)
        model = OnDevice(network.inputs, network.outputs, name=network.name)
        model.source = Images(recipe, data, values, compiled=one_gpu)
        model.compile(
            optimizer=network.optimizer,
            loss=network.loss,
            weighted_metrics=["accuracy"],
            steps_per_execution=steps_per_execution or min(STEPS_PER_EXECUTION if gpus else 1, order.steps),
            jit_compile=recipe.jit_compile and one_gpu if jit_compile is None else jit_compile,
        )
    _build_metrics(model, one_hot(data.y_val[:1], data.classes))
    return model, network, order


class _EpochsInput(keras.callbacks.Callback):  # type: ignore[misc]
    """Begins an epoch's order; has the step compiled anew where its images have another size."""

    def __init__(self, model: OnDevice, order: Order, recipe: Recipe, values: Values) -> None:
        super().__init__()
        self.order, self.recipe, self.values = order, recipe, values
        self.compiled = model.jit_compile
        self.make_step(model)

    def make_step(self, model: OnDevice) -> None:
        model.jit_compile = self.compiled
        model.make_train_function(force=True)
        # Validation takes a fiftieth of an epoch: compiling it takes longer than it saves.
        model.jit_compile = False

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.order.begin(epoch)
        side = self.recipe.input_side(self.values, epoch) if self.recipe.input_side else None
        if side != self.model.source.side:
            self.model.source.side = side
            self.make_step(self.model)


def _training_flops(recipe: Recipe, model: keras.Model, values: Values, epochs: int, images: int) -> int:
    """FLOPs of so many epochs, each over all ``images``."""
    side = recipe.input_side
    sides = Counter(side(values, epoch) if side else None for epoch in range(epochs))
    forward = sum(count * forward_flops(model, pixels) for pixels, count in sides.items())
    return TRAINING_FACTOR * images * forward


def _build_metrics(model: OnDevice, answers: NDArray[np.float32]) -> None:
    """Have loss and metrics make their variables, for which Keras would trace the step a second time."""

    def build() -> None:
        model.compute_loss(y=answers, y_pred=answers)
        model.compute_metrics(None, answers, answers)

    model.distribute_strategy.run(build)
    model.reset_metrics()


def _validation_batches(recipe: Recipe, data: TrainingData) -> tf.data.Dataset:
    """x, y and weights, all batches of one size; the mean over the batches is that over the images."""
    inputs: Any = make_inputs(data.x_val, recipe.preprocessing) if recipe.preprocessing else data.x_val
    stored, images = inputs if isinstance(inputs, Stored) else None, len(inputs)
    if stored:
        inputs = np.arange(images)
    size = min(VALIDATION_BATCH, images)
    padded = math.ceil(images / size) * size
    # In place of 1: Keras divides a batch's loss by the batch's size, padding included.
    weights = np.full(images, padded / images, np.float32)
    batches = tf.data.Dataset.from_tensor_slices((inputs, one_hot(data.y_val, data.classes), weights))
    nothing = batches.take(1).map(lambda x, y, weight: (x, y, tf.zeros_like(weight)))
    batches = batches.concatenate(nothing.repeat(padded - images)).batch(size, drop_remainder=True)
    if stored:
        batches = batches.map(lambda places, *more: (read_stored(stored, places), *more))
    return batches.prefetch(tf.data.AUTOTUNE)
