import signal
import subprocess
import sys
import time
from dataclasses import replace

import keras
import numpy as np
import pytest
from tensorflow.python.framework import config

from training.engine.tests.data.synthetic import small_training_data
from training.engine.tests.training.tiny_recipe import RECIPE
from training.engine.training import callbacks, checkpoints
from training.engine.training.callbacks import AveragedWeights, BestWeights, Checkpoints, TrainingError
from training.engine.training.checkpoints import Checkpoint
from training.engine.training.fit import fit


def latest(folder) -> Checkpoint:
    checkpoint = checkpoints.load_latest(folder)
    assert checkpoint is not None
    return checkpoint


class Died(Exception):
    pass


class Die(keras.callbacks.Callback):  # type: ignore[misc]
    """Ends a run as a kill does: at once, and after the epoch's checkpoint."""

    def __init__(self, epoch):
        super().__init__()
        self.epoch = epoch

    def on_epoch_end(self, epoch, logs=None):
        if epoch + 1 == self.epoch:
            raise Died


CLOCKS = ("seconds", "images_per_second", "waiting")


def run(folder, name, die_after=0, **values):
    """Fit; return weights and what else must be the same each time."""
    fitted = fit(
        RECIPE,
        small_training_data(),
        values,
        [Die(die_after)],
        checkpoint_folder=folder / name,
    )
    history = {k: v for k, v in fitted.history.items() if k not in CLOCKS}
    return fitted.model.get_weights(), {"history": history, "best": fitted.best_epoch}


def run_until(die_after, folder, name, **values):
    with pytest.raises(Died):
        run(folder, name, die_after, **values)


@pytest.fixture(scope="module", autouse=True)
def _deterministic():
    config.enable_op_determinism()
    yield
    config.disable_op_determinism()  # other files need not be


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    return run(tmp_path_factory.mktemp("whole"), "whole")


def test_a_run_killed_after_any_epoch_ends_with_the_same_weights_bit_for_bit(uninterrupted, tmp_path):
    # Really killed first, in a process of its own.
    argv = [sys.executable, "-m", "training.engine.tests.training.fit_tiny", tmp_path / "killed", "1"]
    assert subprocess.run(argv, check=False, timeout=300).returncode == -signal.SIGKILL
    run_until(4, tmp_path, "killed")
    weights, note = run(tmp_path, "killed")
    expected_weights, expected_note = uninterrupted
    assert note == expected_note
    assert all((a == b).all() for a, b in zip(weights, expected_weights, strict=True))


def test_a_damaged_checkpoint_costs_one_epoch_and_nothing_else(uninterrupted, tmp_path):
    run_until(4, tmp_path, "damaged")
    before, newest = sorted((tmp_path / "damaged").glob("epoch-*.npz"))
    content = bytearray(newest.read_bytes())
    content[len(content) // 2] ^= 1
    newest.write_bytes(content)
    assert latest(tmp_path / "damaged").epoch == int(before.name.split("-")[1])
    weights, note = run(tmp_path, "damaged")
    assert note == uninterrupted[1]
    assert all((a == b).all() for a, b in zip(weights, uninterrupted[0], strict=True))


def test_a_finished_run_is_not_trained_again(uninterrupted, tmp_path):
    run(tmp_path, "again")
    weights, _ = run(tmp_path, "again", die_after=1)  # would die if it trained
    assert all((a == b).all() for a, b in zip(weights, uninterrupted[0], strict=True))


def test_averaged_weights_are_the_same_after_a_kill(uninterrupted, tmp_path):
    weights, _ = run(tmp_path, "whole", averaged=1)
    assert any((a != b).any() for a, b in zip(weights, uninterrupted[0], strict=True))
    run_until(3, tmp_path, "killed", averaged=1)
    resumed, _ = run(tmp_path, "killed", averaged=1)
    assert all((a == b).all() for a, b in zip(weights, resumed, strict=True))


def test_it_says_which_epochs_the_kept_weights_are_the_mean_of():
    def averaged(**values):
        return fit(RECIPE, small_training_data(100), {"averaged": 1, **values}).averaged

    assert averaged(epochs=5) == (2, 5)
    assert averaged(epochs=4) == ()  # it did not come that far: the best epoch is kept
    assert averaged(averaged=0, epochs=2) == ()


def test_the_history_has_one_number_an_epoch():
    fitted = fit(RECIPE, small_training_data(100), {"epochs": 2})
    assert set(fitted.history) >= {"loss", "accuracy", "val_loss", "val_accuracy", "learning_rate"}
    assert all(len(numbers) == 2 for numbers in fitted.history.values())
    assert all(number > 0 for number in fitted.history["images_per_second"])


def test_a_loss_that_is_no_number_ends_the_run_with_its_reason():
    def build(data, values, steps_per_epoch):
        # Not by NaN in the images: a ReLU on the CPU makes 0 of it.
        network = RECIPE.build(data, values, steps_per_epoch)
        network.compile(
            network.optimizer, loss=lambda y, answer: keras.ops.mean(answer, -1) * np.float32("nan")
        )
        return network

    with pytest.raises(TrainingError, match="The loss became nan at step 1: try a smaller"):
        fit(replace(RECIPE, build=build), small_training_data(100), {"epochs": 3})


def test_checkpoints_survive_a_kill_between_writing_and_renaming(tmp_path):
    note = {"history": {"loss": [1.0]}}
    checkpoints.save(tmp_path, checkpoints.Checkpoint(1, {"model/0": np.ones(3)}, note))
    # What a kill before the rename leaves behind:
    (tmp_path / ".epoch-00002-abc.npz.123.part").write_bytes(b"half")
    loaded = latest(tmp_path)
    assert loaded.epoch == 1
    assert loaded.note == note


def test_two_checkpoints_are_kept(tmp_path):
    for epoch in range(1, 5):
        checkpoints.save(tmp_path, checkpoints.Checkpoint(epoch, {"model/0": np.full(3, epoch)}, {}))
    assert len(list(tmp_path.iterdir())) == 2
    assert latest(tmp_path).arrays["model/0"][0] == 4


def test_epochs_that_are_shorter_than_their_checkpoints_share_one(uninterrupted, tmp_path, monkeypatch):
    """As on a fast GPU: the first and the last are written; a killed run ends with the same weights."""
    save, written = checkpoints.save, []

    def slow(folder, checkpoint):
        written.append(checkpoint.epoch)
        time.sleep(0.6)
        return save(folder, checkpoint)

    monkeypatch.setattr(checkpoints, "save", slow)
    monkeypatch.setattr(callbacks, "WRITING_SHARE", 1e-6)
    run_until(4, tmp_path, "killed")
    assert written == [1]
    weights, note = run(tmp_path, "killed")
    assert written == [1, 2, len(note["history"]["loss"])]
    assert note == uninterrupted[1]
    assert all((a == b).all() for a, b in zip(weights, uninterrupted[0], strict=True))


def plain_model():
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, activation="softmax")])
    model.compile("sgd", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def test_the_callbacks_are_of_use_to_any_keras_model(tmp_path):
    x, y = np.random.default_rng(0).normal(size=(30, 4)).astype(np.float32), np.arange(30) % 3

    def fit_plain(epochs):
        model, history = plain_model(), keras.callbacks.History()
        best, average = BestWeights("accuracy"), AveragedWeights([1, 3])
        kept = Checkpoints(tmp_path, history, best, average)
        done = kept.restore(model)
        model.fit(
            x,
            y,
            initial_epoch=done,
            epochs=epochs,
            shuffle=False,
            verbose=0,
            callbacks=[best, average, history, kept],
        )
        return done, history.history, best, average

    done, history, best, average = fit_plain(2)
    assert (done, len(history["loss"]), best.epoch in (1, 2)) == (0, 2, True)
    done, history, best, average = fit_plain(3)
    assert (done, len(history["loss"])) == (2, 3)
    assert best.value == max(history["accuracy"])
    assert [weight.shape for weight in average.weights] == [(4, 3), (3,)]


def test_random_numbers_of_the_process_go_on_as_if_nothing_had_trained():
    np.random.seed(5)
    expected = np.random.rand(2)[1]
    np.random.seed(5)
    np.random.rand()
    fit(RECIPE, small_training_data(100), {"epochs": 1})
    assert np.random.rand() == expected
