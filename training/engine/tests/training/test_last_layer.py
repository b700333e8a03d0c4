import numpy as np
import pytest

from training.engine.inference.verdict import DecisionPolicy
from training.engine.last_layer import CALLED_NONE, Examples, fit_last_layer

CLASSES = 3


def examples(count, seed, foreign=0):
    """Two blocks of inputs: twenty faint ones, and four that tell the three classes and none apart."""
    rng = np.random.default_rng(seed)
    labels = np.concatenate([np.arange(count) % CLASSES, np.full(foreign, CLASSES)])
    telling = 3 * np.eye(CLASSES + 1)[labels] + rng.normal(size=(len(labels), CLASSES + 1))
    return Examples(np.hstack([rng.normal(size=(len(labels), 20)), telling]).astype(np.float32), labels)


@pytest.fixture(scope="module")
def fitted():
    photos = examples(120, 0, foreign=60)
    sites = [str(number // 3) for number in range(180)]
    return photos, fit_last_layer(photos, sites, examples(200, 1), CLASSES, block=20)


def test_it_tells_classes_and_none_apart_on_what_it_has_not_seen(fitted):
    _, layer = fitted
    new = examples(300, 2, foreign=100)
    log_odds = new.inputs @ layer.weights + layer.bias
    own = new.labels < CLASSES
    assert (log_odds.argmax(axis=1) == new.labels)[own].mean() > 0.9
    scores = DecisionPolicy().scores(log_odds, np.zeros(len(log_odds)))
    assert (scores[~own] < 0).mean() > 0.9
    assert (scores[own] < 0).mean() < 0.15


def test_a_score_of_zero_is_where_the_promised_share_of_held_out_photos_falls_below(fitted):
    photos, layer = fitted
    scores = np.logaddexp.reduce(layer.held_out[photos.labels < CLASSES], axis=1)
    assert (scores < 0).mean() == pytest.approx(CALLED_NONE, abs=0.01)


def test_no_photo_is_judged_by_a_fit_that_saw_its_site(fitted):
    """Labels that only their sites tell can be learned by heart, and no other way."""
    rng = np.random.default_rng(3)
    sites = np.repeat(np.arange(40), 4)
    mark = rng.normal(size=(40, 24))[sites].astype(np.float32)
    labels = rng.integers(0, CLASSES + 1, 40)[sites]
    layer = fit_last_layer(
        Examples(mark, labels), [str(site) for site in sites], examples(60, 4), CLASSES, block=20
    )
    said = np.pad(layer.held_out, ((0, 0), (0, 1))).argmax(axis=1)
    assert (said == labels).mean() < 0.5
