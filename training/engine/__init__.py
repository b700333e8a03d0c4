"""Keras and NumPy only: usable from a notebook, without Django.

Importing this package imports neither Keras nor TensorFlow; what needs them imports them.
"""

import sys
from importlib.abc import MetaPathFinder
from types import ModuleType


class _OptionalForKeras(MetaPathFinder):
    """Keep Keras from loading scikit-learn and matplotlib for wrappers and plots that nobody here uses.

    They would take a third of the time of ``import keras``. Afterwards both can be imported as usual.
    """

    def find_spec(self, name: str, path: object = None, target: ModuleType | None = None) -> None:
        if name in ("sklearn", "matplotlib"):
            keras = sys.modules.get("keras")
            if getattr(getattr(keras, "__spec__", None), "_initializing", False):
                raise ModuleNotFoundError(f"{name} is not loaded for Keras", name=name)


sys.meta_path.insert(0, _OptionalForKeras())
