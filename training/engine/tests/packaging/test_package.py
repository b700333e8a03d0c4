import json
import zipfile
from datetime import datetime, timedelta
from unittest import mock

import keras

from training.engine.inference.predictor import Predictor
from training.engine.packaging.package import saved
from training.engine.tests.data.synthetic import small_training_data
from training.engine.tests.training.tiny_recipe import RECIPE


def tiny_network():
    return RECIPE.build(small_training_data(20), RECIPE.clean(), 1)


def test_a_model_saved_on_another_day_is_the_same_file():
    network = tiny_network()
    before = saved(network)
    with mock.patch("keras.src.saving.saving_lib.datetime") as clock:
        clock.datetime.now.return_value = datetime.now() + timedelta(days=1)
        after = saved(network)
    assert clock.datetime.now.called
    assert before == after


def test_equal_weights_of_runs_that_differ_are_two_models():
    network = tiny_network()
    assert saved(network, {"epochs": 1}) != saved(network, {"epochs": 2})


def test_the_file_says_which_keras_and_which_run_made_it_and_loads(tmp_path):
    (tmp_path / "model.keras").write_bytes(saved(tiny_network(), {"recipe": "tiny", "epochs": 2}))
    with zipfile.ZipFile(tmp_path / "model.keras") as file:
        said = json.loads(file.read("metadata.json"))
    assert said == {"keras_version": keras.__version__, "recipe": "tiny", "epochs": 2}
    images = small_training_data(20).x_train
    assert Predictor(tmp_path / "model.keras").predict(images).probabilities.shape == (20, 10)
