"""What speaks for a label, for each kind of network that ships or can be trained."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from conftest import ROOT
from training.engine.evaluation.occlusion import CELLS, explain, log_odds
from training.engine.inference.predictor import Predictor
from training.engine.inference.verdict import DecisionPolicy
from training.engine.packaging.package import saved
from training.engine.recipes import RECIPES
from training.engine.tests.data.synthetic import small_training_data

SHIPPED = ROOT / "training" / "pretrained"


def shipped(name: str) -> Predictor:
    card = json.loads((SHIPPED / name / "card.json").read_text())
    return Predictor(SHIPPED / name / "model.keras", DecisionPolicy.from_card(card["judge"]))


def untrained(name: str, folder: Path) -> Predictor:
    recipe = RECIPES[name]
    model = recipe.build(small_training_data(), recipe.clean(), 1)
    path = folder / "model.keras"
    path.write_bytes(saved(model))
    return Predictor(path)


def half_plain(shape: tuple[int, int, int]) -> np.ndarray:
    """Grey on the left, stripes and dots on the right: uint8 [H, W, 3]."""
    height, width, _ = shape
    picture = np.full(shape, 127, np.uint8)
    rows, columns = np.mgrid[:height, width // 2 : width]
    picture[:, width // 2 :, 0] = np.where((rows * 16 // height) % 2, 250, 10)
    picture[:, width // 2 :, 1] = np.where((columns * 16 // width) % 2, 200, 30)
    return picture


@pytest.mark.parametrize("name", ["photo_net", "fast_cnn", "seed_cnn"])
def test_covering_what_is_plain_changes_nothing(name: str, tmp_path: Path) -> None:
    predictor = untrained(name, tmp_path) if name == "seed_cnn" else shipped(name)
    picture = half_plain(predictor.input_shape)
    labels = predictor.predict(picture[None]).probabilities[0].argsort()[::-1][:2]
    maps = explain(predictor, picture, labels.tolist())
    assert maps.shape == (2, CELLS, CELLS)
    assert np.isfinite(maps).all()
    busiest, plainest = np.abs(maps[:, :, CELLS // 2 :]).max(), np.abs(maps[:, :, :2]).max()
    # Not nothing at all: the blur that covers reaches a little way over from the other half.
    assert busiest > 5 * plainest
    again = explain(predictor, picture, labels.tolist())
    np.testing.assert_array_equal(maps, again)


def test_log_odds_of_a_nearly_certain_label_are_exact() -> None:
    rest = 1e-15
    odds = log_odds(np.array([[1 - 9 * rest, *[rest] * 9], [0.1] * 10]))
    assert np.isfinite(odds).all()
    np.testing.assert_allclose(odds[1], np.log(1 / 9))
    assert odds[0, 0] > 20
