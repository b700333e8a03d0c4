import subprocess
import sys

import pytest

from training.engine.recipes import RECIPES, photo_net
from training.engine.tests.data.synthetic import small_training_data
from training.engine.training.batches import look
from training.engine.training.fit import fit
from training.engine.training.flops import forward_flops
from training.engine.training.recipe import ParameterError

# The report's `model.summary()`: kind, output shape, parameters.
SEED_CNN = [
    ("Conv2D", (32, 32, 32), 896),
    ("Dropout", (32, 32, 32), 0),
    ("Conv2D", (32, 32, 32), 9_248),
    ("MaxPooling2D", (16, 16, 32), 0),
    ("Conv2D", (16, 16, 64), 18_496),
    ("Dropout", (16, 16, 64), 0),
    ("Conv2D", (16, 16, 64), 36_928),
    ("MaxPooling2D", (8, 8, 64), 0),
    ("Conv2D", (8, 8, 128), 73_856),
    ("Dropout", (8, 8, 128), 0),
    ("Conv2D", (8, 8, 128), 147_584),
    ("MaxPooling2D", (4, 4, 128), 0),
    ("Flatten", (2048,), 0),
    ("Dropout", (2048,), 0),
    ("Dense", (2500,), 5_122_500),
    ("Dropout", (2500,), 0),
    ("Dense", (1500,), 3_751_500),
    ("Dropout", (1500,), 0),
    ("Dense", (10,), 15_010),
]


def built(name):
    recipe = RECIPES[name]
    return recipe.build(small_training_data(), recipe.clean(), 1)


def test_seed_cnn_is_the_reports_network():
    model = built("seed_cnn")
    layers = [(type(x).__name__, x.output.shape[1:], x.count_params()) for x in model.layers]
    assert layers[0] == ("Rescaling", (32, 32, 3), 0)
    assert layers[1:] == SEED_CNN
    assert model.count_params() == 9_176_018
    assert [layer.rate for layer in model.layers if type(layer).__name__ == "Dropout"] == [0.3] * 6
    recipe = RECIPES["seed_cnn"]
    assert recipe.clean() == {
        "epochs": 40,
        "batch_size": 300,
        "learning_rate": 0.001,
        "dropout": 0.3,
        "seed": 0,
    }
    assert recipe.validation_fraction == 0.2


def test_fast_cnn_is_small():
    assert built("fast_cnn").count_params() < 3_200_000


def test_fast_cnn_sees_small_images_first_and_answers_large_ones():
    recipe, data = RECIPES["fast_cnn"], small_training_data(60)
    values = {"epochs": 3, "small_epochs": 2, "batch_size": 30}
    sides = [next(look(recipe, data, recipe.clean(values), epoch))[0].shape[1:3] for epoch in range(3)]
    assert sides == [(24, 24), (24, 24), (32, 32)]

    fitted = fit(recipe, data, values)

    assert fitted.model.input_shape == (None, 32, 32, 3)
    small, large = forward_flops(fitted.model, 24), forward_flops(fitted.model)
    assert 0.45 < small / large < 0.6
    assert fitted.flops == 3 * 60 * (2 * small + large)


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_every_parameter_is_described_and_its_default_is_in_range(name):
    for parameter in RECIPES[name].parameters:
        assert len(parameter.help) > 20
        assert parameter.clean(parameter.default) == parameter.default


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"epochs": 0}, "epochs must lie between 1 and 1000"),
        ({"epochs": 1.5}, "epochs must be a whole number"),
        ({"epochs": "many"}, "epochs must be a whole number"),
        ({"epochs": True}, "epochs must be a whole number"),
        ({"learning_rate": float("nan")}, "learning_rate must"),
        ({"momentum": 1}, "seed_cnn has no parameter momentum"),
    ],
)
def test_a_wrong_value_is_a_sentence(values, sentence):
    with pytest.raises(ParameterError, match=sentence):
        RECIPES["seed_cnn"].clean(values)


def test_recipes_can_be_listed_without_tensorflow():
    code = (
        "import sys; from training.engine.recipes import RECIPES; assert 'seed_cnn' in RECIPES;"
        "sys.exit(any(name in sys.modules for name in ('keras', 'tensorflow', 'django')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_photo_net_knows_222_classes_of_imagenet_and_leaves_the_others_over():
    groups = photo_net.imagenet_groups()
    assert groups.shape == (1_000, 11)
    assert (groups.sum(axis=1) == 1).all()
    assert groups[:, :10].sum() == 222
    assert groups[339].argmax() == 7  # sorrel, a horse
    assert groups[345].argmax() == 10  # ox
