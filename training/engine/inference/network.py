"""A model's network, ready to answer: on a GPU in TensorFlow, on a processor in LiteRT.

LiteRT takes a third to a half of TensorFlow's time on a processor, and neither its second to start nor its
500 MB; answers differ by less than 0.0001. It is made of the same ``.keras`` file
(``keras_network.KerasNetwork.to_litert``).
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray

Outputs = tuple[NDArray[np.float32], NDArray[np.float32]]
# What an NVIDIA driver gives programs; the second under WSL. TensorFlow knows for sure, but takes seconds.
GPU_DEVICES = ("/dev/nvidiactl", "/dev/dxg")
# What LiteRT is given at once: four images of 224x224, whose intermediate values the caches nearly hold.
# Sixteen take a fifth longer each.
PIXELS_AT_ONCE = 4 * 224 * 224
IMAGES_AT_ONCE = 64
# The small layers of one image keep no more threads busy.
MOST_THREADS = 8


class Network:
    """Answers batches of any size with the same figures.

    Attributes:
        input_shape: height, width and channels of an image.
        outputs: how many classes it tells apart.
        images_at_once: a larger batch is answered in parts of so many.
    """

    input_shape: tuple[int, int, int]
    outputs: int
    images_at_once: int

    def warm_up(self) -> None:
        """Prepare what the first answer would wait for."""
        self.forward(np.zeros((1, *self.input_shape), np.uint8))

    def forward(self, images: NDArray[np.uint8]) -> Outputs:
        """Features float32 [N, D] and logits float32 [N, K] of uint8 [N, H, W, 3] images, N >= 1.

        Raises:
            ValueError: another shape or dtype.
        """
        if images.ndim != 4 or images.shape[1:] != self.input_shape or images.dtype != np.uint8:
            raise ValueError(
                f"Expected uint8 (N, {', '.join(map(str, self.input_shape))}), "
                f"got {images.dtype} {images.shape}."
            )
        most = self.images_at_once
        parts = [self._forward(images[i : i + most]) for i in range(0, len(images), most)]
        return np.concatenate([f for f, _ in parts]), np.concatenate([o for _, o in parts])

    def _forward(self, images: NDArray[np.uint8]) -> Outputs:
        raise NotImplementedError


class LiteRTNetwork(Network):
    """What ``KerasNetwork.to_litert`` made, on this machine's processor.

    Args:
        content: its bytes; only what this site has made.

    Raises:
        ValueError: they are no network.
    """

    def __init__(self, content: bytes) -> None:
        self.content = content
        self._interpreter = Interpreter(model_content=content, num_threads=_threads())
        self._interpreter.allocate_tensors()
        (image,) = self._interpreter.get_input_details()
        features, logits = self._interpreter.get_output_details()
        self._places = image["index"], features["index"], logits["index"]
        self._prepared = 1
        # An interpreter answers one caller at a time.
        self._lock = threading.Lock()
        height, width, channels = (int(size) for size in image["shape"][1:])
        self.input_shape = (height, width, channels)
        self.outputs = int(logits["shape_signature"][-1])
        self.images_at_once = min(max(1, PIXELS_AT_ONCE // (height * width)), IMAGES_AT_ONCE)

    def _forward(self, images: NDArray[np.uint8]) -> Outputs:
        image, features, logits = self._places
        with self._lock:
            if len(images) != self._prepared:
                self._interpreter.resize_tensor_input(image, images.shape)
                self._interpreter.allocate_tensors()
                self._prepared = len(images)
            self._interpreter.set_tensor(image, images)
            self._interpreter.invoke()
            return self._interpreter.get_tensor(features), self._interpreter.get_tensor(logits)


def load_network(path: str | Path, litert: Callable[[], bytes] | None = None) -> Network:
    """The network of a ``.keras`` file, where this machine answers fastest.

    Args:
        path: a file whose hash the caller has checked: only this site's own files.
        litert: what it was converted to before, for a processor; None: it is converted now.

    Raises:
        UnsafeModelFile: it asks for what no model of this site needs.
        ValueError: it cannot be converted.
    """
    if may_have_gpu() or litert is None:
        from training.engine.inference.keras_network import KerasNetwork

        network = KerasNetwork(path)
        if network.on_gpu:
            return network
        litert = litert or network.to_litert
    return LiteRTNetwork(litert())


def may_have_gpu() -> bool:
    """Whether it is worth asking TensorFlow for one."""
    if os.environ.get("CUDA_VISIBLE_DEVICES") == "-1":
        return False
    return any(Path(name).exists() for name in GPU_DEVICES)


def _threads() -> int:
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS and Windows
        cores = os.cpu_count() or 1
    return min(cores, MOST_THREADS)
