"""Run as a process of its own: fit the tiny recipe on one device, on two, or as one of two workers.

usage: fit_distributed.py one|two|worker RESULT
"""

import json
import sys
from pathlib import Path

import tensorflow as tf

from training.engine import devices
from training.engine.fit import fit
from training.engine.tests.synthetic import small_training_data
from training.engine.tests.tiny_recipe import RECIPE

how, result = sys.argv[1:]
strategy = None
if how == "two":
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
elif how == "worker":
    strategy = devices.prepare()
    assert strategy is not None
    assert strategy.num_replicas_in_sync == 2
fitted = fit(RECIPE, small_training_data(), {"epochs": 3, "dropout": 0.0}, strategy=strategy)
Path(result).write_text(json.dumps(fitted.history))
