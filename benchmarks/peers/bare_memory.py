"""What TensorFlow alone takes of memory with a model that has answered: the bound for a worker.

    python -m benchmarks.peers.bare_memory MODEL [SIZE:TIMES ...]

The model as a ``tf.function``, asked for batches of the sizes that the site's worker uses, each so often.
Prints the weight of this process as JSON.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict

import keras
import numpy as np
import tensorflow as tf

from benchmarks.process_tree import weight


def main() -> None:
    model = keras.models.load_model(sys.argv[1], compile=False)
    shape = model.input_shape[1:]
    signature = [tf.TensorSpec((None, *shape), tf.uint8)]
    forward = tf.function(
        lambda images: model(tf.cast(images, tf.float32), training=False), input_signature=signature
    )
    random = np.random.default_rng(0)
    for words in sys.argv[2:]:
        size, times = map(int, words.split(":"))
        for _time in range(times):
            forward(random.integers(0, 256, (size, *shape), dtype=np.uint8)).numpy()
    print(json.dumps(asdict(weight(os.getpid()))))


if __name__ == "__main__":
    main()
