"""Keras callbacks of a run. Each is of use alone: ``model.fit(..., callbacks=[BestWeights()])``."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from training.engine.training import checkpoints

Weights = list[NDArray[Any]]
# Writing checkpoints may take this share of a run's time, except where one takes less than so many seconds.
WRITING_SHARE, SHORT_WRITING = 0.1, 0.5


class TrainingError(Exception):
    """The run cannot go on; the message says why."""


class FiniteLoss(keras.callbacks.Callback):  # type: ignore[misc]
    """Ends a run whose loss became NaN or infinite.

    Raises:
        TrainingError: in the step after which it is so.
    """

    def on_train_batch_end(self, batch: int, logs: Mapping[str, float] | None = None) -> None:
        loss = (logs or {}).get("loss", 0.0)
        if not math.isfinite(loss):
            step = min(batch + 1, self.params.get("steps") or batch + 1)
            raise TrainingError(f"The loss became {loss} at step {step}: try a smaller learning rate.")


class EpochTimes(keras.callbacks.Callback):  # type: ignore[misc]
    """Adds to an epoch's logs, and so to the history of the callbacks after it, how fast it was.

    ``learning_rate``; ``seconds``, validation included; ``images_per_second`` and ``waiting``, the share of
    the time of training, 0 to 1, in which a step's batch was not ready.

    Args:
        images: training images an epoch.
        waited: seconds that the epoch's steps have waited for their batches.
    """

    def __init__(self, images: int, waited: Callable[[], float] = lambda: 0.0) -> None:
        super().__init__()
        self.images, self.waited = images, waited

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.started = time.monotonic()
        self.trained: float | None = None

    def on_test_begin(self, logs: Any = None) -> None:
        self.trained = time.monotonic() - self.started

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        seconds = time.monotonic() - self.started
        trained = self.trained or seconds
        # In place: the callbacks that come after this one get the same dictionary.
        (logs if logs is not None else {}).update(
            learning_rate=float(self.model.optimizer.learning_rate),
            seconds=seconds,
            images_per_second=self.images / trained,
            waiting=min(self.waited() / trained, 1.0),
        )


class BestWeights(keras.callbacks.Callback):  # type: ignore[misc]
    """Keeps the weights of the best epoch: the highest value of ``monitor``, the first of equals.

    Attributes:
        epoch: counted from 1; 0 before the first one ended.
        weights: as ``get_weights`` gives them.
    """

    def __init__(self, monitor: str = "val_accuracy") -> None:
        super().__init__()
        self.monitor = monitor
        self.epoch, self.value = 0, -math.inf
        self.weights: Weights = []

    def on_epoch_end(self, epoch: int, logs: Mapping[str, float] | None = None) -> None:
        value = (logs or {})[self.monitor]
        if value > self.value:
            self.epoch, self.value, self.weights = epoch + 1, value, self.model.get_weights()

    def resume(self, history: Mapping[str, list[float]], weights: Weights) -> None:
        """Go on after the epochs of ``history``, of whose best these are the weights."""
        self.epoch = int(np.argmax(history[self.monitor])) + 1
        self.value, self.weights = history[self.monitor][self.epoch - 1], weights


class AveragedWeights(keras.callbacks.Callback):  # type: ignore[misc]
    """Sums up to the mean of the weights after some epochs.

    Args:
        epochs: counted from 1; none: there is no mean.

    Attributes:
        weights: as ``get_weights`` gives them; the mean as soon as the last of ``epochs`` is over.
    """

    def __init__(self, epochs: Sequence[int]) -> None:
        super().__init__()
        self.epochs = tuple(epochs)
        self.weights: Weights = []

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        if epoch + 1 in self.epochs:
            shares = [weight / len(self.epochs) for weight in self.model.get_weights()]
            sums = zip(self.weights, shares, strict=True) if self.weights else ()
            self.weights = [a + b for a, b in sums] or shares


class Checkpoints(keras.callbacks.Callback):  # type: ignore[misc]
    """Writes after an epoch all that a run needs to go on bit for bit; ``restore`` takes it up again.

    Written are the first epoch, the last one and each that comes ten times as long after the last writing as
    that took: all but those of a fast GPU. It comes after the callbacks that it keeps the state of. See
    ``training.engine.training.checkpoints``.

    Args:
        folder: keeps the newest two.
        history: what ``fit`` returns; it goes on with the earlier epochs.

    Raises:
        OSError: a checkpoint could not be written.
    """

    def __init__(
        self, folder: Path, history: keras.callbacks.History, best: BestWeights, average: AveragedWeights
    ) -> None:
        super().__init__()
        self.folder, self.history, self.best, self.average = folder, history, best, average
        self.written, self.took = -math.inf, 0.0

    def restore(self, model: keras.Model) -> int:
        """Take over the newest undamaged checkpoint; returns how many epochs are done."""
        checkpoint = checkpoints.load_latest(self.folder)
        if checkpoint is None:
            return 0
        groups: dict[str, Weights] = {"model": [], "optimizer": [], "best": [], "average": []}
        for name, array in checkpoint.arrays.items():
            groups[name.split("/")[0]].append(array)
        for variable, array in zip(
            [*model.variables, *model.optimizer.variables],
            [*groups["model"], *groups["optimizer"]],
            strict=True,
        ):
            variable.assign(array)
        self.history.history.update(checkpoint.note["history"])
        self.best.resume(self.history.history, groups["best"] or model.get_weights())
        self.average.weights = groups["average"]
        return checkpoint.epoch

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        began = time.monotonic()
        is_last = epoch + 1 == self.params["epochs"]
        is_soon = began - self.written < self.took / WRITING_SHARE
        if is_soon and self.took > SHORT_WRITING and not is_last:
            return
        groups = {
            "model": [v.numpy() for v in self.model.variables],
            "optimizer": [v.numpy() for v in self.model.optimizer.variables],
            # Not twice where this epoch is the best one: writing takes the run's time.
            "best": [] if self.best.epoch == epoch + 1 else self.best.weights,
            "average": self.average.weights,
        }
        arrays = {f"{name}/{i:04d}": a for name, group in groups.items() for i, a in enumerate(group)}
        note = {"history": {k: [float(v) for v in values] for k, values in self.history.history.items()}}
        checkpoints.save(self.folder, checkpoints.Checkpoint(epoch + 1, arrays, note))
        self.written = time.monotonic()
        self.took = self.written - began
