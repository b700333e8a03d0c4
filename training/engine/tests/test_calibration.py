import numpy as np
import pytest

from training.engine import calibration
from training.engine.verdict import Judge


def drawn(n, temperature, seed=0, strength=2.0):
    """Logits whose softmax at ``temperature`` is exactly the chance of each label."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, strength, (n, 10))
    chances = calibration.softmax(logits, temperature)
    labels = (chances.cumsum(axis=1) > rng.random((n, 1))).argmax(axis=1)
    return logits, labels


@pytest.mark.parametrize("temperature", [0.3, 1.0, 2.5])
def test_it_finds_the_temperature_that_made_the_labels(temperature):
    logits, labels = drawn(40_000, temperature)
    assert calibration.fit_temperature(logits, labels) == pytest.approx(temperature, rel=0.03)


def test_calibrated_probabilities_have_a_small_error_and_others_a_large_one():
    logits, labels = drawn(40_000, 2.0)
    assert calibration.expected_calibration_error(calibration.softmax(logits, 2.0), labels) < 0.01
    assert calibration.expected_calibration_error(calibration.softmax(logits), labels) > 0.1


def test_the_calibration_error_is_what_its_definition_gives_by_hand():
    probabilities = np.array([[0.8, 0.2], [0.8, 0.2], [0.3, 0.7], [0.55, 0.45]])
    labels = np.array([0, 1, 1, 1])
    # Three bins: 0.8 twice (half right), 0.7 once (right), 0.55 once (wrong).
    expected = 0.5 * abs(0.8 - 0.5) + 0.25 * abs(0.7 - 1.0) + 0.25 * abs(0.55 - 0.0)
    assert calibration.expected_calibration_error(probabilities, labels) == pytest.approx(expected)


@pytest.mark.parametrize("coverage", [0.8, 0.95])
def test_label_sets_hold_the_right_one_as_often_as_promised(coverage):
    logits, labels = drawn(8_000, 1.0, strength=0.7)
    probabilities = calibration.softmax(logits)
    threshold = calibration.conformal_threshold(probabilities[:4_000], labels[:4_000], coverage)
    sets = calibration.label_sets(probabilities[4_000:], threshold)
    covered = sets[np.arange(4_000), labels[4_000:]].mean()
    assert coverage - 0.02 < covered < coverage + 0.02


def test_a_label_set_is_never_empty():
    sets = calibration.label_sets(np.full((3, 10), 0.1), threshold=0.5)
    assert (sets.sum(axis=1) == 1).all()


def test_wilson_interval_is_the_textbooks():
    low, high = calibration.wilson_interval(81, 263)
    assert (round(low, 3), round(high, 3)) == (0.255, 0.366)
    assert calibration.wilson_interval(0, 0) == (0.0, 1.0)


def test_softmax_survives_large_logits():
    assert calibration.softmax(np.array([[1e4, 0.0], [-1e4, 0.0]])).tolist() == [[1, 0], [0, 1]]


def test_the_judges_threshold_lets_the_stated_share_of_right_images_go():
    logits, labels = drawn(20_000, 1.0)
    features = np.zeros((len(logits), 4))
    judge = Judge.fit(features, logits, labels)
    probabilities = calibration.softmax(logits, judge.temperature)
    verdicts, sets = judge.verdicts(probabilities, judge.scores(features, logits))
    assert verdicts.count("none_of_the_ten") / len(verdicts) == pytest.approx(0.05, abs=0.002)
    recognised = np.array(verdicts) == "recognised"
    assert (sets[recognised].sum(axis=1) == 1).all()
    assert Judge.from_card(judge.settings()) == judge
