"""A model, loaded once, that answers batches of any size with the same figures."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from training.engine.data import CLASS_NAMES
from training.engine.model_files import check_model_file
from training.engine.verdict import Judge, oddness

# Fixed sizes, so that TensorFlow prepares each once; a batch is padded to the next. The time of a batch
# grows with its images: in coarser steps most of it would go into the padding.
BATCH_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)


@dataclass(frozen=True)
class Answers:
    """One row an image.

    Attributes:
        probabilities: float64 [N, 10], calibrated, each row sums to 1.
        features: float32 [N, D], the layer before the last.
        verdicts: 'recognised', 'unsure' or 'none_of_the_ten'.
        sets: bool [N, 10], the labels that together hold the right one in 95 %.
        scores: float64 [N], how much the image is like the ten classes; higher is more.
        settings: calibration and thresholds that were used.
    """

    probabilities: NDArray[np.float64]
    features: NDArray[np.float32]
    verdicts: list[str]
    sets: NDArray[np.bool_]
    scores: NDArray[np.float64]
    settings: dict[str, Any] = field(default_factory=dict)

    def receipt(self, number: int) -> dict[str, Any]:
        """What answer ``number`` was made with, JSON-able."""
        return {
            **self.settings,
            "score": round(float(self.scores[number]), 6),
            "labels": [name for name, kept in zip(CLASS_NAMES, self.sets[number], strict=True) if kept],
        }


class Predictor:
    """Loads a ``.keras`` file; ``predict`` may be called with any number of images.

    Args:
        path: a file whose hash the caller has checked: only this site's own files.
        judge: calibration and thresholds of the model's card; None: uncalibrated, no verdict
            but by the plain softmax.

    Raises:
        UnsafeModelFile: it asks for what no model of this site needs.
    """

    def __init__(self, path: str | Path, judge: Judge | None = None) -> None:
        check_model_file(path)
        model = keras.models.load_model(path, compile=False, safe_mode=True)
        self.judge = judge or Judge()
        self.input_shape: tuple[int, int, int] = tuple(model.input_shape[1:])
        features = model.get_layer("features").output
        self._model = keras.Model(model.inputs, [features, model.outputs[0]])
        # The report's network ends in a softmax; its logarithm serves as logits.
        self._ends_in_softmax = model.layers[-1].name == "probabilities"
        signature = [tf.TensorSpec((None, *self.input_shape), tf.uint8)]
        self._forward = tf.function(self._run, input_signature=signature, reduce_retracing=True)

    def warm_up(self) -> None:
        """Compile for one image, so that the first person does not wait for it."""
        self.forward(np.zeros((1, *self.input_shape), np.uint8))

    def _run(self, images: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        features, outputs = self._model(tf.cast(images, tf.float32), training=False)
        features = tf.reshape(features, (tf.shape(features)[0], -1))
        if self._ends_in_softmax:
            outputs = tf.math.log(tf.maximum(outputs, 1e-30))
        return features, outputs

    def forward(self, images: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Features float32 [N, D] and logits float32 [N, 10] of uint8 [N, H, W, 3] images."""
        if images.ndim != 4 or images.shape[1:] != self.input_shape or images.dtype != np.uint8:
            raise ValueError(
                f"Expected uint8 (N, {', '.join(map(str, self.input_shape))}), "
                f"got {images.dtype} {images.shape}."
            )
        parts = [
            self._padded(images[i : i + BATCH_SIZES[-1]]) for i in range(0, len(images), BATCH_SIZES[-1])
        ]
        return np.concatenate([f for f, _ in parts]), np.concatenate([o for _, o in parts])

    def _padded(self, images: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        size = next(s for s in BATCH_SIZES if s >= len(images))
        padding = np.zeros((size - len(images), *images.shape[1:]), np.uint8)
        features, logits = self._forward(np.concatenate([images, padding]))
        return features.numpy()[: len(images)], logits.numpy()[: len(images)]

    def predict(self, images: NDArray[np.uint8]) -> Answers:
        """Answer uint8 [N, H, W, 3] images, N >= 1, of this model's input size.

        Raises:
            ValueError: another shape or dtype.
        """
        features, logits = self.forward(images)
        probabilities = self.judge.calibration.probabilities(logits)
        scores = self.judge.scores(logits, oddness(images))
        verdicts, sets = self.judge.verdicts(probabilities, scores)
        return Answers(probabilities, features, verdicts, sets, scores, self.judge.settings())
