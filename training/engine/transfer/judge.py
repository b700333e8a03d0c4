"""Calibration and thresholds from little data: cross-validated answers, and a guard against sure promises.

Sources: J. Platt, "Probabilistic Outputs for Support Vector Machines", 1999 (targets that leave room for an
error not seen yet); see ``training.engine.inference.calibration`` and ``.verdict``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.engine.inference import calibration
from training.engine.inference.calibration import Calibration, Floats, softmax
from training.engine.inference.verdict import COVERAGE, ENERGY_AND_LOOKS, FALSE_ALARMS, DecisionPolicy

# Of fewer images, the confidence is not bent, only its temperature fitted.
BENT_FROM = 1_000
# From here on, sets keep their promise with 95 % certainty; of fewer images such sets would hold every
# class, so there the promise holds on average.
CERTAIN_FROM = 500
TEMPERATURES = np.geomspace(0.05, 20, 400)


def fit_judge(logits: Floats, labels: NDArray[Any], penalty: Floats) -> DecisionPolicy:
    """Choose calibration and thresholds.

    Args:
        logits: float [N, K] of images that the head was not fitted to; labels: [N].
        penalty: [N], see ``verdict.ood_penalty``.
    """
    if len(labels) >= BENT_FROM:
        fitted = Calibration.fit(logits, labels)
    else:
        fitted = Calibration(temperature=careful_temperature(logits, labels))
    chances = fitted.probabilities(logits)
    certainty = 0.95 if len(labels) >= CERTAIN_FROM else 0.5
    scores = DecisionPolicy(score_kind=ENERGY_AND_LOOKS).scores(logits, penalty)
    return DecisionPolicy(
        set_threshold=calibration.conformal_threshold(chances, labels, COVERAGE, certainty),
        score_threshold=float(np.quantile(scores, FALSE_ALARMS)),
        score_kind=ENERGY_AND_LOOKS,
        **fitted.settings(),
    )


def careful_temperature(logits: Floats, labels: NDArray[Any]) -> float:
    """The temperature with the least log loss, were one more image right by chance alone.

    That one is worth what a guess is: its loss is that of the answers' mean over all classes. Without it,
    fifty right answers would count as proof that no answer is ever wrong.
    """
    rows, weight = np.arange(len(labels)), 1 / (len(labels) + 2)

    def loss(temperature: float) -> float:
        logs = np.log(np.clip(softmax(logits, temperature), 1e-12, 1))
        return float(((1 - weight) * -logs[rows, labels] + weight * -logs.mean(axis=1)).mean())

    return float(min(TEMPERATURES, key=loss))
