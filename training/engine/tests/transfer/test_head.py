"""The classifier on features, its calibration from little data, and the learning curve."""

import tracemalloc

import numpy as np
import pytest

from training.engine.inference.calibration import softmax
from training.engine.transfer import head as heads
from training.engine.transfer.head import Examples
from training.engine.transfer.judge import careful_temperature, fit_judge
from training.engine.transfer.learning_curve import learning_curve


def examples(classes, per_class, spread=1.0, views=1, seed=0):
    """Clouds around a point a class, in 40 directions."""
    centres = np.random.default_rng(9).normal(0, 1, (classes, 40))
    labels = np.tile(np.arange(classes), per_class)
    rng = np.random.default_rng(seed)
    clouds = centres[labels] + spread * rng.normal(0, 1, (views, len(labels), 40))
    return Examples(clouds.astype(np.float32) ** 2, labels, classes)


@pytest.mark.parametrize("classes", [2, 3, 37])
def test_a_head_learns_any_number_of_classes(classes):
    head = heads.fit(examples(classes, 12, 0.3), 100.0)
    unseen = examples(classes, 5, 0.3, seed=1)
    logits = head.logits(unseen.plain())
    assert logits.shape == (5 * classes, classes)
    assert (logits.argmax(axis=1) == unseen.labels).mean() > 0.9


def test_views_are_examples_of_the_same_labels():
    both = examples(3, 10, 0.4, views=2)
    head = heads.fit(both, 30.0)
    for view in both.roots():
        assert (head.logits(view).argmax(axis=1) == both.labels).mean() > 0.95


def test_a_rare_class_is_as_heavy_as_a_common_one():
    all_of = examples(2, 200, 1.0)
    kept = np.concatenate([np.flatnonzero(all_of.labels == 0), np.flatnonzero(all_of.labels == 1)[:10]])
    head = heads.fit(all_of.part(kept), 0.3)
    unseen = examples(2, 300, 1.0, seed=2)
    said = head.logits(unseen.plain()).argmax(axis=1)
    recalls = [(said[unseen.labels == number] == number).mean() for number in (0, 1)]
    assert min(recalls) > 0.6


def test_a_class_without_an_image_never_wins():
    most = examples(3, 10, 0.3)
    head = heads.fit(most.part(np.flatnonzero(most.labels != 1)), 30.0)
    said = head.logits(most.plain()).argmax(axis=1)
    assert 1 not in said and (said[most.labels == 2] == 2).all()


def test_where_one_class_alone_has_images_it_always_wins():
    all_of = examples(2, 10)
    head = heads.fit(all_of.part(np.flatnonzero(all_of.labels == 1)), 30.0)
    logits = head.logits(all_of.plain())
    assert np.isfinite(logits).all() and (logits.argmax(axis=1) == 1).all()


def test_the_only_image_of_a_class_is_judged_by_a_head_that_knows_none_of_it():
    few = examples(2, 4, 0.1).part(np.array([0, 2, 4, 1]))
    assert few.labels.tolist() == [0, 0, 0, 1]
    assert heads.cross_validated(few, 10.0, 0).argmax(axis=1)[3] == 0
    heads.choose_strength(few, 0)


def test_a_learning_curve_of_few_images_says_how_many_and_proves_nothing():
    few = examples(2, 3, 0.01)
    curve = learning_curve(few, few.part(np.arange(0)), ("a", "b"), 10.0, 0)
    assert (curve["n"], [step["accuracy"] for step in curve["steps"]]) == (6, [1.0] * 4)
    # One of each class at least, of those two or three that are in a fold.
    assert [step["images"] for step in curve["steps"]] == [2, 3, 4, 5]
    low, high = curve["gain"]["interval"]
    assert low < -0.2 and high > 0.2 and not curve["helps"]


def test_each_image_is_judged_by_a_head_that_has_not_seen_it():
    # Labels by chance: whoever has seen an image knows its label, nobody else can.
    rng = np.random.default_rng(4)
    random = Examples(rng.random((1, 120, 200), np.float32) ** 2, rng.integers(0, 3, 120), 3)
    assert (heads.fit(random, 1_000.0).logits(random.plain()).argmax(axis=1) == random.labels).mean() > 0.95
    crossed = heads.cross_validated(random, 1_000.0, 0)
    assert (crossed.argmax(axis=1) == random.labels).mean() < 0.5


def test_parts_share_the_features_and_give_their_own_roots():
    whole = examples(3, 10, views=2)
    part = whole.part(np.arange(5, 25)).part(np.array([3, 0, 7]))
    assert part.features is whole.features and len(part) == 3
    assert part.labels.tolist() == whole.labels[[8, 5, 12]].tolist()
    np.testing.assert_array_equal(part.roots(), whole.roots()[:, [8, 5, 12]])
    np.testing.assert_array_equal(part.plain(), whole.plain()[[8, 5, 12]])


@pytest.mark.parametrize("views", [1, 2])
def test_a_fit_holds_its_inputs_once(views):
    made = examples(2, 2_000, views=views)
    features = np.repeat(made.features, 8, axis=-1).astype(np.float16)
    wide = Examples(features, made.labels, 2)
    inputs = features.size * 4
    tracemalloc.start()
    try:
        heads.fit(wide, 3.0)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    # The rest are a thousand neighbours and one column in ten.
    assert inputs < peak < 2 * inputs


def test_folds_spread_each_class_and_all_images():
    labels = np.repeat([0, 1, 2], [31, 4, 1])
    fold = heads.folds(labels, 0)
    assert np.ptp(np.bincount(fold, minlength=heads.FOLDS)) <= 1
    assert np.ptp(np.bincount(fold[labels == 0], minlength=heads.FOLDS)) <= 1
    assert len(set(fold[labels == 1])) == 4
    assert (heads.folds(labels, 0) == fold).all() and (heads.folds(labels, 1) != fold).any()


def test_the_strength_is_that_of_least_loss():
    strength, tried = heads.choose_strength(examples(3, 15, 1.0), 0)
    assert strength == min(tried, key=lambda row: row[1])[0]
    assert [row[0] for row in tried] == list(heads.STRENGTHS)


def test_the_nearer_the_training_images_the_higher_the_energy():
    known = examples(3, 20, 0.2)
    head = heads.fit(known, 30.0)

    def energy(roots):
        logits = head.logits(roots)
        return np.log(np.exp(logits).sum(axis=1))

    strange = np.abs(np.random.default_rng(5).normal(0, 1, (30, 40))).astype(np.float32)
    unseen = examples(3, 10, 0.2, seed=3)
    assert np.median(energy(unseen.plain())) > np.quantile(energy(strange), 0.95)


def test_fifty_right_answers_are_no_proof_that_none_is_ever_wrong():
    labels = np.tile(np.arange(2), 25)
    logits = 4.0 * np.eye(2)[labels]
    confidence = softmax(logits, careful_temperature(logits, labels)).max(axis=1)
    assert confidence.min() > 0.9 and confidence.max() < 0.995


def test_a_judge_of_little_data_keeps_its_promises_on_average():
    rng = np.random.default_rng(0)
    alarms, covered = [], []
    for _ in range(40):
        labels = np.tile(np.arange(4), 30)
        logits = rng.normal(0, 1, (120, 4)) + 2 * np.eye(4)[labels]
        judge = fit_judge(logits[:60], labels[:60], np.zeros(60))
        chances = judge.calibration.probabilities(logits[60:])
        verdicts, sets = judge.verdicts(chances, judge.scores(logits[60:], np.zeros(60)))
        alarms.append(np.mean([said == "unknown" for said in verdicts]))
        covered.append(sets[np.arange(60), labels[60:]].mean())
    assert 0.02 < np.mean(alarms) < 0.09
    assert 0.92 < np.mean(covered) < 0.98


@pytest.mark.parametrize("crossed", [True, False])
def test_a_learning_curve_says_whether_more_images_help(monkeypatch, crossed):
    if not crossed:
        monkeypatch.setattr("training.engine.transfer.learning_curve.CROSS_VALIDATED_UP_TO", 10)
    hard, unseen = examples(6, 24, 1.6), examples(6, 60, 1.6, seed=7)
    names = tuple("abcdef")
    found = learning_curve(hard, unseen, names, 30.0, 0)
    assert found["judged_on"] == ("cross-validation" if crossed else "validation")
    assert found["n"] == (144 if crossed else 360)
    images = [step["images"] for step in found["steps"]]
    # As many of each class as its share, rounded.
    assert images == ([30, 60, 85, 115] if crossed else [36, 72, 108, 144])
    assert found["steps"][-1]["accuracy"] > found["steps"][0]["accuracy"]
    gain = found["gain"]
    assert gain["interval"][0] < gain["difference"] < gain["interval"][1]
    assert found["helps"] == (gain["interval"][0] > 0)
    assert 0 < len(found["classes"]) <= 3 and {row["name"] for row in found["classes"]} <= set(names)
    easy = learning_curve(examples(3, 30, 0.05), unseen, names[:3], 30.0, 0) if crossed else None
    if easy:
        assert not easy["helps"] and easy["classes"] == []
