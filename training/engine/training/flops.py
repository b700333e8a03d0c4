"""Floating-point operations, counted from the layers: a multiplication and an addition are two.

Convolutions and dense layers are counted; what goes over each activation once (pooling,
normalisation, activation functions) is left out: below 2 % in these networks.
"""

from __future__ import annotations

import math

import keras

# A training step costs the forward pass and two backward ones (to inputs and to weights).
TRAINING_FACTOR = 3


def forward_flops(model: keras.Model, side: int | None = None) -> int:
    """FLOPs of one image's forward pass.

    Args:
        side: height and width of the image; None: the model's input size.
    """
    if side is not None:
        model = keras.models.clone_model(model, input_tensors=keras.Input((side, side, 3)))
    return sum(_layer_flops(layer) for layer in model._flatten_layers() if not isinstance(layer, keras.Model))


def _layer_flops(layer: keras.layers.Layer) -> int:
    if isinstance(layer, keras.layers.Dense):
        return int(2 * math.prod(layer.kernel.shape))
    if isinstance(layer, keras.layers.DepthwiseConv2D | keras.layers.Conv2D):
        height, width = layer.output.shape[1:3]
        return int(2 * math.prod(layer.kernel.shape) * height * width)
    return 0
