"""What a GPU host does to a run, as far as a CPU can show it: layers that compute in float16."""

import io
import zipfile

import keras
import numpy as np
import pytest

from training.engine.inference.predictor import Predictor
from training.engine.packaging.package import saved
from training.engine.recipes import RECIPES
from training.engine.tests.data.synthetic import small_training_data
from training.engine.training.fit import fit


@pytest.fixture
def mixed_precision():
    before = keras.mixed_precision.dtype_policy()
    keras.mixed_precision.set_global_policy("mixed_float16")
    yield
    keras.mixed_precision.set_global_policy(before)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["seed_cnn", "fast_cnn"])
def test_a_model_that_was_trained_in_mixed_precision_answers_in_float32(name, mixed_precision, tmp_path):
    # Few images: float16 is slow on a processor.
    data = small_training_data(20)
    fitted = fit(RECIPES[name], data, {"epochs": 1, "batch_size": 10}, checkpoint_folder=tmp_path / "kept")
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
