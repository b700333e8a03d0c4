import keras
import numpy as np
import pytest
import tensorflow as tf

from training.engine.forgetting import KeepAnswers

PHOTOS = np.random.default_rng(0).integers(0, 256, (5, 40, 40, 3), dtype=np.uint8)


def answers(weights):
    return lambda views: tf.reduce_mean(views, axis=(1, 2)) / 255 @ weights


def layer(pupil, teacher, step=0):
    return KeepAnswers(
        pupil, teacher, PHOTOS, views=8, side=16, weight=2.0, step=lambda: tf.constant(step), seed=1
    )


def moved(keep):
    x = tf.ones((3, 4))
    assert (keep(x, training=True).numpy() == x.numpy()).all()
    return float(sum(keep.losses))


W, V = (np.random.default_rng(seed).normal(size=(3, 4)).astype(np.float32) for seed in (1, 2))


def test_it_costs_nothing_to_answer_as_the_teacher_and_something_to_answer_otherwise():
    assert moved(layer(answers(W), answers(W))) == pytest.approx(0, abs=1e-6)
    assert moved(layer(answers(V), answers(W))) > 0.01


def test_outside_training_it_only_passes_its_input_through():
    keep = layer(answers(V), answers(W))
    assert (keep(tf.ones((3, 4)), training=False).numpy() == 1).all()
    assert keep.losses == []


def test_the_same_step_shows_the_same_views_and_another_step_others():
    first, again, other = (layer(answers(W), answers(W), step).views_of_photos() for step in (3, 3, 4))
    assert first.shape == (8, 16, 16, 3)
    assert (first.numpy() == again.numpy()).all()
    assert np.abs(first.numpy() - other.numpy()).mean() > 1
    assert float(tf.reduce_min(first)) >= 0 and float(tf.reduce_max(first)) <= 255


def test_training_with_it_keeps_what_training_without_it_forgets():
    def after(weight):
        keras.utils.set_random_seed(0)
        dense = keras.layers.Dense(4)
        dense.build((None, 3))
        dense.kernel.assign(W)

        def pupil(views):
            return dense(tf.reduce_mean(views, axis=(1, 2)) / 255)

        step = tf.Variable(0)
        keep = KeepAnswers(
            pupil, answers(W), PHOTOS, views=8, side=16, weight=weight, step=lambda: step, seed=1
        )
        inputs = keras.Input((3,))
        model = keras.Model(inputs, keep(dense(inputs)))
        model.compile(optimizer=keras.optimizers.SGD(0.5), loss="mse", jit_compile=False)
        model.fit(np.zeros((64, 3)), np.full((64, 4), [3.0, 0, 0, 0]), batch_size=8, epochs=3, verbose=0)
        return moved(layer(pupil, answers(W)))

    assert after(weight=10.0) < 0.8 * after(weight=0.0)
