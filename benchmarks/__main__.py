"""``make bench``: every benchmark of this folder, one after the other."""

import pkgutil
import runpy
from pathlib import Path

for module in pkgutil.iter_modules([str(Path(__file__).parent)]):
    if module.name != "__main__" and not module.ispkg:
        print(f"== {module.name}", flush=True)
        runpy.run_module(f"benchmarks.{module.name}", run_name="__main__")
