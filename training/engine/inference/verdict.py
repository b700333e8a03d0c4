"""Recognised, unsure or unknown, which is none of the classes: what may be said about an image.

Sources: W. Liu et al., "Energy-based Out-of-distribution Detection", 2020 (the score);
M. Sadinle et al., 2019 (label sets, see ``training.engine.inference.calibration``).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.engine.inference import calibration
from training.engine.inference.calibration import Calibration, Floats

RECOGNISED, UNSURE, UNKNOWN = "recognised", "unsure", "unknown"
VERDICTS = (RECOGNISED, UNSURE, UNKNOWN)
COVERAGE = 0.95
FALSE_ALARMS = 0.05
# How an image's score is made; a card says which.
ENERGY, ENERGY_AND_LOOKS = "energy", "energy-looks-v1"
# Photos have neighbours that resemble each other, noise and print have not; photos have some detail,
# plain colours have none. Chosen on 2,500 validation images and on 137 photos that were set apart for
# choosing: of the validation images 0.5 % at 32 pixels and none at 128 fall below the first, 0.5 % at most
# below the second; of the photos one at 32 pixels falls below the first and none below the second.
LEAST_LIKENESS, LIKENESS_WEIGHT = 0.65, 10.0
LEAST_DETAIL, DETAIL_WEIGHT = 2.5, 1.0
DETAIL_SIDE = 32


@dataclass(frozen=True)
class DecisionPolicy:
    """Calibration and thresholds, all from validation data.

    Attributes:
        temperature, rise, fall, shift: see ``calibration.Calibration.settings``.
        set_threshold: see ``calibration.label_sets``.
        score_threshold: an image that scores below is none of the classes.
        score_kind: which score, ``ENERGY`` or ``ENERGY_AND_LOOKS``.
    """

    temperature: float = 1.0
    set_threshold: float = 0.5
    score_threshold: float = -np.inf
    rise: float = 1.0
    fall: float = 1.0
    shift: float = 0.0
    score_kind: str = ENERGY

    @classmethod
    def fit(
        cls, logits: Floats, labels: NDArray[Any], ood_penalty: Floats, knows_none: bool = False
    ) -> DecisionPolicy:
        """Choose calibration and thresholds on images that the model was not trained on.

        Args:
            logits: float [N, K]; labels: [N] in 0..K-1.
            ood_penalty: float [N], of the inputs, see ``ood_penalty``.
            knows_none: the logits are set against one for 'none of these', as ``Recipe.knows_none`` says:
                an image is none of them where that one outweighs the others together, below a score of 0.
        """
        fitted = Calibration.fit(logits, labels)
        probabilities = fitted.probabilities(logits)
        scores = cls(score_kind=ENERGY_AND_LOOKS).scores(logits, ood_penalty)
        return cls(
            set_threshold=calibration.conformal_threshold(probabilities, labels, COVERAGE),
            score_threshold=0.0 if knows_none else float(np.quantile(scores, FALSE_ALARMS)),
            score_kind=ENERGY_AND_LOOKS,
            **fitted.settings(),
        )

    @classmethod
    def from_card(cls, settings: dict[str, Any]) -> DecisionPolicy:
        """An older card has fewer settings: its model answers as it did."""
        return cls(**settings)

    def settings(self) -> dict[str, Any]:
        return asdict(self)

    @property
    def calibration(self) -> Calibration:
        return Calibration(self.temperature, self.rise, self.fall, self.shift)

    def scores(self, logits: Floats, ood_penalty: Floats) -> NDArray[np.float64]:
        """How much each image is like the classes, in nats: the negative energy, less its ood_penalty."""
        wide = logits.astype(np.float64)
        top = wide.max(axis=1)
        energy = np.asarray(top + np.log(np.exp(wide - top[:, None]).sum(axis=1)))
        return energy if self.score_kind == ENERGY else energy - ood_penalty

    def verdicts(self, probabilities: Floats, scores: Floats) -> tuple[list[str], NDArray[np.bool_]]:
        """Each image's verdict, and its labels as bool [N, K]."""
        sets = calibration.label_sets(probabilities, self.set_threshold)
        foreign = scores < self.score_threshold
        single = sets.sum(axis=1) == 1
        verdicts = np.where(foreign, UNKNOWN, np.where(single, RECOGNISED, UNSURE))
        return verdicts.tolist(), sets


def ood_penalty(inputs: NDArray[np.uint8]) -> NDArray[np.float64]:
    """How little each input looks like a photo of anything: 0 for nearly every photo.

    Args:
        inputs: uint8 [N, H, W, 3], as a model gets them.

    Returns:
        float64 [N], in nats: the shortfall of likeness and of detail, weighed.
    """
    grey = inputs @ np.array([0.299, 0.587, 0.114])
    shortfall = LIKENESS_WEIGHT * np.maximum(0, LEAST_LIKENESS - _likeness(grey))
    return np.asarray(shortfall + DETAIL_WEIGHT * np.maximum(0, LEAST_DETAIL - _detail(grey)))


def _likeness(grey: NDArray[np.float64]) -> NDArray[np.float64]:
    """Correlation of neighbouring pixels: 1 where all is smooth, 0 in noise."""
    across = (np.diff(grey, axis=2) ** 2).mean(axis=(1, 2))
    down = (np.diff(grey, axis=1) ** 2).mean(axis=(1, 2))
    spread = np.maximum(grey.var(axis=(1, 2)), 1.0)
    return np.asarray(1 - (across + down) / (4 * spread))


def _detail(grey: NDArray[np.float64]) -> NDArray[np.float64]:
    """Grey levels that are lost by halving, at about 32x32 pixels."""
    factor = max(1, min(grey.shape[1:]) // DETAIL_SIDE)
    small = _shrunk(grey, factor)
    halved = _shrunk(small, 2)
    restored = halved.repeat(2, axis=1).repeat(2, axis=2)
    kept = small[:, : restored.shape[1], : restored.shape[2]]
    return np.asarray(np.abs(kept - restored).mean(axis=(1, 2)))


def _shrunk(grey: NDArray[np.float64], factor: int) -> NDArray[np.float64]:
    """Means of ``factor`` times ``factor`` pixels; what is left over at the edges is cut away."""
    height, width = (side // factor for side in grey.shape[1:])
    cut = grey[:, : height * factor, : width * factor]
    return np.asarray(cut.reshape(len(grey), height, factor, width, factor).mean(axis=(2, 4)))
