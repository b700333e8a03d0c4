"""CIFAR-10 as tests can make it: right layout and counts, images that a small network can learn."""

import pickle
from pathlib import Path

import numpy as np

from training.engine.data.cifar10 import Cifar10, TrainingData


def images(labels, seed=0):
    """Uint8 [N, 32, 32, 3]: a colour and a bright square that depend on the label, and noise."""
    rng = np.random.default_rng(seed)
    made = rng.integers(0, 120, (len(labels), 32, 32, 3), dtype=np.uint8)
    for label in range(10):
        rows = np.flatnonzero(labels == label)
        top, left = divmod(label, 4)
        made[rows, 8 * top : 8 * top + 8, 8 * left : 8 * left + 8, label % 3] += 110
    return made


def write_binary(folder: Path) -> Path:
    """The official binary layout in ``folder/cifar-10-batches-bin``; returns that folder."""
    folder = folder / "cifar-10-batches-bin"
    folder.mkdir(parents=True)
    for number in range(6):
        labels = np.random.default_rng(number).permutation(np.repeat(np.arange(10, dtype=np.uint8), 1_000))
        planes = images(labels, number).transpose(0, 3, 1, 2).reshape(len(labels), -1)
        name = "test_batch.bin" if number == 5 else f"data_batch_{number + 1}.bin"
        (folder / name).write_bytes(np.concatenate([labels[:, None], planes], axis=1).tobytes())
    return folder


def write_python(folder: Path, data: Cifar10) -> Path:
    """The official Python layout of ``data``, as Python 2 wrote it."""
    parts = [(data.x_test, data.y_test, "test_batch")]
    for number in range(5):
        rows = slice(10_000 * number, 10_000 * (number + 1))
        parts.append((data.x_train[rows], data.y_train[rows], f"data_batch_{number + 1}"))
    for x, y, name in parts:
        batch = {b"data": x.transpose(0, 3, 1, 2).reshape(len(x), -1), b"labels": y.tolist()}
        (folder / name).write_bytes(pickle.dumps(batch, protocol=2))
    return folder


def small_training_data(count: int = 400) -> TrainingData:
    """A tenth of ``count`` images of each class, half as many for validation."""
    labels = np.tile(np.arange(10, dtype=np.uint8), count // 10)
    held_out = labels[: count // 2]
    return TrainingData(images(labels), labels, images(held_out, 1), held_out)
