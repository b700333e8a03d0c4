"""How far a model's answers can be trusted: what its verdicts do on images of every kind.

Nothing here chooses anything: the judge was fitted before. Figures are JSON-able; shares go from
0 to 1. AUROC: how often an image of the ten classes scores above one that shows none of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.engine import calibration, made_up
from training.engine.calibration import Floats, wilson_interval
from training.engine.data import CLASS_NAMES
from training.engine.evaluate import Seen, see
from training.engine.photo_set import PhotoSet
from training.engine.predictor import Predictor
from training.engine.verdict import COVERAGE, FALSE_ALARMS, NONE_OF_THE_TEN, VERDICTS, Judge

MADE_UP_IMAGES = 150
# Other ones than those that the constants of the oddness were looked at with.
MADE_UP_SEED = 2
RECALL = 0.95


def trust_figures(
    predictor: Predictor,
    preprocessing: str,
    validation: tuple[Seen, NDArray[Any]],
    test: tuple[Seen, NDArray[Any]],
    photos: PhotoSet | None = None,
    *,
    made_up_images: int = MADE_UP_IMAGES,
) -> dict[str, Any]:
    """What the card keeps under ``verdicts`` and, where there are photos, under ``photos``.

    Args:
        predictor: with its judge; validation, test: what it saw, and the labels.
        made_up_images: of each kind.
    """
    judge = predictor.judge
    strange = {
        kind: see(predictor, made_up.make(kind, made_up_images, MADE_UP_SEED), preprocessing)
        for kind in made_up.KINDS
    }
    test_scores = judge.scores(test[0].logits, test[0].oddness)
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


def answered(judge: Judge, seen: Seen, labels: NDArray[Any]) -> dict[str, Any]:
    """Verdicts on images of the ten classes, how right the recognised ones are, and the sets' coverage."""
    labels = np.asarray(labels).astype(int)
    probabilities = judge.calibration.probabilities(seen.logits)
    verdicts, sets = judge.verdicts(probabilities, judge.scores(seen.logits, seen.oddness))
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
    strange: Mapping[str, Seen],
) -> dict[str, Any]:
    """Accuracy, calibration and verdicts on photos; photos of other things against CIFAR's test images, too.

    Args:
        test_scores: of CIFAR-10's test images; strange: made-up images, by kind.
    """
    judge = predictor.judge
    ten, other = (see(predictor, images, preprocessing) for images in (photos.ten, photos.other))
    labels = photos.labels.astype(int)
    probabilities = judge.calibration.probabilities(ten.logits)
    right = probabilities.argmax(axis=1) == labels
    classes = {
        CLASS_NAMES[number]: [int(right[labels == number].sum()), int((labels == number).sum())]
        for number in np.unique(labels)
    }
    scores, other_scores = (judge.scores(seen.logits, seen.oddness) for seen in (ten, other))
    said, _ = judge.verdicts(judge.calibration.probabilities(other.logits), other_scores)
    on_ten = answered(judge, ten, labels)
    return {
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
        "set_coverage": on_ten["set_coverage"],
        "set_coverage_interval": on_ten["set_coverage_interval"],
        "recognised_right": on_ten["recognised_right"],
        "verdicts_ten": on_ten["counts"],
        "verdicts_other": _counts(said),
        **apart(scores, other_scores),
        "cifar_test": apart(test_scores, other_scores),
        "made_up": _noticed(judge, strange, scores),
    }


def apart(own: Floats, foreign: Floats) -> dict[str, float]:
    """How well the scores part images of the ten classes from others."""
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


def _noticed(judge: Judge, strange: Mapping[str, Seen], own: Floats) -> dict[str, dict[str, Any]]:
    """Each kind of made-up images against ``own`` scores, and how many the verdict notices."""
    found = {}
    for kind, seen in strange.items():
        scores = judge.scores(seen.logits, seen.oddness)
        said, _ = judge.verdicts(judge.calibration.probabilities(seen.logits), scores)
        found[kind] = {"n": len(said), "noticed": said.count(NONE_OF_THE_TEN), **apart(own, scores)}
    return found


def _counts(verdicts: Sequence[str]) -> dict[str, int]:
    counted = Counter(verdicts)
    return {name: counted[name] for name in VERDICTS}
