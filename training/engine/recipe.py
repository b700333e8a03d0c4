"""What a recipe is: a network, the data it sees and how it learns, with described parameters.

A recipe module must be importable without Keras, since the web site shows recipes and never
holds TensorFlow: import Keras inside ``build`` and ``batches``.
"""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from training.engine.data import TrainingData

if TYPE_CHECKING:
    import keras

Number = int | float
Values = Mapping[str, Number]
Batch = tuple[NDArray[Any], NDArray[np.float32]]


class ParameterError(ValueError):
    """A parameter is unknown or out of range; the message names it and the range."""


@dataclass(frozen=True)
class Parameter:
    """One number that a person may set: shown in the form with its help and range."""

    name: str
    default: Number
    minimum: Number
    maximum: Number
    help: str

    def clean(self, value: Any) -> Number:
        """Return ``value`` as the default's type, or raise ParameterError."""
        kind = type(self.default)
        try:
            number = kind(value)
        except (TypeError, ValueError, OverflowError):
            number = None
        if number is None or isinstance(value, bool) or float(number) != float(value):
            raise ParameterError(f"{self.name} must be {'a whole' if kind is int else 'a'} number.")
        if not self.minimum <= number <= self.maximum:
            raise ParameterError(f"{self.name} must lie between {self.minimum} and {self.maximum}.")
        return number


@dataclass(frozen=True)
class Recipe:
    """A named way to train.

    Attributes:
        name: the module's name.
        title: one line for people.
        description: a paragraph for people.
        preprocessing: the version in ``training.engine.preprocessing`` that makes this
            model's input from a photo.
        validation_fraction: share of the training images held out, stratified.
        parameters: what may be set; ``epochs``, ``batch_size`` and ``seed`` are always there.
        build: ``(data, values, steps_per_epoch) -> compiled keras.Model``. The model takes
            uint8 or float32 [N, H, W, 3] in 0..255.
        batches: ``(data, values, epoch) -> iterator of (x, y)`` for one epoch; the same
            arguments give the same batches, whatever came before.
        averaged: ``values -> epochs, counted from 1, whose weights are averaged`` into the model that
            is kept; None, or a run that ended before the last of them: the best epoch is kept.
        finish: ``(trained model, data, values) -> the model that is kept``; None keeps the
            trained one.
        input_side: ``(values, epoch) -> height and width`` of the training images, where epochs
            differ in it; None: they have the model's input size.
    """

    name: str
    title: str
    description: str
    preprocessing: str
    validation_fraction: float
    parameters: tuple[Parameter, ...]
    build: Callable[[TrainingData, Values, int], keras.Model]
    batches: Callable[[TrainingData, Values, int], Iterator[Batch]]
    averaged: Callable[[Values], tuple[int, ...]] | None = None
    finish: Callable[[keras.Model, TrainingData, Values], keras.Model] | None = None
    input_side: Callable[[Values, int], int] | None = None

    def clean(self, values: Mapping[str, Any] | None = None) -> dict[str, Number]:
        """Fill in defaults and check ranges.

        Raises:
            ParameterError: a name is unknown or a value is out of range.
        """
        values = dict(values or {})
        cleaned = {p.name: p.clean(values.pop(p.name, p.default)) for p in self.parameters}
        if values:
            raise ParameterError(f"{self.name} has no parameter {', '.join(sorted(values))}.")
        return cleaned

    def source_sha256(self) -> str:
        """Hash of the recipe's source file: says which text produced a model."""
        source = inspect.getsource(inspect.getmodule(self.build) or self.build)
        return hashlib.sha256(source.encode()).hexdigest()


def epochs(default: int) -> Parameter:
    return Parameter("epochs", default, 1, 1_000, "How often the network sees every training image.")


def batch_size(default: int) -> Parameter:
    return Parameter("batch_size", default, 1, 10_000, "Images in one step of the optimizer.")


def seed(default: int = 0) -> Parameter:
    return Parameter(
        "seed", default, 0, 2**31 - 1, "The same seed gives the same weights, order and augmentation."
    )


def shuffled_rows(count: int, size: int, seed: int, epoch: int) -> Iterator[NDArray[np.int64]]:
    """Yield the row numbers of each batch of one epoch, in an order fixed by seed and epoch."""
    order = np.random.default_rng([seed, epoch]).permutation(count)
    for start in range(0, count, size):
        yield order[start : start + size]
