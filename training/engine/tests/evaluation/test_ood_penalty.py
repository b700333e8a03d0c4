"""What looks like no photo at all is odd; what looks like one is not."""

import numpy as np
import pytest
from sklearn import metrics

from training.engine.data.cifar10 import load_cifar10
from training.engine.data.preprocessing import make_inputs
from training.engine.evaluation import synthetic_ood
from training.engine.evaluation.reliability import apart, auroc
from training.engine.inference.verdict import ood_penalty

INPUTS = ["squash32-v1", "squash128-v1"]


@pytest.mark.parametrize("kind", synthetic_ood.KINDS)
def test_the_same_seed_makes_the_same_images(kind):
    first, again, other = (synthetic_ood.make(kind, 3, seed) for seed in (5, 5, 6))
    assert all((a == b).all() for a, b in zip(first, again, strict=True))
    assert not all(a.shape == b.shape and (a == b).all() for a, b in zip(first, other, strict=True))


@pytest.mark.parametrize("version", INPUTS)
def test_a_plain_colour_and_noise_are_odd(version):
    rng = np.random.default_rng(0)
    plain = np.full((2, 128, 128, 3), 90, np.uint8)
    noise = rng.integers(0, 256, (2, 128, 128, 3), dtype=np.uint8)
    assert (ood_penalty(make_inputs(list(plain), version)) > 2).all()
    assert (ood_penalty(make_inputs(list(noise), version)) > 2).all()


@pytest.mark.parametrize("side", [32, 33, 96, 128])
def test_it_takes_inputs_of_any_side(side):
    assert ood_penalty(np.zeros((2, side, side + 4, 3), np.uint8)).tolist() == [2.5, 2.5]


@pytest.mark.needs_cifar10
@pytest.mark.parametrize("version", INPUTS)
def test_hardly_any_real_image_is_odd(cifar10_dir, version):
    images = load_cifar10(cifar10_dir).x_train[:500]
    assert (ood_penalty(make_inputs(images, version)) > 0.5).mean() < 0.02


def test_the_area_is_that_of_scikit_learn():
    rng = np.random.default_rng(1)
    own, foreign = rng.normal(1, 1, 300).round(1), rng.normal(0, 1, 200).round(1)
    truth = np.concatenate([np.ones(300), np.zeros(200)])
    expected = metrics.roc_auc_score(truth, np.concatenate([own, foreign]))
    assert auroc(own, foreign) == pytest.approx(expected)
    assert apart(own, own - 100)["false_positive_rate_at_95_recall"] == 0
