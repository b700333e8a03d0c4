"""How far a model's answers can be trusted: what its verdicts do on images of every kind.

Nothing here chooses anything: the judge was fitted before. Figures are JSON-able; shares go from
0 to 1. AUROC: how often an image of the classes scores above one that shows none of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.engine.data.photo_set import KINDS, PhotoSet
from training.engine.evaluation import synthetic_ood
from training.engine.evaluation.metrics import ModelOutputs, run_model
from training.engine.inference import calibration
from training.engine.inference.calibration import Floats, wilson_interval
from training.engine.inference.predictor import Predictor
from training.engine.inference.verdict import COVERAGE, FALSE_ALARMS, UNKNOWN, VERDICTS, DecisionPolicy

SYNTHETIC_OOD_IMAGES = 150
# Other ones than those that the constants of the ood_penalty were looked at with.
MADE_UP_SEED = 2
RECALL = 0.95


def trust_figures(
    predictor: Predictor,
    preprocessing: str,
    validation: tuple[ModelOutputs, NDArray[Any]],
    test: tuple[ModelOutputs, NDArray[Any]],
    photos: PhotoSet | None = None,
    *,
    synthetic_ood_images: int = SYNTHETIC_OOD_IMAGES,
) -> dict[str, Any]:
    """What the card keeps under ``verdicts`` and, where there are photos, under ``photos``.

    Args:
        predictor: with its judge; validation, test: what it saw, and the labels.
        synthetic_ood_images: of each kind.
    """
    judge = predictor.judge
    strange = {
        kind: run_model(
            predictor, synthetic_ood.make(kind, synthetic_ood_images, MADE_UP_SEED), preprocessing
        )
        for kind in synthetic_ood.KINDS
    }
    test_scores = judge.scores(test[0].logits, test[0].ood_penalty)
    verdicts = {
        "coverage_goal": COVERAGE,
        "false_alarm_goal": FALSE_ALARMS,
        "validation": answered(judge, *validation),
        "test": answered(judge, *test),
        "made_up": _noticed(judge, strange, test_scores),
    }
    if photos is None:
        return {"verdicts": verdicts}
    return {
        "verdicts": verdicts,
        "photos": photo_figures(predictor, preprocessing, photos, test_scores, strange),
    }


def answered(judge: DecisionPolicy, seen: ModelOutputs, labels: NDArray[Any]) -> dict[str, Any]:
    """Verdicts on images of the classes, how right the recognised ones are, and the sets' coverage."""
    labels = np.asarray(labels).astype(int)
    probabilities = judge.calibration.probabilities(seen.logits)
    verdicts, sets = judge.verdicts(probabilities, judge.scores(seen.logits, seen.ood_penalty))
    said, right = np.array(verdicts), probabilities.argmax(axis=1) == labels
    covered = sets[np.arange(len(labels)), labels]
    recognised = right[said == VERDICTS[0]]
    return {
        "n": len(labels),
        "counts": _counts(verdicts),
        "recognised_right": float(recognised.mean()) if len(recognised) else None,
        "set_coverage": float(covered.mean()),
        "set_coverage_interval": wilson_interval(int(covered.sum()), len(covered)),
        "set_size": float(sets.sum(axis=1).mean()),
    }


def photo_figures(
    predictor: Predictor,
    preprocessing: str,
    photos: PhotoSet,
    test_scores: Floats,
    strange: Mapping[str, ModelOutputs],
) -> dict[str, Any]:
    """Accuracy, calibration and verdicts on photos; photos of other things against CIFAR's test images, too.

    Args:
        test_scores: of CIFAR-10's test images; strange: made-up images, by kind.
    """
    judge = predictor.judge
    ten, other = (run_model(predictor, images, preprocessing) for images in (photos.ten, photos.other))
    labels = photos.labels.astype(int)
    probabilities = judge.calibration.probabilities(ten.logits)
    right = probabilities.argmax(axis=1) == labels
    classes = {
        predictor.classes[number]: [int(right[labels == number].sum()), int((labels == number).sum())]
        for number in np.unique(labels)
    }
    scores, other_scores = (judge.scores(seen.logits, seen.ood_penalty) for seen in (ten, other))
    said, _ = judge.verdicts(judge.calibration.probabilities(other.logits), other_scores)
    said_of_ten, _ = judge.verdicts(probabilities, scores)
    on_ten = answered(judge, ten, labels)
    return {
        **({"set": {"name": photos.name, "sha256": photos.sha256}} if photos.sha256 else {}),
        "n_ten": len(labels),
        "n_other": len(photos.other),
        "accuracy": float(right.mean()),
        "interval": wilson_interval(int(right.sum()), len(right)),
        "balanced": float(np.mean([hits / n for hits, n in classes.values()])),
        "classes": classes,
        "confidence": float(probabilities.max(axis=1).mean()),
        "ece": calibration.expected_calibration_error(probabilities, labels),
        "ece_before": calibration.expected_calibration_error(calibration.softmax(ten.logits), labels),
        "log_loss": calibration.log_loss(probabilities, labels),
        "log_loss_interval": calibration.mean_interval(calibration.losses(probabilities, labels)),
        # The error by bins (ECE) of few photos is mostly chance: this is not.
        "surprise_interval": calibration.mean_interval(calibration.surprise(probabilities, labels)),
        "set_coverage": on_ten["set_coverage"],
        "set_coverage_interval": on_ten["set_coverage_interval"],
        "recognised_right": on_ten["recognised_right"],
        "verdicts_ten": on_ten["counts"],
        "verdicts_other": _counts(said),
        **apart(scores, other_scores),
        "cifar_test": apart(test_scores, other_scores),
        "made_up": _noticed(judge, strange, scores),
        **({"kinds": kinds_apart(photos.kinds(), right, [*said_of_ten, *said])} if photos.files else {}),
    }


def kinds_apart(
    kinds: NDArray[Any], right: NDArray[np.bool_], verdicts: Sequence[str]
) -> dict[str, dict[str, Any]]:
    """For each kind of photo: those of the ten with their right answers, and the verdicts on both.

    Args:
        kinds: of all photos, see ``PhotoSet.kinds``; right: of those of the ten, which come first.
        verdicts: on all photos.
    """
    said, found = np.array(verdicts), {}
    for kind in KINDS:
        ten, other = (np.flatnonzero(part == kind) for part in (kinds[: len(right)], kinds[len(right) :]))
        recognised = said[len(right) + other] == VERDICTS[0]
        found[kind] = {
            "n_ten": len(ten),
            "right": int(right[ten].sum()),
            "interval": wilson_interval(int(right[ten].sum()), len(ten)),
            "ten_called_none": int((said[ten] == UNKNOWN).sum()),
            "n_other": len(other),
            "other_recognised": int(recognised.sum()),
            "other_interval": wilson_interval(int(recognised.sum()), len(other)),
        }
    return found


def apart(own: Floats, foreign: Floats) -> dict[str, float]:
    """How well the scores part images of the classes from others."""
    return {
        "auroc": auroc(own, foreign),
        "false_positive_rate_at_95_recall": float((foreign >= np.quantile(own, 1 - RECALL)).mean()),
    }


def auroc(own: Floats, foreign: Floats) -> float:
    """The share of pairs in which the image of the ten scores higher; a draw counts half."""
    ordered = np.sort(foreign)
    below = np.searchsorted(ordered, own, side="left")
    up_to = np.searchsorted(ordered, own, side="right")
    return float((below + up_to).mean() / (2 * len(foreign)))


def _noticed(
    judge: DecisionPolicy, strange: Mapping[str, ModelOutputs], own: Floats
) -> dict[str, dict[str, Any]]:
    """Each kind of made-up images against ``own`` scores, and how many the verdict notices."""
    found = {}
    for kind, seen in strange.items():
        scores = judge.scores(seen.logits, seen.ood_penalty)
        said, _ = judge.verdicts(judge.calibration.probabilities(seen.logits), scores)
        found[kind] = {"n": len(said), "noticed": said.count(UNKNOWN), **apart(own, scores)}
    return found


def _counts(verdicts: Sequence[str]) -> dict[str, int]:
    counted = Counter(verdicts)
    return {name: counted[name] for name in VERDICTS}
