import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from training.engine.tests.data.synthetic import small_training_data
from training.engine.training import augment


@pytest.fixture(scope="module")
def images():
    return small_training_data(20).x_train


def integers(*numbers):
    return tf.constant(numbers, tf.int64)


def test_a_shift_cuts_a_window_out_of_the_reflected_image(images):
    padded = np.pad(images[:3], ((0, 0), (4, 4), (4, 4), (0, 0)), mode="reflect")

    made = augment.shifted(
        images[:3], integers(0, 4, 8), integers(8, 4, 1), tf.constant([False, False, True]), border=4
    ).numpy()

    assert made.dtype == np.uint8
    assert (made[0] == padded[0, 0:32, 8:40]).all()
    assert (made[1] == images[1]).all()
    assert (made[2] == padded[2, 8:40, 1:33][:, ::-1]).all()


def test_only_the_named_images_are_mirrored(images):
    made = augment.mirrored(images[:2], tf.constant([True, False])).numpy()
    assert (made[0] == images[0][:, ::-1]).all()
    assert (made[1] == images[1]).all()


@pytest.mark.parametrize(("side", "pixels"), [(6, [36, 12]), (7, [49, 16]), (0, [0, 0])])
def test_cutout_paints_a_square_of_its_size(images, side, pixels):
    black = np.zeros_like(images[:2])
    centres = tf.constant([[16, 16], [0, 31]], tf.int64)
    made = augment.without_square(black, centres, side, np.array([1, 2, 3], np.uint8)).numpy()
    assert (made == [1, 2, 3]).all(axis=-1).sum(axis=(1, 2)).tolist() == pixels
    assert made.any(axis=-1).sum(axis=(1, 2)).tolist() == pixels


def test_shrinking_keeps_what_is_plain_and_the_mean_of_what_is_not(images):
    plain = np.full((1, 32, 32, 3), 77, np.uint8)
    assert np.allclose(augment.shrunk(plain, 24), 77, atol=1e-3)
    assert augment.shrunk(images, 24).shape == (20, 24, 24, 3)
    assert np.allclose(
        augment.shrunk(images, 24).numpy().mean(axis=(1, 2)), images.mean(axis=(1, 2)), atol=0.01
    )
    # Halving: each pixel is the mean of four.
    quarters = images.reshape(20, 16, 2, 16, 2, 3).mean(axis=(2, 4))
    assert np.allclose(augment.shrunk(images, 16), quarters, atol=1e-3)


def test_an_enlarged_box_is_what_pillow_makes_of_it(images):
    # Pillow rounds, and cuts at 0 and 255, between the two directions: here there is nothing to cut.
    images = images // 2 + 60
    boxes = np.array([[0, 0, 32, 32], [3.2, 1.7, 20.5, 27.25], [10, 0.4, 22, 31.6]], np.float32)
    top, left, height, width = boxes.T

    made = augment.resampled(images[:3], top, left, height, width, 128).numpy()

    for number, (y, x, tall, wide) in enumerate(boxes):
        box = (x, y, x + wide, y + tall)
        expected = Image.fromarray(images[number]).resize((128, 128), Image.Resampling.BICUBIC, box=box)
        assert np.abs(made[number] - np.asarray(expected)).max() <= 1.5
