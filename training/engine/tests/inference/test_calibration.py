import numpy as np
import pytest

from training.engine.inference import calibration
from training.engine.inference.calibration import Calibration
from training.engine.inference.verdict import DecisionPolicy


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
    covered = []
    for seed in range(40):
        logits, labels = drawn(6_000, 1.0, seed=seed, strength=0.7)
        probabilities = calibration.softmax(logits)
        threshold = calibration.conformal_threshold(probabilities[:2_000], labels[:2_000], coverage)
        sets = calibration.label_sets(probabilities[2_000:], threshold)
        covered.append(sets[np.arange(4_000), labels[2_000:]].mean())
    # Promised of 95 in 100 drawings; the 4,000 images leave something to chance, too.
    assert (np.array(covered) >= coverage - 0.005).mean() >= 0.9
    assert np.mean(covered) < coverage + 0.04


def test_a_label_set_is_never_empty():
    sets = calibration.label_sets(np.full((3, 10), 0.1), threshold=0.5)
    assert (sets.sum(axis=1) == 1).all()


def test_wilson_interval_is_the_textbooks():
    low, high = calibration.wilson_interval(81, 263)
    assert (round(low, 3), round(high, 3)) == (0.255, 0.366)
    assert calibration.wilson_interval(0, 0) == (0.0, 1.0)


def test_softmax_survives_large_logits():
    assert calibration.softmax(np.array([[1e4, 0.0], [-1e4, 0.0]])).tolist() == [[1, 0], [0, 1]]


def bent(n, seed=0):
    """Answers whose confidence is wrong in a way that no temperature can mend."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 3, (n, 10))
    plain = calibration.softmax(logits)
    truth = Calibration(1.0, -0.8, 1.4, -1.7).probabilities(logits)
    labels = (truth.cumsum(axis=1) > rng.random((n, 1))).argmax(axis=1)
    assert calibration.expected_calibration_error(plain, labels) > 0.02
    return logits, labels


def test_a_bend_mends_what_the_temperature_cannot():
    logits, labels = bent(40_000)
    fresh, truth = bent(40_000, seed=1)
    with_temperature = Calibration(calibration.fit_temperature(logits, labels)).probabilities(fresh)
    fitted = Calibration.fit(logits, labels).probabilities(fresh)
    assert calibration.expected_calibration_error(fitted, truth) < 0.01
    assert calibration.expected_calibration_error(with_temperature, truth) > 0.015


def test_bent_probabilities_add_up_to_one_and_keep_the_order():
    logits, _ = bent(5_000)
    plain = calibration.softmax(logits)
    made = Calibration(0.8, -2.0, 1.5, -2.0).probabilities(logits)
    np.testing.assert_allclose(made.sum(axis=1), 1)
    assert (made.argmax(axis=1) == plain.argmax(axis=1)).all()
    assert made.min() >= 0


def test_a_bend_never_calls_a_surer_answer_less_sure():
    confidence = np.linspace(0.101, 0.9999, 2_000)
    rest = np.log((1 - confidence) / 9)
    logits = np.concatenate([np.log(confidence)[:, None], np.tile(rest[:, None], 9)], axis=1)
    made = Calibration(1.0, -1.2, 1.4, -1.5).probabilities(logits).max(axis=1)
    assert (np.diff(made) > -1e-12).all()


def test_nothing_is_bent_where_all_answers_are_right():
    logits = 20 * np.eye(10)
    assert Calibration.fit(logits, np.arange(10)).c == 0


def test_an_image_does_not_judge_itself():
    logits, labels = bent(2_500)
    held_out = calibration.held_out_probabilities(logits, labels)
    own = Calibration.fit(logits, labels).probabilities(logits)
    assert calibration.log_loss(held_out, labels) > calibration.log_loss(own, labels)


def test_the_judges_threshold_lets_the_stated_share_of_right_images_go():
    logits, labels = drawn(20_000, 1.0)
    ood_penalty = np.zeros(len(logits))
    judge = DecisionPolicy.fit(logits, labels, ood_penalty)
    probabilities = judge.calibration.probabilities(logits)
    verdicts, sets = judge.verdicts(probabilities, judge.scores(logits, ood_penalty))
    assert verdicts.count("unknown") / len(verdicts) == pytest.approx(0.05, abs=0.002)
    recognised = np.array(verdicts) == "recognised"
    assert (sets[recognised].sum(axis=1) == 1).all()
    assert DecisionPolicy.from_card(judge.settings()) == judge


def test_a_card_of_before_answers_as_it_did():
    logits, _ = drawn(100, 1.0)
    judge = DecisionPolicy.from_card({"temperature": 0.7, "set_threshold": 0.2, "score_threshold": 3.0})
    np.testing.assert_array_equal(judge.calibration.probabilities(logits), calibration.softmax(logits, 0.7))
    np.testing.assert_allclose(
        judge.scores(logits, np.full(100, 9.0)), np.log(np.exp(logits).sum(axis=1)), rtol=1e-12
    )
