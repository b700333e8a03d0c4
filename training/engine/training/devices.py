"""Use what the host has: one CPU, one GPU, several GPUs.

Each process that loads TensorFlow passes through here before it makes a tensor, so that a worker that
predicts and a run that trains share a card.
"""

from __future__ import annotations

import logging
import os
from functools import cache

import keras
import tensorflow as tf

logger = logging.getLogger(__name__)
# MiB of each card that this process may take; 0 or nothing: as much as it needs.
MEMORY_VARIABLE = "GPU_MEMORY_MB"


@cache
def prepare() -> int:
    """Set up this process's GPUs, once; return how many there are.

    Memory is taken as it is needed, or, where ``GPU_MEMORY_MB`` is set, that much and no more. Products
    of float32 stay float32: the shortened TF32 lets an image's answer depend on its batch.
    """
    gpus = tf.config.list_physical_devices("GPU")
    megabytes = int(os.environ.get(MEMORY_VARIABLE) or 0)
    try:
        for gpu in gpus:
            if megabytes:
                limit = tf.config.LogicalDeviceConfiguration(memory_limit=megabytes)
                tf.config.set_logical_device_configuration(gpu, [limit])
            else:
                tf.config.experimental.set_memory_growth(gpu, True)
    except RuntimeError:
        logger.warning(
            "TensorFlow has taken the GPU already, so its memory is not shared: prepare() comes first."
        )
    if gpus:
        tf.config.experimental.enable_tensor_float_32_execution(False)
    return len(gpus)


def prepare_training() -> tf.distribute.Strategy | None:
    """Set up this process for training: on GPUs, layers compute in float16 with float32 weights.

    Returns:
        What to give to ``fit(strategy=...)``: MirroredStrategy where there are several GPUs, else None.
    """
    gpus = prepare()
    if gpus:
        keras.mixed_precision.set_global_policy("mixed_float16")
    return tf.distribute.MirroredStrategy() if gpus > 1 else None


def main() -> None:
    """Print what TensorFlow sees, and whether a card computes."""
    build = tf.sysconfig.get_build_info()
    cuda, cudnn = (build.get(name, "none") for name in ("cuda_version", "cudnn_version"))
    print(f"TensorFlow {tf.__version__}, built for CUDA {cuda}, cuDNN {cudnn}")
    if not prepare():
        print("No GPU: TensorFlow computes on the CPU. docs/gpu.md says what a GPU host needs.")
    for number, gpu in enumerate(tf.config.list_physical_devices("GPU")):
        details = tf.config.experimental.get_device_details(gpu)
        with tf.device(f"GPU:{number}"):
            computed = float(tf.reduce_sum(tf.matmul(tf.ones((512, 512)), tf.ones((512, 512))))) == 512**3
        print(
            f"GPU {number}: {details.get('device_name')}, compute capability "
            f"{'.'.join(map(str, details.get('compute_capability', ())))}, "
            f"{'computes' if computed else 'COMPUTES WRONGLY'}"
        )


if __name__ == "__main__":
    main()
