import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from training.engine.data.preprocessing import (
    VERSIONS,
    UnknownPreprocessing,
    make_input,
    make_inputs,
    to_array,
)


def noise(height: int, width: int) -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("size", [(1, 1), (1, 500), (500, 1), (31, 33), (640, 480)])
def test_it_makes_an_image_of_the_versions_size_from_any_size(version: str, size: tuple[int, int]) -> None:
    height, width = VERSIONS[version].size
    made = make_input(noise(*size), version)
    assert (made.mode, made.size) == ("RGB", (width, height))


@pytest.mark.parametrize("version", VERSIONS)
def test_an_image_of_the_right_size_passes_bit_for_bit(version: str) -> None:
    image = noise(*VERSIONS[version].size)
    made = make_input(image, version)
    assert made is not image
    assert made.tobytes() == image.tobytes()


@pytest.mark.parametrize("version", VERSIONS)
def test_it_gives_the_same_bytes_each_time(version: str) -> None:
    assert make_input(noise(300, 200), version).tobytes() == make_input(noise(300, 200), version).tobytes()


def test_it_carries_no_metadata_over() -> None:
    image = noise(32, 32)
    image.info["exif"] = b"where I live"
    assert make_input(image, "squash32-v1").info == {}


def test_squash32_keeps_what_lies_at_the_edges() -> None:
    image = Image.new("RGB", (640, 320))
    image.paste((255, 0, 0), (0, 0, 40, 320))
    array = to_array(make_input(image, "squash32-v1"))
    assert array[16, 0].tolist() == [255, 0, 0]
    assert array[16, 31].tolist() == [0, 0, 0]


def test_squash32_counts_every_pixel() -> None:
    checkerboard = np.indices((512, 512)).sum(axis=0) % 2 * 255
    image = Image.fromarray(np.repeat(checkerboard[:, :, None], 3, axis=2).astype(np.uint8))
    array = to_array(make_input(image, "squash32-v1"))
    assert array.min() >= 126 and array.max() <= 129


def test_to_array_gives_height_width_and_three_colours() -> None:
    image = Image.new("RGB", (5, 3))
    image.putpixel((4, 2), (1, 2, 3))
    array = to_array(image)
    assert array.dtype == np.uint8 and array.shape == (3, 5, 3)
    assert array[2, 4].tolist() == [1, 2, 3]


def test_many_images_are_made_as_each_alone() -> None:
    images = np.stack([to_array(noise(50, 40)), to_array(Image.new("RGB", (40, 50), "red"))])
    made = make_inputs(images, "squash32-v1")
    assert made.dtype == np.uint8 and made.shape == (2, 32, 32, 3)
    assert (made[0] == to_array(make_input(Image.fromarray(images[0]), "squash32-v1"))).all()
    small = np.zeros((3, 32, 32, 3), np.uint8)
    assert make_inputs(small, "squash32-v1") is small
    assert make_inputs(small[:0], "squash32-v1").shape == (0, 32, 32, 3)


def test_an_unknown_version_is_named_with_those_that_exist() -> None:
    with pytest.raises(UnknownPreprocessing, match=r"no preprocessing 'crop7'.*squash32-v1") as caught:
        make_input(noise(32, 32), "crop7")
    assert isinstance(caught.value, KeyError)


@pytest.mark.parametrize("mode", ["L", "RGBA", "CMYK"])
def test_it_refuses_an_image_that_is_not_rgb(mode: str) -> None:
    with pytest.raises(ValueError, match=mode):
        make_input(Image.new(mode, (32, 32)), "squash32-v1")
    with pytest.raises(ValueError, match=mode):
        to_array(Image.new(mode, (32, 32)))


def test_it_never_imports_tensorflow() -> None:
    code = (
        "import sys, training.engine.data.preprocessing as p; "
        "sys.exit(any(m in sys.modules for m in ('tensorflow', 'keras')))"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_centre224_leaves_out_the_edges_of_a_large_photo_and_nothing_of_a_small_one() -> None:
    def seen(width: int, height: int) -> list[int]:
        image = Image.new("RGB", (width, height))
        image.paste((255, 0, 0), (0, 0, width // 20, height))
        first: list[int] = to_array(make_input(image, "centre224-v1"))[112, 0].tolist()
        return first

    assert seen(640, 480) == [0, 0, 0]
    assert seen(40, 40) == [255, 0, 0]


def test_centre224_keeps_85_percent_but_never_less_pixels_than_it_makes() -> None:
    ramp = np.tile(np.linspace(0, 255, 1_000).astype(np.uint8)[None, :, None], (1_000, 1, 3))
    made = to_array(make_input(Image.fromarray(ramp), "centre224-v1"))[112, :, 0]
    assert made[0] == pytest.approx(0.075 * 255, abs=2) and made[-1] == pytest.approx(0.925 * 255, abs=2)
    just = to_array(noise(230, 230))
    assert (to_array(make_input(Image.fromarray(just), "centre224-v1")) == just[3:227, 3:227]).all()
