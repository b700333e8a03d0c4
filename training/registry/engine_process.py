"""Modules of the engine in processes of their own: TensorFlow would stay in the one that asks."""

from __future__ import annotations

import os
import subprocess
import sys

from django.conf import settings


def run(module: str, words: list[str], seconds: float) -> subprocess.CompletedProcess[str]:
    """``python -m training.engine.MODULE WORDS``, to its end.

    Raises:
        subprocess.TimeoutExpired: it took longer than ``seconds``, and was killed.
    """
    return subprocess.run(
        [sys.executable, "-m", f"training.engine.{module}", *words],
        cwd=settings.BASE_DIR,
        env={"TF_CPP_MIN_LOG_LEVEL": "3", **os.environ},
        capture_output=True,
        text=True,
        timeout=seconds,
    )


def last_words(done: subprocess.CompletedProcess[str]) -> str:
    """What it said last, where it failed."""
    return (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1][:500]
