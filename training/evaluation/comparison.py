"""Two models on the same images, image by image: what is different, and may it be chance?

Source of the paired interval: the normal approximation for the difference of paired shares
(A. Agresti, "Categorical Data Analysis", 2002, chapter 10).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.data.image_sheets import ArtifactMissing
from training.evaluation.reports import answers, class_names, confusion, truth_and_predicted
from training.models import EvaluationReport
from training.registry.promotion_gate import mcnemar


class NotComparable(Exception):
    """The reports are on different images."""


def compare(new: EvaluationReport, old: EvaluationReport) -> dict[str, Any]:
    """Differences are new minus old; shares from 0 to 1; intervals 95 %, paired.

    Raises:
        NotComparable: the two were measured on different images.
    """
    truth, mine, theirs = _three(new, old)
    fixed, regressed = (mine == truth) & (theirs != truth), (mine != truth) & (theirs == truth)
    classes = []
    for number, name in enumerate(joined_names(new, old)):
        of_class = truth == number
        row = paired_share(fixed[of_class], regressed[of_class])
        classes.append({"name": name, "n": int(of_class.sum()), **row})
    return {
        "n": len(truth),
        "accuracy": paired_share(fixed, regressed),
        "fixed": int(fixed.sum()),
        "regressed": int(regressed.sum()),
        "both_right": int(((mine == truth) & (theirs == truth)).sum()),
        "both_wrong": int(((mine != truth) & (theirs != truth)).sum()),
        "p": mcnemar(int(fixed.sum()), int(regressed.sum())),
        "classes": classes,
        "matrix": _matrix_difference(new, old),
        "top2": _top2_difference(truth, new, old),
        "ece": _error_difference(new, old),
        "losses": _loss_differences(truth, new, old),
    }


def joined_names(new: EvaluationReport, old: EvaluationReport) -> list[str]:
    """The set's classes, which come first in both reports, then those that one of the models adds."""
    names = [class_names(report) for report in (new, old)]
    return max(names, key=len)


def _matrix_difference(new: EvaluationReport, old: EvaluationReport) -> list[list[int]]:
    mine, theirs = (np.array(confusion(report), int) for report in (new, old))
    side = max(len(mine), len(theirs))
    mine, theirs = (np.pad(counts, (0, side - len(counts))) for counts in (mine, theirs))
    difference: list[list[int]] = (mine - theirs).tolist()
    return difference


def changed_rows(new: EvaluationReport, old: EvaluationReport, change: str) -> NDArray[np.int64]:
    """Row numbers that the new model 'fixed' or 'broke'.

    Raises:
        NotComparable: see ``compare``.
    """
    truth, mine, theirs = _three(new, old)
    was, now = (theirs, mine) if change == "fixed" else (mine, theirs)
    return np.flatnonzero((was != truth) & (now == truth))


def paired_share(fixed: NDArray[np.bool_], regressed: NDArray[np.bool_]) -> dict[str, Any]:
    """The difference of two shares on the same images, and its interval."""
    n, gained, lost = len(fixed), int(fixed.sum()), int(regressed.sum())
    if not n:
        return {"difference": 0.0, "interval": [-1.0, 1.0]}
    difference = (gained - lost) / n
    half = 1.96 * math.sqrt(max(gained + lost - (gained - lost) ** 2 / n, 0)) / n
    return {"difference": difference, "interval": [max(-1.0, difference - half), min(1.0, difference + half)]}


def _three(
    new: EvaluationReport, old: EvaluationReport
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    (truth, mine), (their_truth, theirs) = truth_and_predicted(new), truth_and_predicted(old)
    if new.dataset_sha256 != old.dataset_sha256 or not np.array_equal(truth, their_truth):
        raise NotComparable
    return truth, mine, theirs


def _top2_difference(
    truth: NDArray[np.int64], new: EvaluationReport, old: EvaluationReport
) -> dict[str, Any]:
    """How often the right class is among the two likeliest; paired where single answers were kept."""
    difference = new.figures["top2"] - old.figures["top2"]
    try:
        both = [answers(report).probabilities.astype(np.float64) for report in (new, old)]
    except ArtifactMissing:
        return {"difference": difference, "interval": None}
    rows, labels = np.arange(len(truth)), truth
    # Fewer than two classes stand before the right one.
    mine, theirs = ((p > p[rows, labels][:, None]).sum(axis=1) < 2 for p in both)
    return {**paired_share(mine & ~theirs, theirs & ~mine), "difference": difference}


def _error_difference(new: EvaluationReport, old: EvaluationReport) -> dict[str, Any]:
    """The calibration errors' difference, with an interval as if the two were independent: too wide
    rather than too narrow, since they were measured on the same images."""
    difference = new.figures["ece"] - old.figures["ece"]
    bounds = [report.figures.get("panels", {}).get("intervals", {}).get("ece") for report in (new, old)]
    if not all(bounds):
        return {"difference": difference, "interval": None}
    half = math.hypot(*((high - low) / 2 for low, high in bounds))
    return {"difference": difference, "interval": [difference - half, difference + half]}


def _loss_differences(
    truth: NDArray[np.int64], new: EvaluationReport, old: EvaluationReport
) -> list[dict[str, Any]]:
    """Log loss and Brier score; without intervals where single answers were not kept."""
    rows = [
        {"name": key, "difference": new.figures[key] - old.figures[key], "interval": None}
        for key in ("log_loss", "brier")
    ]
    try:
        mine, theirs = (answers(report).probabilities.astype(np.float64) for report in (new, old))
    except ArtifactMissing:
        return rows
    right = [p[np.arange(len(truth)), truth] for p in (mine, theirs)]
    picked = [np.log(np.clip(chances, 1e-7, 1)) for chances in right]
    briers = [(p**2).sum(axis=1) - 2 * chances + 1 for p, chances in zip((mine, theirs), right, strict=True)]
    for row, apart in zip(rows, (picked[1] - picked[0], briers[0] - briers[1]), strict=True):
        half = 1.96 * float(apart.std()) / math.sqrt(len(apart))
        row["interval"] = [row["difference"] - half, row["difference"] + half]
    return rows
