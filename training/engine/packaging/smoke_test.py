"""Load models and have them answer, side by side: ``python -m training.engine.packaging.smoke_test FILE...``

A process of its own, so that a web process never holds TensorFlow. Prints one JSON object:
``{"seconds": [...]}``, the median forward time of one image for each file, or ``{"error": ...}``.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import numpy as np

from training.engine.inference.predictor import Predictor

ROUNDS = 21


def try_models(paths: list[Path]) -> list[float]:
    """Seconds that each model takes for one image, the median of ``ROUNDS`` rounds in turn.

    Raises:
        ValueError: a file is no model of two classes or more, or its answers are no probabilities.
    """
    loaded = [_load(path) for path in paths]
    images = [np.zeros((1, *predictor.input_shape), np.uint8) for predictor in loaded]
    taken: list[list[float]] = [[] for _ in paths]
    # In turn, so that whatever else the machine does slows all of them.
    for _ in range(ROUNDS):
        for number, predictor in enumerate(loaded):
            began = time.perf_counter()
            predictor.forward(images[number])
            taken[number].append(time.perf_counter() - began)
    return [round(float(np.median(times)), 6) for times in taken]


def _load(path: Path) -> Predictor:
    try:
        predictor = Predictor(path)
    except Exception as error:  # whatever Keras makes of bytes that are no model
        raise ValueError(f"{path.name} cannot be loaded: {type(error).__name__}: {error}") from error
    noise = np.random.default_rng(0).integers(0, 256, (8, *predictor.input_shape), dtype=np.uint8)
    probabilities = predictor.predict(noise).probabilities
    fits = probabilities.ndim == 2 and probabilities.shape[1] >= 2 and np.isfinite(probabilities).all()
    if not fits or not np.allclose(probabilities.sum(axis=1), 1, atol=1e-4):
        raise ValueError(f"{path.name} does not return probabilities of two classes or more.")
    predictor.network.warm_up()
    return predictor


def main() -> None:
    try:
        print(json.dumps({"seconds": try_models([Path(text) for text in sys.argv[1:]])}))
    except ValueError as error:
        print(json.dumps({"error": str(error)[:1_000]}))


if __name__ == "__main__":
    main()
