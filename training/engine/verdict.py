"""Recognised, unsure or none of the ten: what may be said about an image.

Source of the energy score: W. Liu et al., "Energy-based Out-of-distribution Detection", 2020.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.engine import calibration
from training.engine.calibration import Floats

RECOGNISED, UNSURE, NONE_OF_THE_TEN = "recognised", "unsure", "none_of_the_ten"
COVERAGE = 0.95
FALSE_ALARMS = 0.05


@dataclass(frozen=True)
class Judge:
    """Temperature and thresholds, all from validation data.

    Attributes:
        temperature: divides the logits.
        set_threshold: see ``calibration.label_sets``.
        score_threshold: an image that scores below is none of the ten.
    """

    temperature: float = 1.0
    set_threshold: float = 0.5
    score_threshold: float = -np.inf

    @classmethod
    def fit(cls, features: Floats, logits: Floats, labels: NDArray[Any]) -> Judge:
        """Choose temperature and thresholds on images that the model was not trained on.

        Args:
            features: float [N, D]; logits: float [N, 10]; labels: [N] in 0..9.
        """
        temperature = calibration.fit_temperature(logits, labels)
        probabilities = calibration.softmax(logits, temperature)
        scores = cls().scores(features, logits)
        return cls(
            temperature=temperature,
            set_threshold=calibration.conformal_threshold(probabilities, labels, COVERAGE),
            score_threshold=float(np.quantile(scores, FALSE_ALARMS)),
        )

    @classmethod
    def from_card(cls, settings: dict[str, Any]) -> Judge:
        return cls(**settings)

    def settings(self) -> dict[str, float]:
        return asdict(self)

    def scores(self, features: Floats, logits: Floats) -> NDArray[np.float64]:
        """How much each image is like the ten classes: the negative energy, in nats."""
        top = logits.max(axis=1)
        return np.asarray(top + np.log(np.exp(logits - top[:, None]).sum(axis=1)), np.float64)

    def verdicts(self, probabilities: Floats, scores: Floats) -> tuple[list[str], NDArray[np.bool_]]:
        sets = calibration.label_sets(probabilities, self.set_threshold)
        foreign = scores < self.score_threshold
        single = sets.sum(axis=1) == 1
        verdicts = np.where(foreign, NONE_OF_THE_TEN, np.where(single, RECOGNISED, UNSURE))
        return verdicts.tolist(), sets
