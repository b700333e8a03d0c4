import json
import subprocess
import sys

import pytest

from training.engine.tests.data.synthetic import small_training_data
from training.engine.tests.training.tiny_recipe import RECIPE
from training.engine.training.fit import fit

pytestmark = pytest.mark.slow

FIT = [sys.executable, "-m", "training.engine.tests.training.fit_distributed"]


@pytest.fixture(scope="module")
def one_device():
    return fit(RECIPE, small_training_data(), {"epochs": 3, "dropout": 0.0}).history


def same_losses(history, expected):
    for name in ("loss", "val_loss"):
        assert history[name] == pytest.approx(expected[name], abs=1e-4)


def test_two_devices_give_the_loss_of_one(one_device, tmp_path):
    result = tmp_path / "two.json"
    subprocess.run([*FIT, "two", result], check=True, timeout=300)
    same_losses(json.loads(result.read_text()), one_device)
