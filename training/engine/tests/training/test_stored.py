"""Images in a file: the same batches as from memory, and never more of them in memory than a batch."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import pytest

from training.engine.data.cifar10 import TrainingData
from training.engine.training import fit as fitting
from training.engine.training.batches import look
from training.engine.training.fit import fit
from training.engine.training.recipe import Batch, Recipe, Values, batch_size, epochs, seed
from training.engine.training.stored import ImageFile, Stored

VALUES = {"epochs": 3, "seed": 4, "batch_size": 32}


class Counting(ImageFile):
    """Notes how many images are asked for at once."""

    asked: list[int]

    def read(self, rows: Any) -> Any:
        self.asked.append(len(rows))
        return super().read(rows)


def build(data: TrainingData, values: Values, steps_per_epoch: int) -> Any:
    network = keras.Sequential(
        [keras.Input((3, 4)), keras.layers.Flatten(), keras.layers.Dense(data.classes)], name="tiny"
    )
    loss = keras.losses.CategoricalCrossentropy(from_logits=True)
    network.compile(optimizer=keras.optimizers.SGD(0.1), loss=loss, metrics=["accuracy"])
    return network


def one_view(data: TrainingData, values: Values, batch: Batch) -> Any:
    which = keras.ops.cast(batch.draws[:, 0] * 2, "int32")
    chosen = keras.ops.take_along_axis(batch.images, which[:, None, None, None], axis=1)[:, 0]
    return keras.ops.cast(chosen, "float32")


RECIPE = Recipe(
    name="tiny",
    title="Tiny",
    description="One layer.",
    preprocessing="",
    validation_fraction=0.05,
    parameters=(epochs(1), batch_size(32), seed()),
    build=build,
    augment=one_view,
    draws=1,
)


def arrays(n: int) -> tuple[Any, Any]:
    """Two views each of n images, float16 [n, 2, 3, 4], and their labels."""
    rng = np.random.default_rng(1)
    return rng.normal(size=(n, 2, 3, 4)).astype(np.float16), rng.integers(0, 3, n)


@pytest.fixture
def file() -> Iterator[Any]:
    with tempfile.TemporaryFile() as opened:
        yield opened


def both(file: Any, n: int, held_out: int) -> tuple[TrainingData, TrainingData, Counting]:
    """The same data in memory and in a file, in another order there."""
    images, labels = arrays(n + held_out)
    stored = Counting(file, images.shape[1:])
    object.__setattr__(stored, "asked", [])
    order = np.random.default_rng(2).permutation(len(images))
    for start in range(0, len(images), 50):
        stored.append(images[order[start : start + 50]])
    places = np.argsort(order)
    left: Any = Stored(stored, places[:n])
    right: Any = Stored(stored, places[n:], view=0)
    of_file = TrainingData(left, labels[:n], right, labels[n:], classes=3)
    in_memory = TrainingData(images[:n], labels[:n], images[n:, 0], labels[n:], classes=3)
    return in_memory, of_file, stored


def test_each_batch_is_the_same_bit_for_bit(file: Any) -> None:
    in_memory, of_file, _stored = both(file, 150, 70)
    for epoch in range(2):
        pairs = list(zip(*(look(RECIPE, data, VALUES, epoch) for data in (in_memory, of_file)), strict=True))
        assert len(pairs) == 5
        for one, other in pairs:
            for left, right in zip(one, other, strict=True):
                np.testing.assert_array_equal(left, right)
    batches = [fitting._validation_batches(RECIPE, data) for data in (in_memory, of_file)]
    for one, other in zip(*(made.as_numpy_iterator() for made in batches), strict=True):
        for left, right in zip(one, other, strict=True):
            np.testing.assert_array_equal(left, right)


def test_training_gives_the_same_weights_bit_for_bit(file: Any) -> None:
    in_memory, of_file, _stored = both(file, 150, 70)
    one, other = (fit(RECIPE, data, VALUES) for data in (in_memory, of_file))
    assert one.history["val_loss"] == other.history["val_loss"]
    for left, right in zip(one.model.get_weights(), other.model.get_weights(), strict=True):
        np.testing.assert_array_equal(left, right)


@pytest.mark.parametrize("n", [150, 3_000])
def test_no_more_than_a_batch_is_read_at_once_however_many_there_are(file: Any, n: int) -> None:
    _in_memory, of_file, stored = both(file, n, n)
    fit(RECIPE, of_file, VALUES)
    # Of the training images batches of 32, of the validation images the larger ones of validation.
    assert max(stored.asked) <= fitting.VALIDATION_BATCH
    assert sum(stored.asked) >= 3 * 2 * n


def test_a_file_that_is_too_short_says_so(file: Any) -> None:
    stored = ImageFile(file, (2,))
    stored.append(np.ones((3, 2), np.float16))
    assert stored.read(np.array([2, 0])).shape == (2, 2)
    with pytest.raises(OSError, match="Image 3"):
        stored.read(np.array([3]))
