"""The tiny recipe, whose process is killed between a checkpoint's temporary file and its rename, once."""

import os
import signal
from pathlib import Path
from typing import Any

from training.tests.tiny_recipe import RECIPE as RECIPE  # a module that is named as a recipe has one

CHECKPOINT = ".epoch-00003-"
rename = os.rename


def die_before_rename(source: Any, target: Any, **options: Any) -> None:
    marker = Path(os.environ["VAR_DIR"]) / "died.txt"
    if Path(source).name.startswith(CHECKPOINT) and not marker.exists():
        marker.write_text("\n".join(sorted(file.name for file in Path(source).parent.iterdir())))
        os.kill(os.getpid(), signal.SIGKILL)
    rename(source, target, **options)


os.rename = die_before_rename  # type: ignore[assignment]
