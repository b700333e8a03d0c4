import json
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest

from training.engine import checkpoints
from training.engine.checkpoints import Checkpoint
from training.engine.fit import TrainingError, fit
from training.engine.tests.synthetic import small_training_data
from training.engine.tests.tiny_recipe import RECIPE


def latest(folder) -> Checkpoint:
    checkpoint = checkpoints.load_latest(folder)
    assert checkpoint is not None
    return checkpoint


RUN = [sys.executable, "-m", "training.engine.tests.fit_tiny"]


def run(folder, name, die_after=0, patience=0, averaged=0):
    """Fit in a process of its own; return its exit status, weights and note."""
    result = folder / f"{name}.npz"
    arguments = [folder / name, result, die_after, patience, averaged]
    status = subprocess.run([*RUN, *map(str, arguments)], check=False, timeout=300).returncode
    if status:
        return status, None, None
    with np.load(result) as file:
        return status, [file[key] for key in file.files], json.loads(result.with_suffix(".json").read_text())


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    return run(tmp_path_factory.mktemp("whole"), "whole")


def test_a_run_killed_after_any_epoch_ends_with_the_same_weights_bit_for_bit(uninterrupted, tmp_path):
    for epoch in (1, 4):  # killed twice in one run
        status, _, _ = run(tmp_path, "killed", die_after=epoch)
        assert status == -signal.SIGKILL
    _, weights, note = run(tmp_path, "killed")
    _, expected_weights, expected_note = uninterrupted
    assert note == expected_note
    assert all((a == b).all() for a, b in zip(weights, expected_weights, strict=True))


def test_a_damaged_checkpoint_costs_one_epoch_and_nothing_else(uninterrupted, tmp_path):
    run(tmp_path, "damaged", die_after=4)
    newest = max((tmp_path / "damaged").glob("epoch-*.npz"))
    content = bytearray(newest.read_bytes())
    content[len(content) // 2] ^= 1
    newest.write_bytes(content)
    assert latest(tmp_path / "damaged").epoch == 3
    _, weights, note = run(tmp_path, "damaged")
    assert note == uninterrupted[2]
    assert all((a == b).all() for a, b in zip(weights, uninterrupted[1], strict=True))


def test_a_finished_run_is_not_trained_again(uninterrupted, tmp_path):
    run(tmp_path, "again")
    status, weights, _ = run(tmp_path, "again", die_after=1)  # would die if it trained
    assert status == 0
    assert all((a == b).all() for a, b in zip(weights, uninterrupted[1], strict=True))


def test_early_stopping_keeps_the_best_epoch_and_is_the_same_after_a_kill(tmp_path):
    _, weights, note = run(tmp_path, "whole", patience=1)
    epochs = len(note["history"]["loss"])
    assert note["best"] == epochs - 1 or epochs == 6
    run(tmp_path, "killed", die_after=1, patience=1)
    _, resumed, resumed_note = run(tmp_path, "killed", patience=1)
    assert resumed_note == note
    assert all((a == b).all() for a, b in zip(weights, resumed, strict=True))


def test_averaged_weights_are_the_same_after_a_kill(uninterrupted, tmp_path):
    _, weights, _ = run(tmp_path, "whole", averaged=1)
    assert any((a != b).any() for a, b in zip(weights, uninterrupted[1], strict=True))
    run(tmp_path, "killed", die_after=3, averaged=1)
    _, resumed, _ = run(tmp_path, "killed", averaged=1)
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
    def batches(data, values, epoch):
        for x, y in RECIPE.batches(data, values, epoch):
            yield x, y * np.float32("nan") if epoch == 1 else y

    diverging = replace(RECIPE, batches=batches)
    with pytest.raises(TrainingError, match="The loss became nan at step 1: try a smaller"):
        fit(diverging, small_training_data(100), {"epochs": 3})


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


def test_it_says_how_much_of_the_time_was_spent_waiting_for_data():
    def late(data, values, epoch):
        for batch in RECIPE.batches(data, values, epoch):
            time.sleep(0.2)
            yield batch

    history = fit(replace(RECIPE, batches=late), small_training_data(), {"epochs": 2}).history
    assert len(history["waiting"]) == 2
    assert all(0.5 < share <= 1 for share in history["waiting"][1:])
