import time
from collections import Counter
from dataclasses import replace

import keras
import numpy as np
import pytest
import tensorflow as tf

from training.engine.recipes import RECIPES
from training.engine.tests.data.synthetic import small_training_data
from training.engine.tests.training.tiny_recipe import RECIPE as TINY
from training.engine.training.batches import Images, Order, look
from training.engine.training.fit import fit

# Recipes that fit trains; the one for classes of one's own has no batches.
NAMES = sorted(name for name, recipe in RECIPES.items() if not recipe.own_classes)


def epoch(name, number, **values):
    recipe = RECIPES[name]
    return list(look(recipe, small_training_data(100), recipe.clean({"batch_size": 30, **values}), number))


@pytest.mark.parametrize("name", NAMES)
def test_batches_depend_on_seed_and_epoch_alone(name):
    first, again, next_one, other_seed = (
        epoch(name, 3),
        epoch(name, 3),
        epoch(name, 4),
        epoch(name, 3, seed=1),
    )
    for (x, y, weights), (x_again, y_again, weights_again) in zip(first, again, strict=True):
        assert (x == x_again).all() and (y == y_again).all() and (weights == weights_again).all()
    for others in (next_one, other_seed):
        assert any((a[1] != b[1]).any() for a, b in zip(first, others, strict=True))
    assert all(np.allclose(y.sum(axis=1), 1) and x.min() >= 0 and x.max() <= 255 for x, y, _ in first)


@pytest.mark.parametrize("name", NAMES)
def test_all_batches_have_one_size_and_every_image_counts_once(name):
    batches = epoch(name, 0)
    assert {x.shape for x, _, _ in batches} == {(30, *batches[0][0].shape[1:])}
    weights = np.concatenate([weights for _, _, weights in batches])
    assert (weights > 0).sum() == 100
    # Each step's loss is divided by 30, so each step's weights add up to 30.
    assert [float(w.sum()) for _, _, w in batches] == pytest.approx([30.0] * 4)


def test_an_epoch_shows_every_image_once_and_fills_up_with_its_first_ones():
    order = Order(100, 0, {"seed": 0, "batch_size": 30})
    rows = np.concatenate([rows.numpy() for rows, *_ in order.dataset()])
    assert sorted(rows[:100]) == list(range(100))
    assert (rows[100:] == rows[:20]).all()


def test_a_batch_is_never_larger_than_the_images_are_many():
    order = Order(7, 2, {"seed": 0, "batch_size": 1_000})
    assert [rows.shape[0] for rows, *_ in order.dataset()] == [7]


@pytest.mark.parametrize(("name", "traces"), [("fast_cnn", 2), ("seed_cnn", 1)])
def test_the_step_is_traced_once_for_each_size_of_images(name, traces):
    seen: Counter[tuple[int, ...]] = Counter()
    recipe = RECIPES[name]

    def counted(data, values, batch):
        x = recipe.augment(data, values, batch) if recipe.augment else batch.images
        seen[tuple(x.shape)] += 1
        return x

    values = {"epochs": 3, "batch_size": 30} | ({"small_epochs": 2} if name == "fast_cnn" else {})
    fit(replace(recipe, augment=counted), small_training_data(70), values)

    assert len(seen) == traces
    assert set(seen.values()) == {1}
    assert all(None not in shape for shape in seen)


def test_groups_of_steps_give_the_weights_of_single_steps_and_callbacks_see_the_groups():
    class Groups(keras.callbacks.Callback):  # type: ignore[misc]  # untyped base
        def on_train_batch_end(self, batch, logs=None):
            ends.append(batch)

    data, values = small_training_data(350), {"epochs": 2}  # seven steps
    results = []
    for steps in (1, 3):
        ends: list[int] = []
        fitted = fit(TINY, data, values, [Groups()], steps_per_execution=steps)
        results.append((fitted.model.get_weights(), fitted.history["loss"], ends))
    (single, losses, all_ends), (grouped, same_losses, group_ends) = results
    assert all_ends == list(range(7)) * 2
    assert group_ends == [2, 5, 8] * 2
    assert losses == pytest.approx(same_losses, abs=1e-5)
    assert all(np.allclose(a, b, atol=1e-5) for a, b in zip(single, grouped, strict=True))


def test_padding_moves_neither_loss_nor_accuracy():
    """The last batch of validation has one image more than none: its mean is that of the images."""
    data = small_training_data(1_010)  # 505 validation images, 500 a batch
    fitted = fit(TINY, data, {"epochs": 1})
    expected = fitted.model.evaluate(
        data.x_val, np.eye(10, dtype=np.float32)[data.y_val], batch_size=505, verbose=0, return_dict=True
    )
    assert fitted.history["val_loss"][0] == pytest.approx(expected["loss"], abs=1e-5)
    assert fitted.history["val_accuracy"][0] == pytest.approx(expected["accuracy"], abs=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_no_operation_of_a_batch_runs_python_or_keeps_a_state_of_its_own(name):
    """It would make the card wait for the host, or a resumed run differ."""
    recipe, data = RECIPES[name], small_training_data(20)
    values = recipe.clean({"batch_size": 10})
    order, source = Order(20, recipe.draws, values), Images(recipe, data, values)
    graph = (
        tf.function(source.batch, autograph=False).get_concrete_function(*order.dataset().element_spec).graph
    )
    kinds = {operation.type for operation in graph.get_operations()}
    assert "GatherV2" in kinds
    assert not {kind for kind in kinds if "PyFunc" in kind or "Random" in kind}
    shapes = [graph.structured_outputs[0].shape, graph.structured_outputs[1].shape]
    assert all(shape.is_fully_defined() for shape in shapes)


def after_a_while(rows):
    time.sleep(0.1)
    return rows


class Late(Order):
    """Each batch takes 0.1 s to make."""

    def _epoch(self, _):
        def slowly(rows, *others):
            late = tf.numpy_function(after_a_while, [rows], tf.int64)
            return (tf.ensure_shape(late, (self.size,)), *others)

        return super()._epoch(_).map(slowly)


def test_it_says_how_long_the_steps_waited():
    for kind, pause, waited in ((Late, 0, True), (Order, 0.1, False)):
        order = kind(80, 0, {"seed": 0, "batch_size": 10})
        order.begin(0)
        for _ in order.dataset():
            time.sleep(pause)  # the step
        assert (float(order.waited) > 0.7) == waited
        order.begin(1)
        assert float(order.waited) == 0
