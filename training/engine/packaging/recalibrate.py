"""Calibrate and measure a model file anew: ``python -m training.engine.packaging.recalibrate FOLDER``.

FOLDER holds ``model.keras`` and ``card.json``, as those in ``training/pretrained``. The weights
stay as they are; calibration, thresholds and all figures in ``card.json`` and ``test.json`` are
written anew.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from pathlib import Path
from typing import Any

from training.engine.data.cifar10 import SPLIT_SEED, Cifar10, DatasetError, load_cifar10, split_training
from training.engine.data.photo_set import PhotosError, PhotoSet, load_photos
from training.engine.inference.predictor import Predictor
from training.engine.packaging.package import judge_and_measure
from training.engine.recipes import RECIPES


class RepackError(Exception):
    """The folder's model cannot be measured; the message says what to do."""


def repack(folder: Path, cifar: Cifar10, photos: PhotoSet | None = None) -> dict[str, Any]:
    """Write the folder's card and figures anew; returns the card.

    Raises:
        RepackError: the file is not the card's, or the model was trained on other data.
    """
    card: dict[str, Any] = json.loads((folder / "card.json").read_text())
    model = folder / "model.keras"
    if hashlib.sha256(model.read_bytes()).hexdigest() != card["sha256"]:
        raise RepackError(f"{model} does not match its card: get the project's files again.")
    if card["data"]["sha256"] != cifar.sha256:
        raise RepackError(f"{folder.name} was trained on another copy of CIFAR-10: use that copy.")
    recipe = RECIPES[card["recipe"]]
    if card["preprocessing"] != recipe.preprocessing:
        raise RepackError(f"{folder.name} takes {card['preprocessing']}, its recipe {recipe.preprocessing}.")
    data = split_training(cifar, recipe.validation_fraction, SPLIT_SEED)
    judged = judge_and_measure(Predictor(model), recipe, cifar, data, photos)
    # Figures on photos hold for one calibration: without photos there are none.
    note = card.pop("photos", {}).get("note")
    card |= judged.card
    if note and "photos" in card:
        card["photos"]["note"] = note
    (folder / "card.json").write_text(json.dumps(card, indent=1) + "\n")
    (folder / "test.json").write_text(json.dumps(judged.test))
    return card


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--cifar10", help="A folder with CIFAR-10's batches; default: Keras' download.")
    parser.add_argument("--photos", help="A folder with ten_classes/<class>/ and none_of_the_ten/.")
    given = parser.parse_args()
    try:
        photos = load_photos(given.photos) if given.photos else None
        card = repack(given.folder, load_cifar10(given.cifar10), photos)
    except (OSError, DatasetError, PhotosError, RepackError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    test = card["test"]
    sys.stdout.write(
        f"{given.folder.name}: accuracy {test['accuracy']:.2%} on {test['n']:,} test images, "
        f"calibration error {test['ece']:.4f} (before {test['ece_before']:.4f}); the card is written.\n"
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
