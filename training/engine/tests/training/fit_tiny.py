"""Run as a process of its own: fit the tiny recipe, kill itself after an epoch.

usage: fit_tiny.py CHECKPOINTS EPOCH
"""

import os
import signal
import sys
from pathlib import Path

import keras
import tensorflow as tf

from training.engine.tests.data.synthetic import small_training_data
from training.engine.tests.training.tiny_recipe import RECIPE
from training.engine.training.fit import fit


class Die(keras.callbacks.Callback):  # type: ignore[misc]
    def __init__(self, epoch):
        super().__init__()
        self.epoch = epoch

    def on_epoch_end(self, epoch, logs=None):
        if epoch + 1 == self.epoch:
            os.kill(os.getpid(), signal.SIGKILL)


folder, epoch = sys.argv[1:]
tf.config.experimental.enable_op_determinism()
fit(
    RECIPE,
    small_training_data(),
    callbacks=[Die(int(epoch))],
    checkpoint_folder=Path(folder),
)
