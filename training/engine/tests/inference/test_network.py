"""LiteRT answers what Keras answers, and without TensorFlow."""

import subprocess
import sys
import threading
from pathlib import Path

import keras
import numpy as np
import pytest

from training.engine.inference import network as networks
from training.engine.inference.keras_network import KerasNetwork
from training.engine.inference.network import LiteRTNetwork, load_network

ROOT = Path(__file__).parents[4]
SHIPPED = ROOT / "training" / "pretrained"


def saved(path, side=32, tail=None, classes=10):
    """A small network with the layers that the recipes have, and then some."""
    inputs = keras.Input((side, side, 3))
    x = keras.layers.Rescaling(1 / 127.5, offset=-1)(inputs)
    x = keras.layers.Conv2D(8, 3, strides=2, padding="same", use_bias=False)(x)
    x = keras.layers.BatchNormalization()(x)
    x = keras.layers.ReLU(max_value=6)(x)
    x = keras.layers.DepthwiseConv2D(3, padding="same")(x)
    x = keras.layers.Dropout(0.5)(x)
    x = keras.layers.GlobalAveragePooling2D(name="features")(x)
    x = keras.layers.Dense(classes, name="logits")(x)
    keras.Model(inputs, tail(x) if tail else x).save(path)
    return path


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return saved(tmp_path_factory.mktemp("small") / "model.keras")


def noise(n, shape):
    return np.random.default_rng(n).integers(0, 256, (n, *shape), dtype=np.uint8)


@pytest.mark.parametrize("name", ["fast_cnn", pytest.param("photo_net", marks=pytest.mark.slow)])
def test_litert_answers_what_keras_answers(name):
    file = SHIPPED / name / "model.keras"
    in_keras, in_litert = KerasNetwork(file), load_network(file)
    assert isinstance(in_litert, LiteRTNetwork)
    assert in_litert.input_shape == in_keras.input_shape
    assert in_litert.outputs == in_keras.outputs == 10
    images = noise(9, in_keras.input_shape)
    for wanted, found in zip(in_keras.forward(images), in_litert.forward(images), strict=True):
        assert wanted.shape == found.shape
        np.testing.assert_allclose(found, wanted, atol=1e-4, rtol=1e-4)


def test_probabilities_become_logits_in_both(tmp_path):
    file = saved(tmp_path / "model.keras", tail=keras.layers.Activation("softmax", name="probabilities"))
    images = noise(3, (32, 32, 3))
    in_keras = KerasNetwork(file)
    assert in_keras.ends_in_softmax
    (_, wanted), (_, found) = in_keras.forward(images), load_network(file).forward(images)
    np.testing.assert_allclose(np.exp(found).sum(axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(found, wanted, atol=1e-4)


def test_an_image_gets_the_same_answer_in_a_batch_of_any_size(small):
    network = load_network(small)
    images = noise(150, (32, 32, 3))
    features, logits = network.forward(images)
    for size in (1, 2, 63, 64, 65):
        parts = [network.forward(images[i : i + size]) for i in range(0, len(images), size)]
        np.testing.assert_allclose(np.concatenate([f for f, _ in parts]), features, atol=1e-6)
        np.testing.assert_allclose(np.concatenate([o for _, o in parts]), logits, atol=1e-6)


@pytest.mark.parametrize(("side", "most"), [(32, 64), (128, 12), (224, 4), (512, 1)])
def test_a_processor_gets_no_more_pixels_at_once_than_it_needs(tmp_path, monkeypatch, side, most):
    network = load_network(saved(tmp_path / "model.keras", side))
    sizes, answer = [], network._forward

    def noted(images):
        sizes.append(len(images))
        return answer(images)

    monkeypatch.setattr(network, "_forward", noted)
    network.forward(np.zeros((most + 1, side, side, 3), np.uint8))
    assert sizes == [most, 1]


def test_several_threads_may_ask_at_once(small):
    network = load_network(small)
    batches = [noise(n, (32, 32, 3)) for n in range(1, 9)]
    wanted = [network.forward(images)[1] for images in batches]
    wrong = []

    def ask(number):
        for _time in range(20):
            if not np.allclose(network.forward(batches[number])[1], wanted[number], atol=1e-6):
                wrong.append(number)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(len(batches))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_what_was_converted_before_is_not_converted_again_and_needs_no_tensorflow(small, tmp_path):
    kept = tmp_path / "network.tflite"
    kept.write_bytes(KerasNetwork(small).to_litert())
    code = """
import sys
from pathlib import Path
import numpy as np
from training.engine.inference.network import load_network
from training.engine.inference.predictor import Predictor

network = load_network("no such file", Path(sys.argv[1]).read_bytes)
assert Predictor(network).predict(np.zeros((2, 32, 32, 3), np.uint8)).probabilities.shape == (2, 10)
assert not {"tensorflow", "keras"} & set(sys.modules), "TensorFlow was loaded"
"""
    done = subprocess.run([sys.executable, "-c", code, str(kept)], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_command_writes_what_litert_answers_with(small, tmp_path):
    out = tmp_path / "network.tflite"
    command = [sys.executable, "-m", "training.engine.inference.keras_network", str(small), str(out)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    images = noise(2, (32, 32, 3))
    wanted, found = load_network(small).forward(images), LiteRTNetwork(out.read_bytes()).forward(images)
    np.testing.assert_allclose(found[1], wanted[1], atol=1e-6)
    (tmp_path / "model.keras").write_bytes(b"no archive")
    command[-2] = str(tmp_path / "model.keras")
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 1
    assert done.stderr.strip().splitlines()[-1].startswith("model.keras is not a .keras file")


def test_a_layer_that_litert_does_not_know_is_a_sentence(tmp_path):
    def determinant(x):
        return keras.ops.reshape(keras.ops.linalg.det(keras.ops.reshape(x, (-1, 3, 3))), (-1, 1))

    file = saved(tmp_path / "model.keras", tail=determinant, classes=9)
    with pytest.raises(ValueError, match="cannot be converted for LiteRT"):
        load_network(file)


def test_bytes_that_are_no_network_are_refused():
    with pytest.raises(ValueError):
        LiteRTNetwork(b"from elsewhere")


def test_where_a_driver_is_but_no_card_the_processor_answers(small, monkeypatch):
    monkeypatch.setattr(networks, "GPU_DEVICES", ("/dev/null",))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    assert not networks.may_have_gpu()
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    assert networks.may_have_gpu()
    assert isinstance(load_network(small), LiteRTNetwork)
    kept = KerasNetwork(small).to_litert()
    found = load_network(small, lambda: kept)
    assert isinstance(found, LiteRTNetwork) and found.content is kept
