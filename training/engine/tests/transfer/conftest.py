"""A model of drawn shapes, trained once a run of the tests."""

import pickle
from pathlib import Path
from typing import Any

import pytest

from training.engine.recipes import RECIPES
from training.engine.tests.transfer.made_up import made_up


@pytest.fixture(scope="package")
def made(once):
    """Images, package (without its loaded file), file, and what was told."""
    folder = once("transfer", train_made_up)
    package, told = pickle.loads((folder / "package").read_bytes())
    return made_up(), package, folder / "model.keras", told


def train_made_up(folder: Path) -> None:
    # Not above: TensorFlow, loaded before pytest captures what is written, takes the error stream with it.
    from training.engine.transfer import train

    told: list[dict[str, Any]] = []
    values = RECIPES["transfer"].clean()
    package = train(made_up(), values, features_dir=folder / "features", report=told.append)
    (folder / "model.keras").write_bytes(package.content)
    vars(package)["predictor"] = None  # which cannot be pickled
    (folder / "package").write_bytes(pickle.dumps((package, told)))
