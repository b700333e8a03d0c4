"""Run as a process of its own: fit the tiny recipe on one device or on two.

usage: fit_distributed.py one|two RESULT
"""

import json
import sys
from pathlib import Path

import tensorflow as tf

from training.engine.tests.data.synthetic import small_training_data
from training.engine.tests.training.tiny_recipe import RECIPE
from training.engine.training.fit import fit

how, result = sys.argv[1:]
strategy = None
if how == "two":
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
fitted = fit(RECIPE, small_training_data(), {"epochs": 3, "dropout": 0.0}, strategy=strategy)
Path(result).write_text(json.dumps(fitted.history))
