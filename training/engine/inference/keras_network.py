"""A ``.keras`` file in TensorFlow: ``python -m training.engine.inference.keras_network MODEL OUT``

writes to OUT what LiteRT answers with. A process of its own, so that a prediction worker on a processor never
holds TensorFlow.
"""

from __future__ import annotations

import sys
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from training.engine.inference.model_file_check import check_model_file
from training.engine.inference.network import IMAGES_AT_ONCE, Network, Outputs
from training.engine.training import devices

# Fixed sizes, so that TensorFlow and cuDNN prepare each once; a batch is padded to the next. The time of a
# batch grows with its images: in coarser steps most of it would go into the padding.
BATCH_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class KerasNetwork(Network):
    """Loads a ``.keras`` file.

    Args:
        path: a file whose hash the caller has checked: only this site's own files.

    Raises:
        UnsafeModelFile: it asks for what no model of this site needs.
        ValueError: Keras cannot load it.

    Attributes:
        model: from images in 0..255 to features and outputs.
        ends_in_softmax: its outputs are probabilities, as the report's network has them; their logarithm
            serves as logits.
    """

    def __init__(self, path: str | Path) -> None:
        check_model_file(path)
        self.on_gpu = devices.prepare() > 0
        model = keras.models.load_model(path, compile=False, safe_mode=True)
        features = model.get_layer("features").output
        self.model = keras.Model(model.inputs, [features, model.outputs[0]])
        self.input_shape = tuple(model.input_shape[1:])
        self.outputs = int(model.outputs[0].shape[-1])
        self.images_at_once = BATCH_SIZES[-1] if self.on_gpu else IMAGES_AT_ONCE
        self.ends_in_softmax = model.layers[-1].name == "probabilities"
        signature = [tf.TensorSpec((None, *self.input_shape), tf.uint8)]
        self._compiled = tf.function(self.run, input_signature=signature, reduce_retracing=True)

    def warm_up(self) -> None:
        """On a GPU cuDNN chooses anew for each size."""
        for size in BATCH_SIZES if self.on_gpu else BATCH_SIZES[:1]:
            self.forward(np.zeros((size, *self.input_shape), np.uint8))

    def run(self, images: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Features and logits of images in 0..255, as tensors."""
        features, outputs = self.model(tf.cast(images, tf.float32), training=False)
        features = tf.reshape(features, (tf.shape(features)[0], -1))
        if self.ends_in_softmax:
            outputs = tf.math.log(tf.maximum(outputs, 1e-30))
        return features, outputs

    def to_litert(self) -> bytes:
        """The same from uint8 [N, H, W, 3] images, as a TFLite flatbuffer in float32.

        Raises:
            ValueError: a layer has no counterpart there; the message says which.
        """
        made = self._compiled.get_concrete_function()
        try:
            content: bytes = tf.lite.TFLiteConverter.from_concrete_functions([made], self).convert()
        except Exception as error:  # whatever the converter makes of a layer that it does not know
            text = str(error).strip().splitlines() or [type(error).__name__]
            raise ValueError(f"The network cannot be converted for LiteRT: {text[0][:300]}") from error
        return content

    def _forward(self, images: NDArray[np.uint8]) -> Outputs:
        size = next(s for s in BATCH_SIZES if s >= len(images))
        padding = np.zeros((size - len(images), *images.shape[1:]), np.uint8)
        features, logits = self._compiled(np.concatenate([images, padding]))
        return features.numpy()[: len(images)], logits.numpy()[: len(images)]


def main() -> int:
    model, out = map(Path, sys.argv[1:])
    try:
        out.write_bytes(KerasNetwork(model).to_litert())
    except (OSError, ValueError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
