import itertools
import subprocess
import sys

import numpy as np
import pytest

from training.engine.fit import fit
from training.engine.flops import forward_flops
from training.engine.recipe import ParameterError
from training.engine.recipes import RECIPES, photo_net
from training.engine.recipes.fast_cnn import inside, shrunk
from training.engine.tests.synthetic import small_training_data

# The report's `model.summary()`: kind, output shape, parameters.
SEED_CNN = [
    ("Conv2D", (32, 32, 32), 896),
    ("Conv2D", (32, 32, 32), 9_248),
    ("MaxPooling2D", (16, 16, 32), 0),
    ("Dropout", (16, 16, 32), 0),
    ("Conv2D", (16, 16, 64), 18_496),
    ("Conv2D", (16, 16, 64), 36_928),
    ("MaxPooling2D", (8, 8, 64), 0),
    ("Dropout", (8, 8, 64), 0),
    ("Conv2D", (8, 8, 128), 73_856),
    ("Conv2D", (8, 8, 128), 147_584),
    ("MaxPooling2D", (4, 4, 128), 0),
    ("Dropout", (4, 4, 128), 0),
    ("Flatten", (2048,), 0),
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
    assert [layer.rate for layer in model.layers if type(layer).__name__ == "Dropout"] == [0.3] * 5
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
    sides = [next(recipe.batches(data, recipe.clean(values), epoch))[0].shape[1:3] for epoch in range(3)]
    assert sides == [(24, 24), (24, 24), (32, 32)]

    fitted = fit(recipe, data, values)

    assert fitted.model.input_shape == (None, 32, 32, 3)
    small, large = forward_flops(fitted.model, 24), forward_flops(fitted.model)
    assert 0.45 < small / large < 0.6
    assert fitted.flops == 3 * 60 * (2 * small + large)


def test_shrinking_keeps_what_is_plain_and_the_mean_of_what_is_not():
    plain = np.full((1, 32, 32, 3), 77, np.uint8)
    assert (shrunk(plain, 24) == 77).all()
    images = small_training_data(20).x_train
    assert shrunk(images, 24).shape == (20, 24, 24, 3)
    difference = shrunk(images, 24).mean(axis=(1, 2)) - images.mean(axis=(1, 2))
    assert np.abs(difference).max() < 0.5
    # Halving: each pixel is the mean of four.
    quarters = images.reshape(20, 16, 2, 16, 2, 3).mean(axis=(2, 4))
    assert np.abs(shrunk(images, 16) - quarters).max() <= 0.5


def test_cutout_takes_a_square_of_its_size_away():
    centres = np.array([[16, 16], [0, 31]])
    assert inside(centres, 6).sum(axis=(1, 2)).tolist() == [36, 12]
    assert inside(centres, 7).sum(axis=(1, 2)).tolist() == [49, 16]
    assert not inside(centres, 0).any()


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_batches_depend_on_seed_and_epoch_alone(name):
    recipe, data = RECIPES[name], small_training_data(100)
    values = recipe.clean({"batch_size": 30})

    def epoch(number):
        return list(recipe.batches(data, values, number))

    first, again, next_one = epoch(3), epoch(3), epoch(4)
    assert sum(len(x) for x, _ in first) == 100
    assert all((a == b).all() for (a, _), (b, _) in zip(first, again, strict=True))
    assert any((a != b).any() for (a, _), (b, _) in zip(first, next_one, strict=True))
    assert all(x.dtype == np.uint8 and np.allclose(y.sum(axis=1), 1) for x, y in first)


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


def test_photo_net_averages_the_ends_of_its_cycles():
    ends = {epochs: photo_net.ends_of_cycles({"epochs": epochs}) for epochs in (1, 2, 3, 8)}
    assert ends == {1: (1,), 2: (1, 2), 3: (2, 3), 8: (4, 8)}


def test_cosine_cycles_rise_once_and_fall_to_zero_in_each():
    from training.engine.optimizers import CosineCycles

    schedule = CosineCycles(rates=[0.8, 0.5], steps=[100, 60])
    rates = [float(schedule(step)) for step in range(161)]
    assert rates[0] == 0 and rates[5] == pytest.approx(0.8)
    assert all(a > b for a, b in itertools.pairwise(rates[5:100])) and rates[99] < 0.001
    assert rates[100] == pytest.approx(0.5)
    assert all(a > b for a, b in itertools.pairwise(rates[100:161])) and rates[160] == 0
    assert CosineCycles(**schedule.get_config())(7) == schedule(7)
