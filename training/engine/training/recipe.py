"""What a recipe is: a network, the data it sees and how it learns, with described parameters.

A recipe module must be importable without Keras, since the web site shows recipes and never
holds TensorFlow: import Keras inside ``build``, TensorFlow inside ``augment``.
"""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from training.engine.data.cifar10 import LEAST_HELD_OUT, TrainingData

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

Number = int | float
Values = Mapping[str, Number]
# By language, as 'vi' or 'pt-br': a short text and a long one. What a language lacks is shown in English.
Translations = Mapping[str, tuple[str, str]]


def translated(english: tuple[str, str], translations: Translations, language: str) -> tuple[str, str]:
    """The two texts in a language, or in the language that it is a kind of ('pt' for 'pt-br')."""
    return translations.get(language) or translations.get(language.partition("-")[0]) or english


class ParameterError(ValueError):
    """A parameter is unknown or out of range; the message names it and the range."""


@dataclass(frozen=True)
class Hyperparameter:
    """One number that a person may set: shown in the form with its label, help and range.

    Attributes:
        translations: of label and help.
    """

    name: str
    default: Number
    minimum: Number
    maximum: Number
    help: str
    translations: Translations = field(default_factory=dict)

    def texts(self, language: str = "en") -> tuple[str, str]:
        """Label, such as 'Learning rate', and help in a language."""
        return translated((self.name.replace("_", " ").capitalize(), self.help), self.translations, language)

    def clean(self, value: Any) -> Number:
        """Return ``value`` as the default's type, or raise ParameterError."""
        kind = type(self.default)
        try:
            number = kind(value)
        except (TypeError, ValueError, OverflowError):
            number = None
        if number is None or isinstance(value, bool) or float(number) != float(value):
            raise ParameterError(f"{self.name} must be {'a whole' if kind is int else 'a'} number.")
        if self.minimum == self.maximum != number:
            raise ParameterError(f"{self.name} must be {self.minimum}.")
        if not self.minimum <= number <= self.maximum:
            raise ParameterError(f"{self.name} must lie between {self.minimum} and {self.maximum}.")
        return number


@dataclass(frozen=True)
class Batch:
    """The training images of one step, as tensors on the device.

    Attributes:
        images: as ``TrainingData.x_train`` has them, uint8 [N, H, W, 3].
        rows: int64 [N], their numbers in ``x_train``.
        epochs: int64 [N], the epoch counted from 0, the same number for each.
        draws: float32 [N, ``Recipe.draws``], evenly from 0 to 1, other ones for each image and epoch.
        side: what ``Recipe.input_side`` says of this epoch, a Python number.
    """

    images: tf.Tensor
    rows: tf.Tensor
    epochs: tf.Tensor
    draws: tf.Tensor
    side: int | None = None


@dataclass(frozen=True)
class Recipe:
    """A named way to train.

    Attributes:
        name: the module's name.
        title: one line for people.
        description: a paragraph for people.
        preprocessing: the version in ``training.engine.data.preprocessing`` that makes this
            model's input from a photo; empty: the run's images are such inputs already.
        validation_fraction: share of the training images held out, stratified; at least
            ``LEAST_HELD_OUT``.
        parameters: what may be set; ``epochs`` and ``seed`` are always there, ``batch_size`` where
            batches are trained on.
        build: ``(data, values, steps_per_epoch) -> compiled keras.Model``. The model takes
            uint8 or float32 [N, H, W, 3] in 0..255.
        augment: ``(data, values, batch) -> what the model is trained on``, float32 or uint8 [N, h, w, 3] in
            0..255, in TensorFlow; see ``training.engine.training.augment``. It becomes a part of the compiled
            step: Python and NumPy in it run once, and all that varies comes in the ``Batch``. None: the
            images as they are.
        draws: how many random numbers ``augment`` gets for each image.
        jit_compile: whether XLA compiles the step on a GPU: for each recipe as it was measured to pay.
        knows_none: the model's logits are log-odds against 'none of these', which has a logit of 0.
        averaged: ``values -> epochs, counted from 1, whose weights are averaged`` into the model that
            is kept; None, or a run that ended before the last of them: the best epoch is kept.
        finish: ``(trained model, data, values) -> the model that is kept``; None keeps the
            trained one.
        own_classes: trains on a project's images, whatever their classes; else on CIFAR-10 alone.
        translations: of title and description.
        input_side: ``(values, epoch) -> height and width`` of the training images, where epochs
            differ in it; None: they have the model's input size.
    """

    name: str
    title: str
    description: str
    preprocessing: str
    validation_fraction: float
    parameters: tuple[Hyperparameter, ...]
    build: Callable[[TrainingData, Values, int], keras.Model]
    augment: Callable[[TrainingData, Values, Batch], tf.Tensor] | None = None
    draws: int = 0
    jit_compile: bool = False
    knows_none: bool = False
    own_classes: bool = False
    averaged: Callable[[Values], tuple[int, ...]] | None = None
    finish: Callable[[keras.Model, TrainingData, Values], keras.Model] | None = None
    input_side: Callable[[Values, int], int] | None = None
    translations: Translations = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.validation_fraction < LEAST_HELD_OUT:
            raise ValueError(
                f"The recipe '{self.name}' holds out {self.validation_fraction:.1%} of the training images: "
                f"hold out at least {LEAST_HELD_OUT:.0%}, since the gate compares models on images that none "
                "has learned from."
            )

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

    def texts(self, language: str = "en") -> tuple[str, str]:
        """Title and description in a language."""
        return translated((self.title, self.description), self.translations, language)

    def source_sha256(self) -> str:
        """Hash of the recipe's source file: says which text produced a model."""
        source = inspect.getsource(inspect.getmodule(self.build) or self.build)
        return hashlib.sha256(source.encode()).hexdigest()


def epochs(default: int) -> Hyperparameter:
    return Hyperparameter(
        "epochs",
        default,
        1,
        1_000,
        "Number of passes over the training images.",
        {"vi": ("Số epoch", "Số lượt duyệt qua toàn bộ ảnh huấn luyện.")},
    )


def batch_size(default: int) -> Hyperparameter:
    return Hyperparameter(
        "batch_size",
        default,
        1,
        10_000,
        "Images per optimizer step.",
        {"vi": ("Cỡ lô", "Số ảnh mỗi bước của bộ tối ưu.")},
    )


def seed(default: int = 0) -> Hyperparameter:
    return Hyperparameter(
        "seed",
        default,
        0,
        2**31 - 1,
        "The same seed gives the same initial weights, order and augmentation.",
        {"vi": ("Hạt giống", "Cùng hạt giống cho cùng trọng số ban đầu, thứ tự và phép tăng cường.")},
    )
