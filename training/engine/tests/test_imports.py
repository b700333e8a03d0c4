"""What loading the engine loads besides."""

import subprocess
import sys

from conftest import ROOT

CODE = """
import sys
import training.engine
assert not {"keras", "tensorflow"} & set(sys.modules)
import keras
assert not {"sklearn", "matplotlib"} & set(sys.modules), "Keras loaded what nobody uses"
import sklearn.linear_model
"""


def test_keras_loads_neither_scikit_learn_nor_matplotlib_and_both_can_be_loaded_later() -> None:
    done = subprocess.run([sys.executable, "-c", CODE], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
