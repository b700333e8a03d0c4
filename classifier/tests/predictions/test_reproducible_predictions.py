"""The same file, model and version give the same answer: alone, in any batch, on any worker."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conftest import ROOT

TOLERANCE = 1e-5
SIZES = (1, 2, 7, 64)
MODELS = ("photo_net", "fast_cnn")
# A process of its own, as each worker is: what it answers to inputs, in batches of each size.
ANSWER = """
import json, sys
import numpy as np
from training.engine.inference.predictor import Predictor
from training.engine.inference.verdict import DecisionPolicy

name, inputs, sizes = sys.argv[1], np.load(sys.argv[2]), json.loads(sys.argv[3])
folder = "training/pretrained/" + name
judge = DecisionPolicy.from_card(json.load(open(folder + "/card.json"))["judge"])
predictor = Predictor(folder + "/model.keras", judge)
said = {}
for size in sizes:
    parts = [predictor.predict(inputs[i : i + size]) for i in range(0, len(inputs), size)]
    said[size] = {
        "probabilities": np.concatenate([p.probabilities for p in parts]).tolist(),
        "scores": np.concatenate([p.scores for p in parts]).tolist(),
        "verdicts": [v for p in parts for v in p.verdicts],
    }
print(json.dumps(said))
"""


def photos(side: int) -> np.ndarray:
    """64 inputs between noise and smooth pictures, uint8 [64, side, side, 3]."""
    rng = np.random.default_rng(5)
    pictures = []
    for number in range(64):
        coarse = rng.uniform(0, 255, (2 + number % 7, 3 + number % 5, 3))
        down, across = np.linspace(0, 0.999, side), np.linspace(0, 0.999, side)
        rows, columns = (down * coarse.shape[0]).astype(int), (across * coarse.shape[1]).astype(int)
        picture = coarse[rows][:, columns] + rng.normal(0, number / 4, (side, side, 3))
        pictures.append(np.clip(picture, 0, 255))
    return np.array(pictures).astype(np.uint8)


def ask(model: str, inputs: Path, sizes: tuple[int, ...]) -> dict[str, Any]:
    command = [sys.executable, "-c", ANSWER, model, str(inputs), json.dumps(sizes)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    said: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return said


@pytest.mark.slow
@pytest.mark.parametrize("model", MODELS)
def test_two_processes_and_all_batch_sizes_say_the_same(model: str, tmp_path: Path) -> None:
    card = json.loads((ROOT / "training" / "pretrained" / model / "card.json").read_text())
    np.save(tmp_path / "inputs.npy", photos(card["input_shape"][0]))
    first = ask(model, tmp_path / "inputs.npy", SIZES)
    second = ask(model, tmp_path / "inputs.npy", (64, 7))
    alone = first["1"]
    assert np.ptp(alone["scores"]) > 1  # the pictures differ enough to tell something
    for said in (*first.values(), *second.values()):
        for figure in ("probabilities", "scores"):
            np.testing.assert_allclose(said[figure], alone[figure], rtol=0, atol=TOLERANCE)
        assert said["verdicts"] == alone["verdicts"]
