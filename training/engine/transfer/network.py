"""One Keras model of the body and the head: images in, logits out."""

from __future__ import annotations

from typing import Any

import numpy as np

from training.engine.transfer.head import NEARNESS, Head


def joined(body: Any, head: Head) -> Any:
    """Images float32 [N, 224, 224, 3] in 0..255 to logits [N, K]; the layer ``features`` has D features.

    Args:
        body: images to features [N, D], its last layer named ``features``.
    """
    import keras
    from keras import layers, ops

    features = body.outputs[0]
    centred = layers.Normalization(mean=head.mean, variance=np.ones_like(head.mean), name="centred")(
        ops.sqrt(features)
    )
    classifier = layers.Dense(head.kernel.shape[1], dtype="float32", name="classifier")
    neighbours = layers.Dense(head.bank.shape[1], use_bias=False, dtype="float32", name="neighbours")
    similar = neighbours(layers.UnitNormalization(name="direction")(centred))
    nearest = ops.max(similar, axis=-1, keepdims=True)
    nearness = layers.Rescaling(NEARNESS, dtype="float32", name="nearness")(nearest)
    logits = layers.Add(dtype="float32", name="logits")([classifier(centred), nearness])
    model = keras.Model(body.inputs, logits, name="transfer")
    classifier.set_weights([head.kernel, head.bias])
    neighbours.set_weights([head.bank])
    return model
