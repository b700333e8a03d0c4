"""What a GPU host does to a run, as far as a CPU can show it: layers that compute in float16."""

import io
import zipfile

import keras
import numpy as np
import pytest

from training.engine import devices
from training.engine.fit import fit
from training.engine.package import saved
from training.engine.predictor import Predictor
from training.engine.recipes import RECIPES
from training.engine.tests.synthetic import small_training_data


@pytest.fixture
def mixed_precision():
    before = keras.mixed_precision.dtype_policy()
    keras.mixed_precision.set_global_policy("mixed_float16")
    yield
    keras.mixed_precision.set_global_policy(before)


@pytest.mark.parametrize("name", ["seed_cnn", "fast_cnn"])
def test_a_model_that_was_trained_in_mixed_precision_answers_in_float32(name, mixed_precision, tmp_path):
    data = small_training_data(60)
    fitted = fit(RECIPES[name], data, {"epochs": 1, "batch_size": 30}, checkpoint_folder=tmp_path / "kept")
    assert np.isfinite(fitted.history["loss"]).all()
    in_training = fitted.model.predict(data.x_val, verbose=0)
    assert in_training.dtype == np.float32
    assert any(layer.compute_dtype == "float16" for layer in fitted.model.layers)

    content = saved(fitted.model)

    assert b"float16" not in zipfile.ZipFile(io.BytesIO(content)).read("config.json")
    (tmp_path / "model.keras").write_bytes(content)
    features, logits = Predictor(tmp_path / "model.keras").forward(data.x_val)
    assert features.dtype == logits.dtype == np.float32
    if name == "seed_cnn":
        in_training = np.log(in_training)
    assert np.abs(logits - in_training).max() < 0.05


def test_a_job_of_the_site_heeds_no_other_hosts(monkeypatch):
    monkeypatch.setenv("TF_CONFIG", '{"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker"}}')
    assert devices.prepare(hosts=False) is None
