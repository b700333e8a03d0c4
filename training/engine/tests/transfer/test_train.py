"""A model of drawn shapes from images to a package."""

import json

import numpy as np
import pytest

from training.engine.data.cifar10 import DatasetError
from training.engine.data.class_numbers import unpacked
from training.engine.data.labelled_images import LabelledImages
from training.engine.data.preprocessing import make_inputs
from training.engine.evaluation.report import measure
from training.engine.inference.calibration import SETS_FROM
from training.engine.inference.model_file_check import check_model_file
from training.engine.inference.predictor import Predictor
from training.engine.inference.verdict import DecisionPolicy
from training.engine.packaging.smoke_test import try_models
from training.engine.recipes import RECIPES
from training.engine.tests.data.synthetic import small_training_data
from training.engine.tests.transfer.made_up import CLASSES, drawn, made_up
from training.engine.transfer import train
from training.engine.transfer.judge import fit_judge

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


def few(*classes):
    """Images of two classes; t, v and e are one each for training, validation and test."""
    names = {"t": "training", "v": "validation", "e": "test"}
    splits = [names[letter] for letters in classes for letter in letters]
    labels = np.repeat([0, 1], [len(letters) for letters in classes])
    ids = [f"image-{number}-{split}" for number, split in enumerate(splits)]
    return LabelledImages(
        ("disc", "cross"), ids, labels, np.array(splits), lambda row: drawn(int(labels[row]), row)
    )


@pytest.mark.parametrize(
    ("classes", "judged"),
    [
        (("tttve", "tttve"), {"n": 8, "cross_validated": 6, "validation": 2}),
        pytest.param(
            ("tttve", "teeee"), {"n": 5, "cross_validated": 4, "validation": 1}, marks=pytest.mark.slow
        ),
        pytest.param(
            ("tvvvv", "teeee"), {"n": 6, "cross_validated": 2, "validation": 4}, marks=pytest.mark.slow
        ),
        (("ttttt", "ttttt"), {"n": 10, "cross_validated": 10, "validation": 0}),
    ],
    ids=["five each", "one to train on", "one each", "none held out"],
)
def test_two_classes_of_five_images_give_a_model_and_figures_with_their_n(classes, judged, tmp_path):
    images = few(*classes)
    package = train(images, RECIPE.clean(), features_dir=tmp_path)
    card = package.card
    assert (card["measured_by"], card["test"]["n"], package.test["n"]) == ("cross-validation", 10, 10)
    assert card["judged_on"] == judged
    assert card["verdicts"]["test"]["n"] == 10
    trained = int(images.counts("training").sum())
    assert (card["learning_curve"]["n"], card["held_out"]["n"]) == (trained, 10 - trained)
    json.dumps(card, allow_nan=False)
    file = tmp_path / "model.keras"
    file.write_bytes(package.content)
    predictor = Predictor(file, DecisionPolicy.from_card(card["judge"]), card["classes"])
    main = images.image_set("all", images.rows())
    found = measure(predictor, main, card["preprocessing"], distorted=0, timed=False).figures
    json.dumps(found, allow_nan=False)
    rows = found["panels"]["curves"]
    assert [row["n"] for row in rows] == [5, 5]
    for row, f1 in zip(rows, found["panels"]["intervals"]["f1"], strict=True):
        # Five right answers are no proof that all will be.
        for low, high in (row["auroc_interval"], row["ap_interval"], f1):
            assert high - low > 0.3


def test_sets_say_something_from_so_many_images_on():
    for n, says in ((SETS_FROM - 1, False), (SETS_FROM, True)):
        labels = np.arange(n) % 2
        judge = fit_judge(4.0 * np.eye(2)[labels], labels, np.zeros(n))
        assert (judge.set_threshold > 0) is says
