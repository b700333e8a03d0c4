"""The layer that turns features into answers, fitted to photos and CIFAR-10's images together.

Multinomial logistic regression with a penalty on large weights, whose strength is chosen by
cross-validation over the sites that photos come from (G. King and L. Zeng, 2001, for weighing kinds of
examples; D. Wolpert, "Stacked Generalization", 1992).
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from training.engine.data.photo_set import folds
from training.engine.inference.calibration import Floats, log_loss, softmax

FOLDS = 5
# Of the photos of the classes, this share may be called none of them.
CALLED_NONE = 0.04
STRENGTHS = (1.0, 3.0, 10.0, 30.0)


@dataclass(frozen=True)
class Examples:
    """What the layer is fitted to: float [N, D] inputs, labels [N] in 0..K-1, or K for none of them."""

    inputs: Floats
    labels: NDArray[Any]


@dataclass(frozen=True)
class LastLayer:
    """Weights float32 [D, K] and bias [K] of log-odds against 'none of these', and how they were found.

    Attributes:
        strength: of the penalty, inverse as in scikit-learn's ``C``.
        held_out: float [N, K], the log-odds of each photo by a fit without its site.
    """

    weights: NDArray[np.float32]
    bias: NDArray[np.float32]
    strength: float
    held_out: Floats


def fit_last_layer(
    photos: Examples, sites: Sequence[str], plain: Examples, classes: int, block: int
) -> LastLayer:
    """Fit to photos and to plain images, either as heavy as the other in all.

    Plain images may be of the classes or made up, as examples of none of them.

    The first ``block`` inputs and the others are scaled to vary equally in sum.

    The bias is set so that 4 % of the photos of the classes, each judged by a fit without its site,
    have a score (the logarithm of the classes' odds against none) below 0.
    """
    variance = photos.inputs.var(axis=0)
    scale = np.ones(photos.inputs.shape[1])
    for part in (slice(block), slice(block, None)):
        scale[part] /= np.sqrt(variance[part].sum())
    photos, plain = (Examples(part.inputs * scale, part.labels) for part in (photos, plain))
    fold = folds(sites, FOLDS)
    tried = {strength: np.zeros((len(photos.labels), classes)) for strength in STRENGTHS}
    for number in range(FOLDS):
        out = fold == number
        kept = Examples(photos.inputs[~out], photos.labels[~out])
        for strength, (weights, bias) in _fitted(kept, plain, classes).items():
            tried[strength][out] = photos.inputs[out] @ weights + bias
    strength = min(tried, key=lambda s: _log_loss(tried[s], photos.labels))
    weights, bias = _fitted(photos, plain, classes)[strength]
    held_out = tried[strength]
    scores = np.logaddexp.reduce(held_out[photos.labels < classes], axis=1)
    shift = np.quantile(scores, CALLED_NONE)
    return LastLayer(
        (scale[:, None] * weights).astype(np.float32),
        (bias - shift).astype(np.float32),
        strength,
        held_out - shift,
    )


def _log_loss(log_odds: Floats, labels: NDArray[Any]) -> float:
    """Mean over all photos, in nats, with none as one more class."""
    return log_loss(softmax(np.pad(log_odds, ((0, 0), (0, 1)))), labels)


def _fitted(
    photos: Examples, plain: Examples, classes: int
) -> dict[float, tuple[NDArray[np.float32], NDArray[np.float32]]]:
    """Weights [D, K] and bias [K] of the log-odds, for each strength."""
    inputs = np.concatenate([photos.inputs, plain.inputs]).astype(np.float32)
    labels = np.concatenate([photos.labels, plain.labels])
    counts = [len(part.labels) for part in (photos, plain)]
    heavy = np.repeat([len(labels) / 2 / count for count in counts], counts)
    model = LogisticRegression(max_iter=200, tol=1e-3, warm_start=True)
    found = {}
    for strength in STRENGTHS:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # so many steps come near enough
            model.set_params(C=strength).fit(inputs, labels, sample_weight=heavy)
        none = int(np.flatnonzero(model.classes_ == classes)[0])
        kept = np.delete(np.arange(classes + 1), none)
        found[strength] = (
            (model.coef_[kept] - model.coef_[none]).T,
            model.intercept_[kept] - model.intercept_[none],
        )
    return found
