"""From a trained network to a model that may go live: its file, its card, its figures.

The card says all that is needed to trust, repeat or doubt the model.
"""

from __future__ import annotations

import hashlib
import io
import os
import platform
import tempfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from training.engine.calibration import expected_calibration_error, held_out_probabilities
from training.engine.data import Cifar10, TrainingData
from training.engine.evaluate import figures, see
from training.engine.fit import Fitted
from training.engine.flops import forward_flops
from training.engine.photo_set import PhotoSet
from training.engine.predictor import Predictor
from training.engine.recipe import Recipe
from training.engine.trust import MADE_UP_IMAGES, trust_figures
from training.engine.verdict import Judge

CARD_FORMAT = 1
# The split is a property of the data, not of a run: every run of a recipe has the same one.
SPLIT_SEED = 0
# Arrays of so many weights, nearly all of a file, are kept with fewer bits.
LARGE, SIGNIFICANT_BITS = 2_000, 8


@dataclass(frozen=True)
class Package:
    """A ``.keras`` file's bytes, their sha256, the card and the test split's figures.

    ``outputs``: features float32 [N, D] and logits float32 [N, 10] of the test split, in its order.
    """

    content: bytes
    sha256: str
    card: dict[str, Any]
    test: dict[str, Any]
    outputs: tuple[NDArray[np.float32], NDArray[np.float32]]


def package(
    fitted: Fitted,
    recipe: Recipe,
    values: Mapping[str, Any],
    cifar: Cifar10,
    data: TrainingData,
    photos: PhotoSet | None = None,
    *,
    made_up_images: int = MADE_UP_IMAGES,
) -> Package:
    """Save, calibrate on the validation part, and look at the test split, once.

    Args:
        cifar: for its test split and its hash; data: what the run was trained and validated on.
        photos: measured, too, where there are any; they choose nothing.
        made_up_images: of each kind, see ``training.engine.made_up``.
    """
    content = saved(fitted.model)
    sha256 = hashlib.sha256(content).hexdigest()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.keras"
        path.write_bytes(content)
        judged = judge_and_measure(path, recipe.preprocessing, cifar, data, photos, made_up_images)
    card = {
        "format": CARD_FORMAT,
        "recipe": recipe.name,
        "recipe_sha256": recipe.source_sha256(),
        "parameters": dict(values),
        "preprocessing": recipe.preprocessing,
        "input_shape": list(fitted.model.input_shape[1:]),
        "data": {
            "name": "CIFAR-10",
            "sha256": cifar.sha256,
            "training_images": len(data.x_train),
            "validation_images": len(data.x_val),
            "split": f"stratified, {recipe.validation_fraction:.0%} held out, seed {SPLIT_SEED}",
        },
        "history": fitted.history,
        "best_epoch": fitted.best_epoch,
        "averaged_epochs": list(fitted.averaged),
        "seconds": sum(fitted.history["seconds"]),
        **judged.card,
        "weights": fitted.model.count_params(),
        "layers": layer_table(fitted.model),
        "flops": {
            "forward": forward_flops(fitted.model),
            "training": fitted.flops,
        },
        "file_bytes": len(content),
        "versions": {"keras": keras.__version__, "tensorflow": tf.__version__, "numpy": np.__version__},
        "machine": {
            "python": platform.python_version(),
            "system": platform.system(),
            "processor": platform.machine(),
            "cores": os.cpu_count(),
        },
    }
    return Package(content, sha256, card, judged.test, judged.outputs)


@dataclass(frozen=True)
class Judged:
    """A model's calibration and thresholds, and its figures with them.

    Attributes:
        card: the card's parts 'judge', 'validation', 'test', 'verdicts' and, with photos, 'photos'.
        test: all figures on the test split.
        outputs: see ``Package``.
    """

    card: dict[str, Any]
    test: dict[str, Any]
    outputs: tuple[NDArray[np.float32], NDArray[np.float32]]


def judge_and_measure(
    path: Path,
    preprocessing: str,
    cifar: Cifar10,
    data: TrainingData,
    photos: PhotoSet | None = None,
    made_up_images: int = MADE_UP_IMAGES,
) -> Judged:
    """Fit calibration and thresholds to the validation part, then measure a ``.keras`` file."""
    predictor = Predictor(path)
    validation = see(predictor, data.x_val, preprocessing)
    predictor.judge = Judge.fit(validation.logits, data.y_val, validation.oddness)
    fitted = predictor.judge.calibration
    of_validation = _summary(figures(validation.logits, data.y_val, fitted))
    # An image that took part in the fit flatters it: each is judged by a fit on the others.
    held_out = held_out_probabilities(validation.logits, data.y_val)
    of_validation["ece_held_out"] = expected_calibration_error(held_out, data.y_val)
    seen = see(predictor, cifar.x_test, preprocessing)
    test = figures(seen.logits, cifar.y_test, fitted)
    trusted = trust_figures(
        predictor,
        preprocessing,
        (validation, data.y_val),
        (seen, cifar.y_test),
        photos,
        made_up_images=made_up_images,
    )
    card = {
        "judge": predictor.judge.settings(),
        "validation": of_validation,
        "test": _summary(test),
        **trusted,
    }
    return Judged(card, test, (seen.features, seen.logits))


def saved(model: keras.Model) -> bytes:
    """The model as a ``.keras`` file, without the optimizer's state, weights rounded to few bits.

    They stay float32 arrays, so any Keras loads the file; packed, their zeros take no room. A model
    that was trained in mixed precision computes in float32 from here on, on any host.
    """
    # Not clone_model, which would keep the optimizer's config: loading would need its class.
    policy = keras.mixed_precision.dtype_policy()
    keras.mixed_precision.set_global_policy("float32")  # what a Sequential model takes for itself
    try:
        bare = type(model).from_config(in_float32(model.get_config()))
    finally:
        keras.mixed_precision.set_global_policy(policy)
    bare.set_weights([rounded(weight) for weight in model.get_weights()])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.keras"
        bare.save(path)
        packed = io.BytesIO()
        with (
            zipfile.ZipFile(path) as stored,
            zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as compressed,
        ):
            for entry in stored.infolist():
                compressed.writestr(zipfile.ZipInfo(entry.filename), stored.read(entry), zipfile.ZIP_DEFLATED)
    return packed.getvalue()


def in_float32(config: Any) -> Any:
    """A Keras config whose layers compute in float32 where they had a mixed precision."""
    if isinstance(config, dict):
        return {key: in_float32(value) for key, value in config.items()}
    if isinstance(config, list | tuple):
        return type(config)(in_float32(value) for value in config)
    return "float32" if config == "mixed_float16" else config


def rounded(weight: NDArray[Any]) -> NDArray[Any]:
    """The nearest float16, and of a large array the nearest of 8 significant bits, in its own dtype.

    What float16 cannot hold stays as it is.
    """
    if weight.dtype != np.float32:
        return weight
    with np.errstate(over="ignore"):
        half = weight.astype(np.float16).astype(np.float32)
    if weight.size >= LARGE:
        mantissa, exponent = np.frexp(half)
        half = np.ldexp(np.rint(mantissa * 2**SIGNIFICANT_BITS) / 2**SIGNIFICANT_BITS, exponent)
    return np.where(np.isfinite(half), half, weight).astype(np.float32)


def layer_table(model: keras.Model) -> list[dict[str, Any]]:
    """Name, kind, output shape and parameters of each layer, like ``model.summary()``."""
    return [
        {
            "name": layer.name,
            "kind": type(layer).__name__,
            "output": list(layer.output.shape[1:]),
            "parameters": layer.count_params(),
        }
        for layer in model.layers
    ]


def _summary(measured: dict[str, Any]) -> dict[str, Any]:
    keys = ("n", "accuracy", "interval", "top2", "log_loss", "brier", "ece", "ece_before", "classes")
    return {key: measured[key] for key in keys}
