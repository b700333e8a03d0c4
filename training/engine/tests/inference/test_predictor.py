import hashlib

import keras
import numpy as np
import pytest

from training.engine.data.cifar10 import Cifar10
from training.engine.inference.predictor import Predictor
from training.engine.inference.verdict import DecisionPolicy
from training.engine.packaging.package import package, rounded
from training.engine.tests.data.synthetic import images, small_training_data
from training.engine.tests.training.tiny_recipe import RECIPE
from training.engine.training.fit import fit


@pytest.fixture(scope="module")
def packed():
    data = small_training_data()
    labels = np.tile(np.arange(10, dtype=np.uint8), 30)
    cifar = Cifar10(data.x_train, data.y_train, images(labels, 5), labels, "made", "0" * 64)
    fitted = fit(RECIPE, data, {"epochs": 10})
    return package(fitted, RECIPE, RECIPE.clean({"epochs": 10}), cifar, data), cifar


@pytest.fixture(scope="module")
def predictor(packed, tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "model.keras"
    path.write_bytes(packed[0].content)
    return Predictor(path, DecisionPolicy.from_card(packed[0].card["judge"]))


def test_single_and_batch_give_the_same_answer(predictor, packed):
    x = packed[1].x_test
    together = predictor.predict(x)  # 300: four full batches of 64 and a smaller one
    for number in (0, 7, 299):
        alone = predictor.predict(x[number : number + 1])
        np.testing.assert_allclose(alone.probabilities[0], together.probabilities[number], atol=1e-5, rtol=0)
        assert alone.verdicts[0] == together.verdicts[number]


def test_probabilities_add_up_to_one(predictor, packed):
    np.testing.assert_allclose(predictor.predict(packed[1].x_test).probabilities.sum(axis=1), 1)


@pytest.mark.parametrize(
    "wrong",
    [np.zeros((1, 32, 32, 3), np.float32), np.zeros((32, 32, 3), np.uint8), np.zeros((1, 8, 8, 3), np.uint8)],
)
def test_another_shape_or_dtype_is_a_sentence(predictor, wrong):
    with pytest.raises(ValueError, match=r"Expected uint8 \(N, 32, 32, 3\)"):
        predictor.predict(wrong)


def test_the_card_says_what_is_needed_to_trust_and_repeat(packed):
    made, cifar = packed
    card = made.card
    assert card["recipe_sha256"] == RECIPE.source_sha256()
    assert card["data"]["sha256"] == cifar.sha256
    assert card["data"]["training_images"] == 400
    assert card["weights"] == sum(layer["parameters"] for layer in card["layers"])
    # By hand: 6x6 positions of 3x3x3x8, then 288x32 and 32x10, twice for multiply and add.
    assert card["flops"]["forward"] == 2 * (36 * 27 * 8 + 288 * 32 + 32 * 10)
    assert card["flops"]["training"] == card["flops"]["forward"] * 3 * 400 * 10
    assert card["test"]["n"] == 300
    assert made.test["accuracy"] > 0.4  # chance is 0.1
    assert made.sha256 == hashlib.sha256(made.content).hexdigest()
    assert len(card["history"]["loss"]) == 10


def test_the_file_loads_in_plain_keras_with_the_figures_it_was_measured_with(packed, tmp_path):
    made, cifar = packed
    path = tmp_path / "model.keras"
    path.write_bytes(made.content)
    model = keras.models.load_model(path, safe_mode=True)
    predicted = model.predict(cifar.x_test, verbose=0).argmax(axis=1)
    assert "".join(map(str, predicted)) == made.test["predicted"]


def test_rounding_keeps_what_float16_cannot_hold():
    weight = np.array([1 / 3, 1e6, -1e-3], np.float32)
    kept = rounded(weight)
    assert kept[1] == 1e6
    np.testing.assert_allclose(kept, weight, rtol=1e-3)
    assert kept.dtype == np.float32


def test_large_arrays_are_kept_with_eight_significant_bits():
    weight = np.random.default_rng(0).normal(size=(50, 50)).astype(np.float32)
    kept = rounded(weight)
    np.testing.assert_allclose(kept, weight, rtol=1.15 * 2**-8, atol=1e-7)  # rounded twice
    assert (rounded(kept) == kept).all()
    assert kept.dtype == np.float32
    assert not (kept.view(np.uint32) & 0xFFFF).any()  # the lower half of each is zero: it packs well
