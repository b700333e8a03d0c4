"""What the data itself is like: counts, colours, samples, and test images that training knows.

Source: B. Barz and J. Denzler, "Do We Train on Test Data? Purging CIFAR of Near-Duplicates",
2020: some 3 % of CIFAR-10's test images have a near-duplicate among the training images.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.engine.data.cifar10 import CLASS_NAMES, Cifar10, Images

SAMPLES_PER_CLASS = 10
DUPLICATES_SHOWN = 12
# Bits of 112 in which two hashes may differ, and grey levels by which pixels may on average.
HASH_DISTANCE = 26
PIXEL_DISTANCE = 21.0


def data_facts(cifar: Cifar10) -> dict[str, Any]:
    """Describe CIFAR-10 as it was read; JSON-able."""
    pairs = near_duplicates(cifar.x_train, cifar.x_test)
    shown = pairs[:DUPLICATES_SHOWN]
    colours = [_mean_and_deviation(cifar.x_train[..., channel]) for channel in range(3)]
    return {
        "training": np.bincount(cifar.y_train, minlength=10).tolist(),
        "test": np.bincount(cifar.y_test, minlength=10).tolist(),
        "mean": [round(mean, 2) for mean, _ in colours],
        "deviation": [round(deviation, 2) for _, deviation in colours],
        "samples": [len(rows) for rows in _samples(cifar)],
        "duplicates": {
            "n": len({test for test, _, _ in pairs}),
            "other_label": sum(int(cifar.y_test[a] != cifar.y_train[b]) for a, b, _ in pairs),
            "rows": sorted({test for test, _, _ in pairs}),
            "shown": [
                {
                    "test": test,
                    "training": train,
                    "distance": round(distance, 1),
                    "test_label": int(cifar.y_test[test]),
                    "training_label": int(cifar.y_train[train]),
                }
                for test, train, distance in shown
            ],
        },
    }


def shown_images(cifar: Cifar10, facts: dict[str, Any]) -> Images:
    """The training images that the facts speak of, uint8 [M, 32, 32, 3]: first
    ``SAMPLES_PER_CLASS`` a class, then the one of each duplicate shown."""
    duplicates = np.array([pair["training"] for pair in facts["duplicates"]["shown"]], int)
    shown: Images = cifar.x_train[np.concatenate([*_samples(cifar), duplicates])]
    return shown


def _samples(cifar: Cifar10) -> list[NDArray[np.int64]]:
    return [np.flatnonzero(cifar.y_train == n)[:SAMPLES_PER_CLASS] for n in range(len(CLASS_NAMES))]


def _mean_and_deviation(values: NDArray[np.uint8]) -> tuple[float, float]:
    """Of all values 0..255; they are counted, which takes a tenth of the time of ``std``."""
    counts, levels = np.bincount(values.ravel(), minlength=256), np.arange(256)
    mean = np.average(levels, weights=counts)
    return float(mean), float(np.sqrt(np.average((levels - mean) ** 2, weights=counts)))


def near_duplicates(x_train: Images, x_test: Images) -> list[tuple[int, int, float]]:
    """Test images that look the same as a training image.

    A hash of where brightness rises finds candidates, the pixels decide.

    Returns:
        (test row, nearest training row, mean absolute difference in 0..255), most alike first.
    """
    first, second = np.ascontiguousarray(difference_hash(x_train).T)
    pairs = []
    for test, (one, two) in enumerate(difference_hash(x_test)):
        apart = np.bitwise_count(first ^ one) + np.bitwise_count(second ^ two)
        alike = np.flatnonzero(apart <= HASH_DISTANCE)
        if len(alike):
            distances = np.abs(x_train[alike].astype(np.int16) - x_test[test]).mean(axis=(1, 2, 3))
            nearest = int(distances.argmin())
            if distances[nearest] <= PIXEL_DISTANCE:
                pairs.append((test, int(alike[nearest]), float(distances[nearest])))
    return sorted(pairs, key=lambda pair: (pair[2], pair[0]))


def difference_hash(images: Images) -> NDArray[np.uint64]:
    """Of each image, 112 bits in two words: is a block of 4x4 pixels brighter than the next one,
    to the right and below?"""
    grey = images.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)
    blocks = grey.reshape(len(grey), 8, 4, 8, 4).mean(axis=(2, 4))
    across = (blocks[:, :, 1:] > blocks[:, :, :-1]).reshape(len(grey), 56)
    down = (blocks[:, 1:, :] > blocks[:, :-1, :]).reshape(len(grey), 56)
    padded = [np.pad(bits, ((0, 0), (0, 8))) for bits in (across, down)]
    return np.concatenate([np.packbits(bits, axis=1).view(np.uint64) for bits in padded], axis=1)
