"""A prediction worker whose forward pass is a wait: Celery's command with one thing replaced.

Started by ``benchmarks.workers`` with ``BENCH_BATCH_SECONDS``, the wait for 64 photos. Everything else is
the site's: the model is loaded and checked, rows are claimed, inputs read, answers judged and stored. So two
such workers may run beside each other on a machine that has cores for one.
"""

from __future__ import annotations

import os
import time
from typing import Any

import numpy as np
from celery.__main__ import main
from celery.signals import worker_process_init

__all__ = ["main"]

SECONDS = float(os.environ["BENCH_BATCH_SECONDS"])


@worker_process_init.connect
def wait_instead(**kwargs: Any) -> None:
    """In the process that works, since only that one loads what a model needs."""
    from training.engine.inference.predictor import Predictor

    def forward(self: Predictor, images: Any) -> Any:
        time.sleep(SECONDS * len(images) / 64)
        logits = np.random.default_rng(len(images)).normal(0, 3, (len(images), 10)).astype(np.float32)
        return np.zeros((len(images), 1), np.float32), logits

    Predictor.forward = forward  # type: ignore[method-assign]
