"""A model, loaded once, that answers batches of any size with the same figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.engine.data.cifar10 import CLASS_NAMES
from training.engine.inference.network import Network, Outputs, load_network
from training.engine.inference.verdict import DecisionPolicy, ood_penalty


@dataclass(frozen=True)
class Answers:
    """One row an image.

    Attributes:
        probabilities: float64 [N, K], calibrated, each row sums to 1.
        features: float32 [N, D], the layer before the last.
        verdicts: 'recognised', 'unsure' or 'unknown'.
        sets: bool [N, K], the labels that together hold the right one in 95 %.
        scores: float64 [N], how much the image is like the classes; higher is more.
        settings: calibration and thresholds that were used.
        classes: names of the K classes, in the order of the columns.
    """

    probabilities: NDArray[np.float64]
    features: NDArray[np.float32]
    verdicts: list[str]
    sets: NDArray[np.bool_]
    scores: NDArray[np.float64]
    settings: dict[str, Any] = field(default_factory=dict)
    classes: tuple[str, ...] = CLASS_NAMES

    def provenance(self, number: int) -> dict[str, Any]:
        """What answer ``number`` was made with, JSON-able."""
        return {
            **self.settings,
            "score": round(float(self.scores[number]), 6),
            "labels": [name for name, kept in zip(self.classes, self.sets[number], strict=True) if kept],
        }


class Predictor:
    """Loads a model; ``predict`` may be called with any number of images.

    Args:
        model: a ``.keras`` file, see ``load_network``, or its network.
        judge: calibration and thresholds of the model's card; None: uncalibrated, no verdict
            but by the plain softmax.
        classes: names of its K outputs; None: CIFAR-10's where it has ten, numbers where it has not.

    Raises:
        UnsafeModelFile: it asks for what no model of this site needs.
        ValueError: it has other outputs than one a class, or cannot be converted.
    """

    def __init__(
        self,
        model: str | Path | Network,
        judge: DecisionPolicy | None = None,
        classes: Sequence[str] | None = None,
    ) -> None:
        self.network = model if isinstance(model, Network) else load_network(model)
        self.judge = judge or DecisionPolicy()
        self.input_shape = self.network.input_shape
        self.classes = _names(classes, self.network.outputs)

    def forward(self, images: NDArray[np.uint8]) -> Outputs:
        """Features float32 [N, D] and logits float32 [N, K] of uint8 [N, H, W, 3] images, N >= 1.

        Raises:
            ValueError: another shape or dtype.
        """
        return self.network.forward(images)

    def predict(self, images: NDArray[np.uint8]) -> Answers:
        """Answer uint8 [N, H, W, 3] images, N >= 1, of this model's input size.

        Raises:
            ValueError: another shape or dtype.
        """
        features, logits = self.forward(images)
        probabilities = self.judge.calibration.probabilities(logits)
        scores = self.judge.scores(logits, ood_penalty(images))
        verdicts, sets = self.judge.verdicts(probabilities, scores)
        return Answers(probabilities, features, verdicts, sets, scores, self.judge.settings(), self.classes)


def _names(classes: Sequence[str] | None, outputs: int) -> tuple[str, ...]:
    if classes is None:
        return CLASS_NAMES if outputs == len(CLASS_NAMES) else tuple(map(str, range(outputs)))
    if len(classes) != outputs:
        raise ValueError(
            f"The model has {outputs:,} outputs, and its card names {len(classes):,} classes: "
            "use the card that was made with this file."
        )
    return tuple(classes)
