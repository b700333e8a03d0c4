"""What a process does to its GPUs. There is none here: TensorFlow is told that there are."""

import ast
from pathlib import Path
from typing import Any

import keras
import pytest
import tensorflow as tf

from training.engine.training import devices

ENGINE = Path(devices.__file__).parents[1]


class Told:
    """What TensorFlow's configuration was asked for."""

    def __init__(self, monkeypatch, gpus):
        self.calls: list[tuple[Any, ...]] = []
        config = tf.config
        monkeypatch.setattr(config, "list_physical_devices", lambda kind: gpus if kind == "GPU" else [])
        for owner, name in (
            (config.experimental, "set_memory_growth"),
            (config, "set_logical_device_configuration"),
            (config.experimental, "enable_tensor_float_32_execution"),
        ):
            monkeypatch.setattr(owner, name, self.note(name))

    def note(self, name):
        return lambda *arguments: self.calls.append((name, *arguments))


@pytest.fixture(autouse=True)
def unprepared():
    policy = keras.mixed_precision.dtype_policy()
    devices.prepare.cache_clear()
    yield
    devices.prepare.cache_clear()
    keras.mixed_precision.set_global_policy(policy)


def test_each_card_gives_memory_as_it_is_needed_and_float32_stays_whole(monkeypatch):
    told = Told(monkeypatch, ["first", "second"])
    assert devices.prepare() == 2
    assert told.calls == [
        ("set_memory_growth", "first", True),
        ("set_memory_growth", "second", True),
        ("enable_tensor_float_32_execution", False),
    ]


def test_a_setting_caps_what_a_process_takes(monkeypatch):
    told = Told(monkeypatch, ["card"])
    monkeypatch.setenv(devices.MEMORY_VARIABLE, "4096")
    devices.prepare()
    name, card, (limit,) = told.calls[0]
    assert (name, card, limit.memory_limit) == ("set_logical_device_configuration", "card", 4096)


def test_nothing_is_compiled_behind_the_back_of_a_model(monkeypatch):
    Told(monkeypatch, ["card"])
    assert devices.prepare_training() is None
    assert keras.mixed_precision.dtype_policy().name == "mixed_float16"
    assert tf.config.optimizer.get_jit() in ("", False)


def test_on_a_cpu_all_of_it_stays_off(monkeypatch):
    told = Told(monkeypatch, [])
    assert devices.prepare_training() is None
    assert told.calls == []
    assert keras.mixed_precision.dtype_policy().name == "float32"


@pytest.mark.parametrize("module", ["inference/keras_network", "training/fit"])
def test_what_loads_a_model_or_trains_one_prepares_the_cards(module):
    """Prediction, explanation, evaluation and all commands load models by ``KerasNetwork`` alone."""
    calls = [ast.unparse(node.func) for node in ast.walk(tree(module)) if isinstance(node, ast.Call)]
    assert "devices.prepare" in calls


def test_no_other_module_loads_a_model():
    loaders = {
        path.name
        for path in ENGINE.parents[1].rglob("*.py")
        if {"tests", "benchmarks", ".venv"}.isdisjoint(path.parts)
        and "load_model(" in path.read_text()
        and "keras.models.load_model(" in path.read_text()
    }
    # The second runs where a model was taken, without this project.
    assert loaders == {"keras_network.py", "take_away_predict.py"}


def tree(module):
    return ast.parse((ENGINE / f"{module}.py").read_text())
