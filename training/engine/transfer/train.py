"""The recipe ``transfer`` from images to a package: features, head, fine-tuning, calibration, figures,
learning curve."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from training.engine.data.cifar10 import DatasetError
from training.engine.data.labelled_images import (
    CROSS_VALIDATION,
    TEST,
    TRAINING,
    VALIDATION,
    LabelledImages,
)
from training.engine.evaluation import synthetic_ood
from training.engine.evaluation.metrics import ModelOutputs, figures, held_out_of, run_model
from training.engine.evaluation.reliability import answered, apart
from training.engine.inference.predictor import Predictor
from training.engine.inference.verdict import COVERAGE, FALSE_ALARMS, UNKNOWN, DecisionPolicy
from training.engine.packaging.package import (
    CARD_FORMAT,
    Package,
    layer_table,
    loaded,
    made_by,
    saved,
    summary,
)
from training.engine.recipes.transfer import PREPROCESSING, RECIPE
from training.engine.training.flops import forward_flops
from training.engine.training.recipe import Values
from training.engine.transfer import features as kept_features
from training.engine.transfer.features import Progress
from training.engine.transfer.fitted import Fit, fine_tuned, fit_head
from training.engine.transfer.head import FOLDS, cross_validated
from training.engine.transfer.judge import fit_judge
from training.engine.transfer.learning_curve import learning_curve
from training.engine.transfer.network import joined

# Up to so many training images, the judge is fitted to cross-validated answers; of more the validation
# images are enough.
CROSS_JUDGED_UP_TO = 5_000
MADE_UP_SEED = 2
MADE_UP_IMAGES = 10

Report = Callable[[dict[str, Any]], None]
Logits = NDArray[np.float32]


def train(
    images: LabelledImages,
    values: Values,
    *,
    features_dir: Path,
    report: Report = lambda news: None,
    should_stop: Callable[[], bool] = lambda: False,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    checkpoints: Path | None = None,
) -> Package:
    """Fit a model to the training images and measure it.

    Args:
        values: of ``RECIPE.clean``.
        features_dir: of this project; see ``training.engine.transfer.features``.
        report: is told ``{"phase", "done", "total"}``; what it raises ends the run.
        should_stop: asked before what a model can do without, fine-tuning and the learning curve: the model
            that there is then is kept.
        callbacks: Keras callbacks of fine-tuning, where ``values`` ask for it; one may stop it by
            ``StopTraining``.
        checkpoints: a folder of this run, where each epoch of fine-tuning is kept; a run that was killed goes
            on after the last one.

    Returns:
        The file, its card and its figures: on the test images, or, with too few of some class
        (see ``LabelledImages.measured``), cross-validated over all images. The card's ``measured_by`` says
        which. ``outputs`` are of these images in their order.

    Raises:
        DatasetError: a class has no training image, or an image cannot be read.
        TrainingError: fine-tuning diverged.
    """
    began = time.monotonic()
    _check(images)

    def told(phase: str) -> Callable[[int, int], None]:
        return lambda done, total: report({"phase": phase, "done": done, "total": total})

    seed = int(values["seed"])
    network = kept_features.body()
    computed = kept_features.compute(images, features_dir, told("features"), network)
    fitted = fit_head(images, network, computed, seed, told("head"))
    if int(values["epochs"]):
        fitted = fine_tuned(
            fitted,
            images,
            values,
            checkpoints=checkpoints,
            callbacks=callbacks,
            progress=told("activations"),
            should_stop=should_stop,
        )
    judged = _judge(fitted, seed, told("judge"))
    model = joined(network, fitted.head)
    content = saved(model)
    card = _card(images, values, fitted, model)
    card |= {
        "judge": judged.policy.settings(),
        "judged_on": judged.on,
        "file_bytes": len(content),
        **made_by(),
    }
    test, outputs = _measure(images, fitted, seed, judged, card)
    predictor = loaded(content, judged.policy, images.classes)
    card["verdicts"]["made_up"] = _made_up(predictor, judged.scores)
    answers = fitted.logits(images.rows(VALIDATION, TEST))
    card["held_out"] = held_out_of(predictor, images, PREPROCESSING, answers)
    if not should_stop():
        card["learning_curve"] = learning_curve(
            fitted.training,
            fitted.validation,
            images.classes,
            fitted.strength,
            seed,
            told("learning_curve"),
            may_cross=fitted.tuned is None,
        )
    card["seconds"] = round(time.monotonic() - began, 1)
    return Package(content, hashlib.sha256(content).hexdigest(), card, test, outputs, predictor)


def _card(images: LabelledImages, values: Values, fitted: Fit, model: Any) -> dict[str, Any]:
    """What is known of the model before it is measured."""
    tuned, rows = fitted.tuned, fitted.rows
    card: dict[str, Any] = {
        "format": CARD_FORMAT,
        "recipe": RECIPE.name,
        "recipe_sha256": RECIPE.source_sha256(),
        "classes": list(images.classes),
        "parameters": dict(values),
        "preprocessing": PREPROCESSING,
        "input_shape": list(model.input_shape[1:]),
        "data": {
            "name": "images of one's own",
            "sha256": images.dataset_sha256 or images.sha256(),
            "training_images": len(rows[TRAINING]),
            "validation_images": len(rows[VALIDATION]),
            "test_images": len(rows[TEST]),
            "split": "each image by the hash of its content",
            "classes": {split: images.counts(split).tolist() for split in rows},
        },
        "history": tuned.history if tuned else {},
        "transfer": {
            "body": "EfficientNet-Lite1, ImageNet" + (", fine-tuned" if tuned else ""),
            "body_sha256": kept_features.body_sha256(),
            "views": len(fitted.computed.features),
            "strength": fitted.strength,
            "tried": fitted.tried,
            "folds": FOLDS,
        },
        "weights": model.count_params(),
        "layers": layer_table(model),
        "flops": {"forward": forward_flops(model), "training": tuned.flops if tuned else None},
    }
    if fitted.said:
        card["transfer"]["fine_tuning"] = fitted.said
    if tuned:
        card |= {"best_epoch": tuned.best_epoch, "averaged_epochs": list(tuned.averaged)}
    return card


def _check(images: LabelledImages) -> None:
    lacking = [images.classes[number] for number in np.flatnonzero(images.counts(TRAINING) == 0)]
    if lacking:
        raise DatasetError(
            f"No image to train on in {', '.join(lacking[:5])}: add images to each class, or remove it."
        )


@dataclass(frozen=True)
class Judged:
    """The thresholds, what they were fitted to, and the scores there."""

    policy: DecisionPolicy
    on: dict[str, int]
    scores: NDArray[np.float64]


def _judge(fitted: Fit, seed: int, progress: Progress) -> Judged:
    """Fit the judge to answers to images that neither network nor head was fitted to."""
    used, labels, penalty = fitted.rows[VALIDATION], fitted.everything.labels, fitted.computed.penalty
    logits, crossed, n = fitted.logits(used), 0, len(fitted.training.labels)
    if fitted.tuned is None and (n <= CROSS_JUDGED_UP_TO or not len(used)):
        of_training = cross_validated(fitted.training, fitted.strength, seed, progress=progress)
        logits = np.concatenate([of_training, logits])
        used, crossed = np.concatenate([fitted.rows[TRAINING], used]), n
    policy = fit_judge(logits, labels[used], penalty[used])
    on = {"n": len(used), "cross_validated": crossed, "validation": len(used) - crossed}
    return Judged(policy, on, policy.scores(logits, penalty[used]))


def _measure(
    images: LabelledImages, fitted: Fit, seed: int, judged: Judged, card: dict[str, Any]
) -> tuple[dict[str, Any], tuple[NDArray[np.float32], Logits]]:
    """Write figures on the card; return all figures of the report, and the outputs that they follow from."""
    labels, calibration = fitted.everything.labels, judged.policy.calibration

    def measured(logits: Logits, places: NDArray[np.int64]) -> dict[str, Any]:
        return figures(logits, labels[places], calibration, images.classes)

    card["measured_by"], main = images.measured(may_cross=fitted.tuned is None)
    if card["measured_by"] != images.measured()[0]:
        # Of the test images alone, although they are few; the dataset's hash stands for all images then.
        card["data"]["measured_sha256"] = images.sha256(main)
    if card["measured_by"] == CROSS_VALIDATION:
        logits = cross_validated(fitted.everything, fitted.strength, seed)
    else:
        logits = fitted.logits(main)
    test = measured(logits, main)
    features, penalty = fitted.computed.features[0, main], fitted.computed.penalty[main]
    seen = ModelOutputs(features.astype(np.float32), logits, penalty.astype(np.float64))
    card["test"] = summary(test)
    card["verdicts"] = {
        "coverage_goal": COVERAGE,
        "false_alarm_goal": FALSE_ALARMS,
        "test": answered(judged.policy, seen, labels[main]),
    }
    by_validation = fitted.rows[VALIDATION]
    card["validation"] = (
        summary(measured(fitted.logits(by_validation), by_validation)) if len(by_validation) else card["test"]
    )
    return test, (seen.features, logits)


def _made_up(predictor: Predictor, own: NDArray[np.float64]) -> dict[str, dict[str, Any]]:
    """How many images that no camera took are noticed, of each kind."""
    policy, found = predictor.judge, {}
    for kind in synthetic_ood.KINDS:
        seen = run_model(predictor, synthetic_ood.make(kind, MADE_UP_IMAGES, MADE_UP_SEED), PREPROCESSING)
        scores = policy.scores(seen.logits, seen.ood_penalty)
        said, _ = policy.verdicts(policy.calibration.probabilities(seen.logits), scores)
        found[kind] = {"n": len(said), "noticed": said.count(UNKNOWN), **apart(own, scores)}
    return found
