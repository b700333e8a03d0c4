"""Train a recipe: the one way for the command, the worker and a notebook."""

from __future__ import annotations

import contextlib
import math
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from training.engine import checkpoints, devices
from training.engine.data import TrainingData, one_hot
from training.engine.flops import TRAINING_FACTOR, forward_flops
from training.engine.preprocessing import make_inputs
from training.engine.recipe import Batch, Recipe, Values

VALIDATION_BATCH = 500
PREFETCH = 2


class TrainingError(Exception):
    """The run cannot go on; the message says why."""


class StopTraining(Exception):
    """A callback raises it between two steps: the run ends with its best whole epoch."""


@dataclass(frozen=True)
class Fitted:
    """A trained model with the weights of its best epoch, or with the mean of several epochs' weights.

    Attributes:
        history: lists of one number an epoch, in the shape of Keras' ``History.history``; beside
            Keras' own ``learning_rate``, ``seconds`` (validation included), ``images_per_second``
            and ``waiting``, the share of the training time, 0 to 1, in which no batch was ready.
        best_epoch: counted from 1, the highest validation accuracy.
        flops: what the training cost, see ``training.engine.flops``.
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
    deterministic: bool = False,
) -> Fitted:
    """Train ``recipe`` on ``data``, going on from the newest checkpoint where there is one.

    Args:
        values: the recipe's parameters; missing ones take their defaults.
        callbacks: Keras callbacks; they run after the epoch's checkpoint is on the disk.
        checkpoint_folder: keeps two checkpoints; None keeps none.
        strategy: a ``tf.distribute`` strategy; None trains on one device.
        deterministic: the same weights bit for bit from the same arguments, for some speed.

    Raises:
        ParameterError: a parameter is unknown or out of range.
        TrainingError: the loss became NaN or infinite, or the memory did not suffice.
        OSError: a checkpoint could not be written.
    """
    values = recipe.clean(values)
    if deterministic:
        tf.config.experimental.enable_op_determinism()
    keras.utils.set_random_seed(int(values["seed"]))
    steps = math.ceil(len(data.x_train) / int(values["batch_size"]))
    with strategy.scope() if strategy else contextlib.nullcontext():
        model = recipe.build(data, values, steps)
        model.optimizer.build(model.trainable_variables)
    averaged = recipe.averaged(values) if recipe.averaged else ()
    patience = int(values.get("patience", 0))
    state = _State(model, len(data.x_train), patience, averaged, checkpoint_folder)
    first_epoch = state.restore()
    if first_epoch < int(values["epochs"]) and not state.exhausted:
        if isinstance(strategy, devices.Hosts):
            _build_from_local_batch(model, next(recipe.batches(data, values, first_epoch)))
        with contextlib.suppress(StopTraining):
            model.fit(
                _training_batches(recipe, data, values, first_epoch, state.made),
                steps_per_epoch=steps,
                initial_epoch=first_epoch,
                epochs=int(values["epochs"]),
                validation_data=_validation_batches(recipe, data),
                callbacks=[state, *callbacks],
                shuffle=False,  # the recipe fixes the order
                verbose=0,
            )
    state.use_kept_weights()
    flops = _training_flops(recipe, model, values, len(state.history_["loss"]), len(data.x_train))
    if recipe.finish:
        model = recipe.finish(model, data, values)
    return Fitted(model, state.history_, state.best_epoch, flops, state.kept_epochs)


def _training_flops(recipe: Recipe, model: keras.Model, values: Values, epochs: int, images: int) -> int:
    """FLOPs of so many epochs, each over all ``images``."""
    side = recipe.input_side
    sides = Counter(side(values, epoch) if side else None for epoch in range(epochs))
    forward = sum(count * forward_flops(model, pixels) for pixels, count in sides.items())
    return TRAINING_FACTOR * images * forward


class _State(keras.callbacks.Callback):  # type: ignore[misc]
    """What a run carries from epoch to epoch: history, best weights, early stopping."""

    def __init__(
        self,
        model: keras.Model,
        images: int,
        patience: int,
        averaged: tuple[int, ...],
        folder: Path | None,
    ) -> None:
        super().__init__()
        self.set_model(model)
        self.images = images
        self.patience = patience
        self.averaged = averaged
        self.folder = folder
        self.history_: dict[str, list[float]] = {}
        self.made: list[float] = []  # when each batch was ready, in the clock of time.monotonic
        self.steps = 0
        self.best: list[Any] = []
        self.average: list[Any] = []

    @property
    def best_epoch(self) -> int:
        """Counted from 1; 0 before the first epoch ended. The first of equals."""
        return int(np.argmax(self.history_["val_accuracy"])) + 1 if self.history_ else 0

    @property
    def exhausted(self) -> bool:
        """No better epoch within ``patience`` epochs (0: never)."""
        epochs = len(self.history_.get("loss", ()))
        return bool(self.patience) and epochs - self.best_epoch >= self.patience

    def restore(self) -> int:
        """Take over the newest checkpoint; return how many epochs are done."""
        checkpoint = checkpoints.load_latest(self.folder) if self.folder else None
        if checkpoint is None:
            return 0
        groups: dict[str, list[Any]] = {"model": [], "optimizer": [], "best": [], "average": []}
        for name, array in checkpoint.arrays.items():
            groups[name.split("/")[0]].append(array)
        for variables, arrays in (
            (self.model.variables, groups["model"]),
            (self.model.optimizer.variables, groups["optimizer"]),
        ):
            for variable, array in zip(variables, arrays, strict=True):
                variable.assign(array)
        self.best = groups["best"] or self.model.get_weights()
        self.average = groups["average"]
        self.history_ = checkpoint.note["history"]
        return checkpoint.epoch

    @property
    def kept_epochs(self) -> tuple[int, ...]:
        """The epochs that are averaged, where the run came that far; else none."""
        came_to_the_end = len(self.history_.get("loss", ())) >= max(self.averaged, default=0)
        return self.averaged if came_to_the_end else ()

    def use_kept_weights(self) -> None:
        """Give the model its average where the run came that far, else its best epoch."""
        kept = self.average if self.kept_epochs else self.best
        if kept:
            self.model.set_weights(kept)

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.started = time.monotonic()
        self.waited = 0.0

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        self.asked = time.monotonic()

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        loss = (logs or {}).get("loss", 0.0)
        if not math.isfinite(loss):
            raise TrainingError(f"The loss became {loss} at step {batch + 1}: try a smaller learning rate.")
        self.waited += max(0.0, self.made[self.steps] - self.asked)
        self.steps += 1

    def on_test_begin(self, logs: Any = None) -> None:
        self.seconds = time.monotonic() - self.started

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        logs = logs if logs is not None else {}
        # In place: the callbacks that come after this one get the same dictionary.
        logs["learning_rate"] = float(self.model.optimizer.learning_rate)
        logs["seconds"] = time.monotonic() - self.started
        logs["images_per_second"] = self.images / self.seconds
        logs["waiting"] = self.waited / self.seconds
        for name, value in logs.items():
            self.history_.setdefault(name, []).append(float(value))
        if self.best_epoch == epoch + 1:
            self.best = self.model.get_weights()
        if epoch + 1 in self.averaged:
            shares = [weight / len(self.averaged) for weight in self.model.get_weights()]
            self.average = [a + b for a, b in zip(self.average or [0] * len(shares), shares, strict=True)]
        if self.folder:
            checkpoints.save(self.folder, self._checkpoint(epoch + 1))
        if self.exhausted:
            self.model.stop_training = True

    def _checkpoint(self, epoch: int) -> checkpoints.Checkpoint:
        groups = {
            "model": [v.numpy() for v in self.model.variables],
            "optimizer": [v.numpy() for v in self.model.optimizer.variables],
            # Not twice where this epoch is the best one: writing takes the run's time.
            "best": [] if self.best_epoch == epoch else self.best,
            "average": self.average,
        }
        arrays = {f"{name}/{i:04d}": a for name, group in groups.items() for i, a in enumerate(group)}
        return checkpoints.Checkpoint(epoch, arrays, {"history": self.history_})


def _build_from_local_batch(model: keras.Model, batch: Batch) -> None:
    """Build what Keras would build from a batch of the distributed data.

    Across hosts that attempt fails: https://github.com/keras-team/keras/issues/20585
    """
    with model.distribute_strategy.scope():
        model._symbolic_build(data_batch=batch)
    model._maybe_symbolic_build = lambda **unused: None


def _training_batches(
    recipe: Recipe, data: TrainingData, values: Values, first_epoch: int, made: list[float]
) -> tf.data.Dataset:
    """All batches from ``first_epoch`` (counted from 0) to the end of the run.

    Args:
        made: gets the time when each batch was ready.
    """

    def generate() -> Iterator[Batch]:
        for epoch in range(first_epoch, int(values["epochs"])):
            for batch in recipe.batches(data, values, epoch):
                made.append(time.monotonic())
                yield batch

    x, y = next(recipe.batches(data, values, first_epoch))
    shape = (None, None, x.shape[-1]) if recipe.input_side else x.shape[1:]
    signature = (
        tf.TensorSpec((None, *shape), x.dtype),
        tf.TensorSpec((None, *y.shape[1:]), y.dtype),
    )
    return tf.data.Dataset.from_generator(generate, output_signature=signature).prefetch(PREFETCH)


def _validation_batches(recipe: Recipe, data: TrainingData) -> tf.data.Dataset:
    inputs = make_inputs(data.x_val, recipe.preprocessing)
    pairs = tf.data.Dataset.from_tensor_slices((inputs, one_hot(data.y_val)))
    return pairs.batch(VALIDATION_BATCH).prefetch(PREFETCH)
