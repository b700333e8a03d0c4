"""Panels of a report, each against what it must be by hand or by scikit-learn."""

import numpy as np
import pytest
from sklearn import metrics

from training.engine.data.cifar10 import Cifar10, load_cifar10
from training.engine.data.image_set import ImageSet, content_sha256
from training.engine.data.statistics import data_facts, near_duplicates, shown_images
from training.engine.evaluation import bootstrap, corruptions, report, slices
from training.engine.evaluation.bootstrap import redrawn
from training.engine.inference import calibration
from training.engine.tests.data.synthetic import images


@pytest.fixture(scope="module")
def answered():
    """Probabilities that are right more often the surer they are, and labels."""
    rng = np.random.default_rng(3)
    labels = np.tile(np.arange(10), 200)
    logits = rng.normal(0, 1, (2_000, 10)) + 2.5 * np.eye(10)[labels]
    return calibration.softmax(logits), labels


def test_areas_under_the_curves_are_those_of_scikit_learn(answered):
    probabilities, labels = answered
    for number, row in enumerate(report.curves(probabilities, labels, redrawn(len(labels)))):
        truth, score = labels == number, probabilities[:, number]
        assert row["auroc"] == pytest.approx(metrics.roc_auc_score(truth, score), abs=1e-5)
        assert row["ap"] == pytest.approx(metrics.average_precision_score(truth, score), abs=1e-5)


def test_a_thinned_curve_keeps_its_ends_and_nearly_its_area(answered):
    probabilities, labels = answered
    row = report.curves(probabilities, labels, redrawn(len(labels)))[3]
    assert len(row["roc"]) <= report.CURVE_POINTS + 2
    assert row["roc"][0] == [0, 0] and row["roc"][-1] == [1, 1]
    x, y = np.array(row["roc"]).T
    assert np.trapezoid(y, x) == pytest.approx(row["auroc"], abs=0.01)


def test_a_class_that_the_set_lacks_has_no_curve():
    probabilities, labels = np.full((20, 10), 0.1), np.repeat([0, 1], 10)
    rows = report.curves(probabilities, labels, redrawn(len(labels)))
    assert rows[2]["auroc"] is None and "roc" not in rows[2]
    assert rows[0]["auroc"] == 0.5


def test_a_higher_threshold_answers_less_and_is_right_more(answered):
    rows = report.selective_accuracy(*answered)
    coverage = [row["coverage"] for row in rows]
    assert coverage[0] == 1 and coverage == sorted(coverage, reverse=True)
    assert rows[15]["share"] > rows[0]["share"]
    none = report.selective_accuracy(np.full((5, 10), 0.1), np.zeros(5, int))
    assert none[-1]["n"] == 0 and none[-1]["share"] is None


def test_the_histogram_counts_every_answer_once(answered):
    probabilities, labels = answered
    rows = report.histogram(probabilities, labels)
    right = int((probabilities.argmax(axis=1) == labels).sum())
    assert sum(row["right"] for row in rows) == right
    assert sum(row["wrong"] for row in rows) == 2_000 - right


def test_mistakes_are_wrong_and_the_most_confident_comes_first(answered):
    probabilities, labels = answered
    rows = report.ranked_rows(probabilities, labels, "mistakes")
    assert (probabilities[rows].argmax(axis=1) != labels[rows]).all()
    confidence = probabilities[rows].max(axis=1)
    assert (np.diff(confidence) <= 0).all()
    unsure = report.ranked_rows(probabilities, labels, "unsure")
    assert probabilities[unsure[0]].max() == probabilities.max(axis=1).min()


def test_slices_split_the_set_and_keep_every_image(answered):
    probabilities, labels = answered
    pictures = ImageSet("made up", "0" * 64, images(labels.astype(np.uint8)), labels)
    groups = slices.slices(pictures, probabilities, labels)
    assert [group["name"] for group in groups] == [
        "brightness",
        "contrast",
        "sharpness",
        "colour",
        "confidence",
    ]
    for group in groups:
        assert sum(row["n"] for row in group["rows"]) == 2_000


def test_looks_tell_dark_from_bright_flat_from_sharp_and_grey_from_colour():
    dark, bright = np.zeros((32, 32, 3), np.uint8), np.full((32, 32, 3), 250, np.uint8)
    chess = np.indices((32, 32)).sum(axis=0) % 2 * 255
    sharp = np.repeat(chess[:, :, None], 3, axis=2).astype(np.uint8)
    red = np.zeros((32, 32, 3), np.uint8)
    red[..., 0] = 255
    found = slices.looks(ImageSet("", "", np.stack([dark, bright, sharp, red]), np.zeros(4)))
    assert found["brightness"][0] == 0 and found["brightness"][1] == pytest.approx(250)
    assert found["sharpness"].argmax() == 2 and found["contrast"].argmax() == 2
    assert found["colour"].tolist() == [0, 0, 0, 255]


def test_the_map_finds_the_two_directions_that_matter():
    rng = np.random.default_rng(0)
    flat = rng.normal(0, [9, 3], (500, 2))
    features = np.zeros((500, 20), np.float32)
    features[:, [4, 11]] = flat
    points, explained = report.project(features)
    assert explained == pytest.approx(1, abs=1e-4)
    assert np.abs(points).max() <= 1
    for axis in (0, 1):
        assert abs(np.corrcoef(points[:, axis], flat[:, axis])[0, 1]) > 0.99


def test_a_map_of_few_images_is_that_of_many():
    features = np.random.default_rng(0).normal(0, np.linspace(1, 9, 20), (15, 20)).astype(np.float32)
    few, explained = report.project(features)
    # Each image twice: the same directions, by the other way.
    many, of_many = report.project(np.tile(features, (2, 1)))
    np.testing.assert_allclose(few, many[:15], atol=1e-3)
    assert explained == pytest.approx(of_many, abs=1e-3)


def test_a_map_of_features_without_variance_does_not_fail():
    points, explained = report.project(np.ones((5, 3), np.float32))
    assert explained == 0 and np.isfinite(points).all()


def test_rows_for_robustness_keep_the_classes_in_their_shares():
    labels = np.tile(np.arange(10), 100)
    rows = corruptions.spread_rows(labels, 200)
    assert len(set(rows.tolist())) == 200
    assert np.bincount(labels[rows]).tolist() == [20] * 10
    assert corruptions.spread_rows(labels[:50], 200).tolist() == list(range(50))


@pytest.mark.parametrize("name", corruptions.CORRUPTIONS)
def test_each_distortion_grows_with_its_strength(name):
    image = images(np.zeros(1, np.uint8))[0]
    distort, strengths = corruptions.CORRUPTIONS[name]
    assert len(strengths) == 5
    away = [np.abs(distort(image, s, np.random.default_rng(0)).astype(int) - image).mean() for s in strengths]
    assert away[0] > 0
    assert away == sorted(away)


def test_sets_of_images_of_many_sizes_become_inputs_of_one():
    photos = [np.full((h, 40, 3), 7, np.uint8) for h in (10, 64, 300)]
    found = ImageSet("", "", photos, np.array([0, 1, 2]))
    assert found.inputs([0, 2], "squash32-v1").shape == (2, 32, 32, 3)
    assert found.sizes().tolist() == [[10, 40], [64, 40], [300, 40]]


def test_the_hash_of_a_set_sees_pixels_labels_and_order():
    photos = [np.zeros((4, 4, 3), np.uint8), np.ones((4, 4, 3), np.uint8)]
    first = content_sha256(photos, np.array([0, 1]))
    assert first == content_sha256([p.copy() for p in photos], np.array([0, 1]))
    assert first != content_sha256(photos, np.array([1, 0]))
    assert first != content_sha256(photos[::-1], np.array([0, 1]))


def test_near_duplicates_are_found_in_spite_of_small_changes():
    labels = np.tile(np.arange(10, dtype=np.uint8), 30)
    x_train, x_test = images(labels, 1), images(labels, 2)
    x_test[12] = np.clip(x_train[40].astype(int) + 6, 0, 255)
    pairs = near_duplicates(x_train, x_test)
    assert (12, 40) in [(test, train) for test, train, _ in pairs]
    assert pairs[0][:2] == (12, 40)


def test_facts_show_samples_of_every_class():
    labels = np.tile(np.arange(10, dtype=np.uint8), 30)
    cifar = Cifar10(images(labels, 1), labels, images(labels, 2), labels, "made up", "0" * 64)
    facts = data_facts(cifar)
    shown = shown_images(cifar, facts)
    assert facts["training"] == [30] * 10
    assert len(shown) == 100 + len(facts["duplicates"]["shown"])
    assert facts["mean"] == cifar.x_train.mean(axis=(0, 1, 2)).round(2).tolist()
    assert facts["deviation"] == cifar.x_train.std(axis=(0, 1, 2)).round(2).tolist()


@pytest.mark.needs_cifar10
def test_real_cifar10_has_some_three_percent_of_near_duplicates(cifar10_dir):
    cifar = load_cifar10(cifar10_dir)
    found = {test for test, _, _ in near_duplicates(cifar.x_train, cifar.x_test)}
    assert 200 < len(found) < 450


def test_what_is_computed_some_at_a_time_is_the_same_as_at_once(monkeypatch):
    rng = np.random.default_rng(0)
    features = rng.normal(size=(500, 20)).astype(np.float32) * np.arange(1, 21)
    weights, scores = bootstrap.redrawn(500), rng.random(500)
    truth = scores + rng.normal(size=500) > 0.5
    at_once = report.project(features), bootstrap.areas(weights, scores, truth)
    monkeypatch.setattr(report, "CENTRED_AT_ONCE", 64)
    monkeypatch.setattr(bootstrap, "AT_ONCE", 7)
    points, explained = report.project(features)
    np.testing.assert_allclose(points, at_once[0][0], atol=1e-5)
    assert explained == at_once[0][1]
    for now, before in zip(bootstrap.areas(weights, scores, truth), at_once[1], strict=True):
        np.testing.assert_array_equal(now, before)
