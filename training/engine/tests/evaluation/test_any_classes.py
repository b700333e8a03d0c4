"""Figures and panels of 2, 3, 37, 100 and 1,000 classes."""

import json

import numpy as np
import pytest

from training.engine.data.cifar10 import CLASS_NAMES
from training.engine.data.class_numbers import packed, unpacked
from training.engine.data.image_set import ImageSet
from training.engine.evaluation import metrics, report
from training.engine.inference.calibration import Calibration
from training.engine.tests.evaluation.answering import Answering, answers


@pytest.mark.parametrize("classes", [2, 3, 10, 11, 37, 100, 1_000])
def test_figures_hold_for_any_number_of_classes(classes):
    logits, labels = answers(classes, max(300, 2 * classes))
    names = [f"class {number}" for number in range(classes)]
    found = json.loads(json.dumps(metrics.figures(logits, labels, Calibration(), names)))
    predicted = logits.argmax(axis=1)
    assert found["accuracy"] == pytest.approx((predicted == labels).mean())
    assert [row["name"] for row in found["classes"]] == names
    assert sum(row["support"] for row in found["classes"]) == len(labels)
    assert unpacked(found["truth"]).tolist() == labels.tolist()
    assert unpacked(found["predicted"]).tolist() == predicted.tolist()
    assert "animals_or_vehicles" not in found
    assert ("confusion" in found) == (classes <= metrics.MOST_IN_MATRIX)
    one_hot = np.eye(classes)[labels]
    chances = Calibration().probabilities(logits)
    assert found["brier"] == pytest.approx(((chances - one_hot) ** 2).sum(axis=1).mean())


def test_cifar10s_classes_alone_are_animals_and_vehicles():
    logits, labels = answers(10, 100)
    assert "animals_or_vehicles" in metrics.figures(logits, labels, Calibration(), CLASS_NAMES)
    assert "animals_or_vehicles" not in metrics.figures(logits, labels, Calibration(), CLASS_NAMES[::-1])


def test_numbers_of_up_to_ten_classes_stay_a_string_of_digits():
    assert packed(np.array([3, 0, 9], np.uint8), 10) == "309"
    assert packed(np.array([3, 0, 10]), 11) == [3, 0, 10]
    assert unpacked("309").tolist() == unpacked([3, 0, 9]).tolist() == [3, 0, 9]


@pytest.mark.parametrize("classes", [2, 3, 37, 100])
def test_every_panel_holds_for_any_number_of_classes(classes):
    names = tuple(f"class {number}" for number in range(classes))
    logits, labels = answers(classes, 400)
    features = np.random.default_rng(0).normal(0, 1, (400, 6)).astype(np.float32)
    pictures = ImageSet("made up", "0" * 64, np.zeros((400, 8, 8, 3), np.uint8), labels, classes=names)
    measured = report.measure(
        Answering(names), pictures, "squash32-v1", distorted=0, outputs=(features, logits)
    )
    panels = json.loads(json.dumps(measured.figures))["panels"]
    assert measured.probabilities.shape == (400, classes)
    assert len(panels["curves"]) == classes
    drawn = [row for row in panels["curves"] if "roc" in row]
    assert len(drawn) == (classes if classes <= report.MOST_CURVES else report.FEW_CURVES)
    hardest = sorted(row["ap"] for row in panels["curves"])[: len(drawn)]
    assert sorted(row["ap"] for row in drawn) == hardest
    assert len(panels["examples"]) == min(classes, report.MOST_EXAMPLES)
    assert panels["kinds"] == []
    assert [row["name"] for row in panels["map"]["centres"]] == list(names)
    assert len(panels["intervals"]["f1"]) == classes


def test_a_model_of_fewer_classes_is_wrong_on_those_it_does_not_know():
    wanted, known = ("ape", "bee", "cow"), ("cow", "ape", "dog")
    logits, _ = answers(3, 60)
    labels = np.arange(60) % 3
    pictures = ImageSet("made up", "0" * 64, np.zeros((60, 8, 8, 3), np.uint8), labels, classes=wanted)
    features = np.zeros((60, 4), np.float32)
    found = report.measure(
        Answering(known), pictures, "squash32-v1", distorted=0, outputs=(features, logits)
    ).figures
    assert [row["name"] for row in found["classes"]] == ["ape", "bee", "cow", "dog"]
    predicted = [["ape", "bee", "cow", "dog"].index(known[n]) for n in logits.argmax(axis=1)]
    assert unpacked(found["predicted"]).tolist() == predicted
    assert found["classes"][1]["recall"] == 0
    assert found["confusion"][1][1] == 0 and sum(found["confusion"][1]) == 20
