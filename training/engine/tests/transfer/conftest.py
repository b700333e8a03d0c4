"""A model of drawn shapes, made once."""

from typing import Any

import pytest

from training.engine.recipes import RECIPES
from training.engine.tests.transfer.made_up import made_up


@pytest.fixture(scope="package")
def made(tmp_path_factory):
    """Images, package, file, and what was told."""
    # Not above: TensorFlow, loaded before pytest captures what is written, takes the error stream with it.
    from training.engine.transfer import train

    folder = tmp_path_factory.mktemp("transfer")
    told: list[dict[str, Any]] = []
    images = made_up()
    package = train(images, RECIPES["transfer"].clean(), features_dir=folder / "features", report=told.append)
    file = folder / "model.keras"
    file.write_bytes(package.content)
    return images, package, file, told
