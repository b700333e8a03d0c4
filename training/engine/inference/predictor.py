"""A model, loaded once, that answers batches of any size with the same figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from training.engine.data.cifar10 import CLASS_NAMES
from training.engine.inference.model_file_check import check_model_file
from training.engine.inference.verdict import DecisionPolicy, ood_penalty
from training.engine.training import devices

# Fixed sizes, so that TensorFlow prepares each once; a batch is padded to the next. The time of a batch
# grows with its images: in coarser steps most of it would go into the padding.
BATCH_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
# What a processor classifies at once. More is no faster and takes memory: 256 images of 224x224 take 3.1 GB
# for photo_net's process, 16 take 0.8, at 6.6 ms an image both.
CPU_PIXELS = 1_000_000


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
    """Loads a ``.keras`` file; ``predict`` may be called with any number of images.

    Args:
        path: a file whose hash the caller has checked: only this site's own files.
        judge: calibration and thresholds of the model's card; None: uncalibrated, no verdict
            but by the plain softmax.
        classes: names of its K outputs; None: CIFAR-10's where it has ten, numbers where it has not.

    Raises:
        UnsafeModelFile: it asks for what no model of this site needs.
        ValueError: it has other outputs than one a class.
    """

    def __init__(
        self, path: str | Path, judge: DecisionPolicy | None = None, classes: Sequence[str] | None = None
    ) -> None:
        check_model_file(path)
        self._on_gpu = devices.prepare() > 0
        model = keras.models.load_model(path, compile=False, safe_mode=True)
        self.judge = judge or DecisionPolicy()
        self.input_shape: tuple[int, int, int] = tuple(model.input_shape[1:])
        self.classes = _names(classes, int(model.outputs[0].shape[-1]))
        self.batch_sizes = self._sizes()
        features = model.get_layer("features").output
        self.network = keras.Model(model.inputs, [features, model.outputs[0]])
        # The report's network ends in a softmax; its logarithm serves as logits.
        self.ends_in_softmax = model.layers[-1].name == "probabilities"
        signature = [tf.TensorSpec((None, *self.input_shape), tf.uint8)]
        self._forward = tf.function(self.run, input_signature=signature, reduce_retracing=True)

    def _sizes(self) -> tuple[int, ...]:
        if self._on_gpu:
            return BATCH_SIZES
        height, width, _channels = self.input_shape
        return tuple(size for size in BATCH_SIZES if size == 1 or size * height * width <= CPU_PIXELS)

    def warm_up(self) -> None:
        """Prepare what the first answer would wait for: of each size on a GPU, where cuDNN chooses anew."""
        for size in self.batch_sizes if self._on_gpu else self.batch_sizes[:1]:
            self.forward(np.zeros((size, *self.input_shape), np.uint8))

    def run(self, images: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Features and logits of images in 0..255, as tensors, for other programs to be made of it."""
        features, outputs = self.network(tf.cast(images, tf.float32), training=False)
        features = tf.reshape(features, (tf.shape(features)[0], -1))
        if self.ends_in_softmax:
            outputs = tf.math.log(tf.maximum(outputs, 1e-30))
        return features, outputs

    def forward(self, images: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Features float32 [N, D] and logits float32 [N, K] of uint8 [N, H, W, 3] images."""
        if images.ndim != 4 or images.shape[1:] != self.input_shape or images.dtype != np.uint8:
            raise ValueError(
                f"Expected uint8 (N, {', '.join(map(str, self.input_shape))}), "
                f"got {images.dtype} {images.shape}."
            )
        most = self.batch_sizes[-1]
        parts = [self._padded(images[i : i + most]) for i in range(0, len(images), most)]
        return np.concatenate([f for f, _ in parts]), np.concatenate([o for _, o in parts])

    def _padded(self, images: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        size = next(s for s in self.batch_sizes if s >= len(images))
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
