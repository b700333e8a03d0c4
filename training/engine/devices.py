"""Use what the host has: one CPU, one GPU, several GPUs, several hosts.

On a GPU: memory is taken as needed, layers compute in float16 with float32 weights, and XLA
compiles. Never on a CPU, where both were measured to cost time.
"""

from __future__ import annotations

import os
from typing import Any

import keras
import tensorflow as tf


def prepare(hosts: bool = True) -> tf.distribute.Strategy | None:
    """Set up this process for training; call it before any tensor is made.

    Args:
        hosts: heed ``TF_CONFIG``. A job of the site belongs to one host alone: False.

    Returns:
        What to give to ``fit(strategy=...)``: MultiWorkerMirroredStrategy where ``TF_CONFIG``
        names several hosts, MirroredStrategy where there are several GPUs, else None.
    """
    gpus = tf.config.list_physical_devices("GPU")
    for gpu in gpus:
        tf.config.experimental.set_memory_growth(gpu, True)
    if gpus:
        keras.mixed_precision.set_global_policy("mixed_float16")
        tf.config.optimizer.set_jit(True)
    if hosts and os.environ.get("TF_CONFIG"):
        return Hosts()
    if len(gpus) > 1:
        return tf.distribute.MirroredStrategy()
    return None


class Hosts(tf.distribute.MultiWorkerMirroredStrategy):  # type: ignore[misc]
    """Several hosts, one replica each, as Keras' ``fit`` needs it.

    Keras 3 averages its metrics over axis 0, which scalars do not have, so its ``fit`` fails on
    more than one host: https://github.com/keras-team/keras/issues/20585
    """

    def reduce(self, reduce_op: Any, value: Any, axis: int | None = None) -> Any:
        results = self.experimental_local_results(value)
        return super().reduce(reduce_op, value, axis=axis if results[0].shape.rank else None)


def is_chief() -> bool:
    """Whether this process writes checkpoints and rows; False for the other workers of ``TF_CONFIG``."""
    resolver = tf.distribute.cluster_resolver.TFConfigClusterResolver()
    return not os.environ.get("TF_CONFIG") or resolver.task_id == 0
