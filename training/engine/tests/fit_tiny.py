"""Run as a process of its own: fit the tiny recipe, kill itself where it is told to.

usage: fit_tiny.py CHECKPOINTS RESULT EPOCH_TO_DIE_AFTER PATIENCE AVERAGED
"""

import json
import os
import signal
import sys
from pathlib import Path

import keras
import numpy as np

from training.engine.fit import fit
from training.engine.tests.synthetic import small_training_data
from training.engine.tests.tiny_recipe import RECIPE


class Die(keras.callbacks.Callback):  # type: ignore[misc]
    def __init__(self, epoch):
        super().__init__()
        self.epoch = epoch

    def on_epoch_end(self, epoch, logs=None):
        if epoch + 1 == self.epoch:
            os.kill(os.getpid(), signal.SIGKILL)


folder, result, epoch, patience, averaged = sys.argv[1:]
fitted = fit(
    RECIPE,
    small_training_data(),
    {"patience": int(patience), "averaged": int(averaged)},
    [Die(int(epoch))],
    checkpoint_folder=Path(folder),
    deterministic=True,
)
np.savez(result, *fitted.model.get_weights())
CLOCKS = ("seconds", "images_per_second", "waiting")
history = {k: v for k, v in fitted.history.items() if k not in CLOCKS}
Path(result).with_suffix(".json").write_text(json.dumps({"history": history, "best": fitted.best_epoch}))
