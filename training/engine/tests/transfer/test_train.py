"""A model of drawn shapes from images to a package."""

import numpy as np
import pytest

from training.engine.data.cifar10 import DatasetError
from training.engine.data.class_numbers import unpacked
from training.engine.data.labelled_images import LabelledImages
from training.engine.data.preprocessing import make_inputs
from training.engine.inference.model_file_check import check_model_file
from training.engine.inference.predictor import Predictor
from training.engine.inference.verdict import DecisionPolicy
from training.engine.packaging.smoke_test import try_models
from training.engine.recipes import RECIPES
from training.engine.tests.data.synthetic import small_training_data
from training.engine.tests.transfer.made_up import CLASSES, made_up
from training.engine.transfer import train

RECIPE = RECIPES["transfer"]


def test_the_file_passes_the_check_and_the_smoke_test(made):
    _, _, file, _ = made
    check_model_file(file)
    assert len(try_models([file])) == 1


def test_the_file_answers_what_the_card_says(made):
    images, package, file, _ = made
    card = package.card
    predictor = Predictor(file, DecisionPolicy.from_card(card["judge"]), card["classes"])
    rows = images.rows("validation", "test")
    answers = predictor.predict(make_inputs([images.read(row) for row in rows], card["preprocessing"]))
    assert answers.classes == CLASSES
    said = answers.probabilities.argmax(axis=1)
    assert said.tolist() == unpacked(card["held_out"]["predicted"]).tolist()
    assert images.labels[rows].tolist() == unpacked(card["held_out"]["truth"]).tolist()
    assert (said == images.labels[rows]).mean() > 0.8
    assert set(answers.provenance(0)["labels"]) <= set(CLASSES)


def test_float_pixels_between_0_and_255_give_the_same_answers(made):
    import keras

    images, _, file, _ = made
    model = keras.models.load_model(file, compile=False)
    pixels = make_inputs([images.read(0), images.read(1)], "centre224-v1")
    np.testing.assert_allclose(
        model(pixels, training=False), model(pixels.astype(np.float32), training=False), atol=1e-4
    )
    assert [layer.name for layer in model.layers if layer.name in ("features", "logits")] == [
        "features",
        "logits",
    ]


def test_with_few_test_images_figures_are_cross_validated_over_all(made):
    images, package, _, _ = made
    by, rows = images.measured()
    assert by == package.card["measured_by"] == "cross-validation"
    assert len(rows) == package.test["n"] == len(package.outputs[0]) == 36
    assert unpacked(package.test["truth"]).tolist() == images.labels.tolist()
    assert package.outputs[1].shape == (36, 3)
    many = made_up(per_class=180)
    by, rows = many.measured()
    assert by == "test" and (many.splits[rows] == "test").all()


def test_the_card_says_what_each_threshold_stands_on(made):
    _, package, _, _ = made
    card = package.card
    assert card["classes"] == list(CLASSES)
    assert card["judged_on"] == {"n": 30, "cross_validated": 24, "validation": 6}
    assert card["data"]["classes"] == {"training": [8] * 3, "validation": [2] * 3, "test": [2] * 3}
    assert card["verdicts"]["test"]["n"] == 36
    assert card["held_out"]["n"] == card["data"]["validation_images"] + card["data"]["test_images"] == 12
    assert [step["share"] for step in card["learning_curve"]["steps"]] == [0.25, 0.5, 0.75, 1.0]
    noticed = {kind: row["noticed"] / row["n"] for kind, row in card["verdicts"]["made_up"].items()}
    assert noticed["noise"] > 0.8 and noticed["plain"] > 0.8


def test_progress_is_told_phase_by_phase(made):
    _, _, _, told = made
    phases = list(dict.fromkeys(news["phase"] for news in told))
    assert phases == ["features", "head", "judge", "learning_curve"]
    assert all(0 <= news["done"] <= news["total"] for news in told)


def test_the_same_images_and_seed_give_the_same_file(made, tmp_path):
    images, package, _, _ = made
    again = train(images, RECIPE.clean(), features_dir=tmp_path, should_stop=lambda: True)
    np.testing.assert_allclose(again.outputs[1], package.outputs[1], atol=1e-4)
    assert "learning_curve" not in again.card


def test_a_class_without_a_training_image_is_named(tmp_path):
    images = made_up()
    splits = np.where(images.labels == 1, "test", images.splits)
    lacking = LabelledImages(images.classes, images.ids, images.labels, splits, images.read)
    with pytest.raises(DatasetError, match="No image to train on in cross: add images"):
        train(lacking, RECIPE.clean(), features_dir=tmp_path)


def test_the_recipe_is_for_own_classes_alone():
    assert RECIPE.own_classes and not any(r.own_classes for n, r in RECIPES.items() if n != "transfer")
    with pytest.raises(ValueError, match=r"transfer\.train"):
        RECIPE.build(small_training_data(), {}, 1)
