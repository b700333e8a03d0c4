"""Fine-tuning: kept where the validation images say that it helps, and then measured on others alone."""

from typing import Any

import keras
import numpy as np
import pytest

from training.engine.data.class_numbers import unpacked
from training.engine.data.preprocessing import make_inputs
from training.engine.inference.predictor import Predictor
from training.engine.inference.verdict import DecisionPolicy
from training.engine.recipes import RECIPES
from training.engine.tests.transfer.made_up import made_up
from training.engine.training.fit import StopTraining
from training.engine.training.recipe import ParameterError
from training.engine.transfer import features, finetune, fitted, train

RECIPE = RECIPES["transfer"]


class Killed(Exception):
    pass


class At(keras.callbacks.Callback):  # type: ignore[misc]
    """Notes the epochs, and raises at a step of one."""

    def __init__(self, epoch=-1, error=None):
        super().__init__()
        self.epoch, self.error, self.began = epoch, error, []

    def on_epoch_begin(self, epoch, logs=None):
        self.began.append(epoch)

    def on_train_batch_end(self, batch, logs=None):
        if self.began[-1] == self.epoch:
            raise self.error


@pytest.fixture(scope="module")
def images():
    """Of 72 images, 12 validate and 12 test: here that is enough."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fitted, "LEAST_IMAGES", 12)
        yield made_up(per_class=24)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("features")


@pytest.fixture(scope="module")
def tuned(images, folder):
    """A package of a run that was killed in its second epoch and went on, and the epochs of either run."""
    parts = {"features_dir": folder / "kept", "checkpoints": folder / "checkpoints"}
    first, second = At(1, Killed()), At()
    with pytest.raises(Killed):
        train(images, RECIPE.clean({"epochs": 2}), callbacks=[first], **parts)
    told: list[dict[str, Any]] = []
    made = train(images, RECIPE.clean({"epochs": 2}), callbacks=[second], report=told.append, **parts)
    return made, first.began, second.began, told


@pytest.mark.slow
def test_a_run_that_was_killed_goes_on_after_its_last_whole_epoch(tuned):
    made, first, second, told = tuned
    assert (first, second) == ([0, 1], [1])
    assert len(made.card["history"]["loss"]) == 2
    phases = list(dict.fromkeys(news["phase"] for news in told))
    assert phases == ["features", "head", "activations", "learning_curve"]
    # Known from the first run.
    assert [news["done"] for news in told if news["phase"] == "features"] == [72]


@pytest.mark.slow
def test_what_ships_is_measured_on_images_that_the_network_has_not_learned(tuned, images):
    card, test = tuned[0].card, tuned[0].test
    assert card["transfer"]["fine_tuning"]["kept"]
    assert card["measured_by"] == "test" and card["test"]["n"] == test["n"] == 12
    assert card["judged_on"] == {"n": 12, "cross_validated": 0, "validation": 12}
    assert card["learning_curve"]["judged_on"] == "validation"
    assert card["data"]["measured_sha256"] == images.sha256(images.rows("test"))
    assert unpacked(test["truth"]).tolist() == images.labels[images.rows("test")].tolist()


@pytest.mark.slow
def test_the_file_answers_with_the_features_that_its_head_was_fitted_to(tuned, images, tmp_path):
    made = tuned[0]
    file = tmp_path / "model.keras"
    file.write_bytes(made.content)
    predictor = Predictor(file, DecisionPolicy.from_card(made.card["judge"]), made.card["classes"])
    inputs = make_inputs([images.read(row) for row in images.rows("test")], made.card["preprocessing"])
    seen, logits = predictor.forward(inputs)
    np.testing.assert_allclose(logits, made.outputs[1], atol=0.05)
    np.testing.assert_allclose(seen, made.outputs[0], atol=0.02)
    plain = features.body().predict(inputs, verbose=0)
    assert np.abs(plain - seen).max() > 0.05


@pytest.fixture
def plain(images, folder):
    network = features.body()
    computed = features.compute(images, folder / "kept", network=network)
    return fitted.fit_head(images, network, computed, 0, features.silent)


def tune(plain, images, **changed):
    return fitted.fine_tuned(
        plain,
        images,
        RECIPE.clean({"epochs": 1}),
        **{
            "checkpoints": None,
            "callbacks": (),
            "progress": features.silent,
            "should_stop": lambda: False,
            **changed,
        },
    )


@pytest.mark.slow
def test_features_of_imagenet_are_kept_where_fine_tuning_does_not_help(plain, images, monkeypatch):
    before = plain.network.get_weights()
    monkeypatch.setattr(finetune, "LEARNING_RATE", 0.5)  # forgets everything
    made = tune(plain, images)
    assert (made.said["kept"], made.said["why"], made.said["n"]) == (False, "no_help", 12)
    assert made.said["after"]["log_loss"] >= made.said["before"]["log_loss"]
    assert made.tuned is None and made.head is plain.head
    for old, new in zip(before, plain.network.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


@pytest.mark.slow
def test_a_run_that_is_stopped_in_its_first_epoch_keeps_imagenets_network(plain, images):
    before = plain.network.get_weights()
    made = tune(plain, images, callbacks=[At(0, StopTraining())])
    assert made.said == {"kept": False, "why": "stopped", "epochs": 1}
    for old, new in zip(before, plain.network.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    assert tune(plain, images, should_stop=lambda: True).said["why"] == "stopped"


def test_with_few_held_out_images_nobody_could_tell_whether_it_helps(monkeypatch):
    monkeypatch.setattr(fitted, "LEAST_IMAGES", 30)
    few = made_up(per_class=12)
    rows = {split: few.rows(split) for split in ("training", "validation", "test")}
    nothing = fitted.Fit(None, None, None, None, None, rows, None, 3.0, [])  # type: ignore[arg-type]
    assert tune(nothing, few).said == {
        "kept": False,
        "why": "few",
        "epochs": 1,
        "least": 30,
        "validation": 6,
        "test": 6,
    }


def test_so_many_epochs_are_refused():
    with pytest.raises(ParameterError, match="epochs must lie between 0 and 100"):
        RECIPE.clean({"epochs": 101})
