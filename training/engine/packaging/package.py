"""From a trained network to a model that may go live: its file, its card, its figures.

The card says all that is needed to trust, repeat or doubt the model.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import platform
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from training.engine.data.cifar10 import CLASS_NAMES, SPLIT_SEED, Cifar10, TrainingData
from training.engine.data.photo_set import PhotoSet
from training.engine.evaluation.metrics import figures, held_out_answers, run_model
from training.engine.evaluation.reliability import SYNTHETIC_OOD_IMAGES, trust_figures
from training.engine.inference.calibration import expected_calibration_error, held_out_probabilities
from training.engine.inference.predictor import Predictor
from training.engine.inference.verdict import DecisionPolicy
from training.engine.training.fit import Fitted
from training.engine.training.flops import forward_flops
from training.engine.training.recipe import Recipe

CARD_FORMAT = 1
# Arrays of so many weights, nearly all of a file, are kept with fewer bits.
LARGE = 2_000
# zlib's: a fifth of the time of its usual level, for files 3 % larger.
PACKING_LEVEL = 4


@dataclass(frozen=True)
class Package:
    """A ``.keras`` file's bytes, their sha256, the card and the test split's figures.

    Attributes:
        outputs: features float32 [N, D] and logits float32 [N, K] of the test split, in its order.
        predictor: the file, loaded as the site will load it.
    """

    content: bytes
    sha256: str
    card: dict[str, Any]
    test: dict[str, Any]
    outputs: tuple[NDArray[np.float32], NDArray[np.float32]]
    predictor: Predictor


def loaded(
    content: bytes, judge: DecisionPolicy | None = None, classes: Sequence[str] | None = None
) -> Predictor:
    """The bytes of a ``.keras`` file, loaded; see ``Predictor``."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.keras"
        path.write_bytes(content)
        return Predictor(path, judge, classes)


def package(
    fitted: Fitted,
    recipe: Recipe,
    values: Mapping[str, Any],
    cifar: Cifar10,
    data: TrainingData,
    photos: PhotoSet | None = None,
    *,
    synthetic_ood_images: int = SYNTHETIC_OOD_IMAGES,
) -> Package:
    """Save, calibrate on the validation part, and look at the test split, once.

    Args:
        cifar: for its test split and its hash; data: what the run was trained and validated on.
        photos: measured, too, where there are any; they choose nothing.
        synthetic_ood_images: of each kind, see ``training.engine.evaluation.synthetic_ood``.
    """
    run = {
        "recipe": recipe.name,
        "parameters": dict(values),
        "data": cifar.sha256,
        "training_images": len(data.x_train),
        "epochs": len(fitted.history["loss"]),
    }
    content = saved(fitted.model, run)
    predictor = loaded(content)
    judged = judge_and_measure(predictor, recipe, cifar, data, photos, synthetic_ood_images)
    card = {
        "format": CARD_FORMAT,
        "recipe": recipe.name,
        "classes": list(CLASS_NAMES),
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
        "flops": {"forward": forward_flops(fitted.model), "training": fitted.flops},
        "file_bytes": len(content),
        **made_by(),
    }
    sha256 = hashlib.sha256(content).hexdigest()
    return Package(content, sha256, card, judged.test, judged.outputs, predictor)


@dataclass(frozen=True)
class Judged:
    """A model's calibration and thresholds, and its figures with them.

    Attributes:
        card: its parts 'judge', 'validation', 'test', 'held_out', 'verdicts' and, with photos, 'photos'.
        test: all figures on the test split.
        outputs: see ``Package``.
    """

    card: dict[str, Any]
    test: dict[str, Any]
    outputs: tuple[NDArray[np.float32], NDArray[np.float32]]


def judge_and_measure(
    predictor: Predictor,
    recipe: Recipe,
    cifar: Cifar10,
    data: TrainingData,
    photos: PhotoSet | None = None,
    synthetic_ood_images: int = SYNTHETIC_OOD_IMAGES,
) -> Judged:
    """Fit calibration and thresholds to the validation part, have the model judge by them, and measure it."""
    preprocessing = recipe.preprocessing
    validation = run_model(predictor, data.x_val, preprocessing)
    predictor.judge = DecisionPolicy.fit(
        validation.logits, data.y_val, validation.ood_penalty, recipe.knows_none
    )
    fitted = predictor.judge.calibration
    of_validation = summary(figures(validation.logits, data.y_val, fitted))
    # An image that took part in the fit flatters it: each is judged by a fit on the others.
    held_out = held_out_probabilities(validation.logits, data.y_val)
    of_validation["ece_held_out"] = expected_calibration_error(held_out, data.y_val)
    seen = run_model(predictor, cifar.x_test, preprocessing)
    test = figures(seen.logits, cifar.y_test, fitted)
    trusted = trust_figures(
        predictor,
        preprocessing,
        (validation, data.y_val),
        (seen, cifar.y_test),
        photos,
        synthetic_ood_images=synthetic_ood_images,
    )
    card = {
        "judge": predictor.judge.settings(),
        "validation": of_validation,
        "test": summary(test),
        "held_out": held_out_answers(predictor, cifar, preprocessing),
        **trusted,
    }
    return Judged(card, test, (seen.features, seen.logits))


def saved(model: keras.Model, run: Mapping[str, Any] | None = None) -> bytes:
    """The model as a ``.keras`` file, without the optimizer's state, weights rounded to few bits.

    They stay float32 arrays, so any Keras loads the file; packed, their zeros take no room. A model
    that was trained in mixed precision computes in float32 from here on, on any host. Equal models of
    equal runs give equal bytes, whenever they are saved.

    Args:
        run: what was trained how, JSON-able; it lies in the file's ``metadata.json``.
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
            zipfile.ZipFile(packed, "w") as compressed,
        ):
            for entry in stored.infolist():
                content = stored.read(entry)
                if entry.filename == "metadata.json":
                    # Not the time of day, which would give the same run another hash each time.
                    content = json.dumps({"keras_version": keras.__version__, **(run or {})}).encode()
                compressed.writestr(
                    zipfile.ZipInfo(entry.filename), content, zipfile.ZIP_DEFLATED, PACKING_LEVEL
                )
    return packed.getvalue()


def in_float32(config: Any) -> Any:
    """A Keras config whose layers compute in float32 where they had a mixed precision."""
    if isinstance(config, dict):
        return {key: in_float32(value) for key, value in config.items()}
    if isinstance(config, list | tuple):
        return type(config)(in_float32(value) for value in config)
    return "float32" if config == "mixed_float16" else config


def rounded(weight: NDArray[Any]) -> NDArray[Any]:
    """The nearest float16, and of a large array the nearest bfloat16, which packs well; as float32.

    What float16 cannot hold stays as it is.
    """
    if weight.dtype != np.float32:
        return weight
    if weight.size >= LARGE:
        return weight.astype(tf.bfloat16.as_numpy_dtype).astype(np.float32)
    with np.errstate(over="ignore"):
        half = weight.astype(np.float16).astype(np.float32)
    return np.where(np.isfinite(half), half, weight).astype(np.float32)


def made_by() -> dict[str, Any]:
    """The card's parts on versions and machine."""
    return {
        "versions": {"keras": keras.__version__, "tensorflow": tf.__version__, "numpy": np.__version__},
        "machine": {
            "python": platform.python_version(),
            "system": platform.system(),
            "processor": platform.machine(),
            "cores": os.cpu_count(),
        },
    }


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


def summary(measured: dict[str, Any]) -> dict[str, Any]:
    """Of all figures, those that stand on a card."""
    keys = ("n", "accuracy", "interval", "top2", "log_loss", "brier", "ece", "ece_before", "classes")
    return {key: measured[key] for key in keys}
