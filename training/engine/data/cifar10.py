"""CIFAR-10: read it, check it, split it.

Source: A. Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009.
60,000 colour images of 32x32 pixels, ten classes, 50,000 for training and 10,000 for testing.
"""

from __future__ import annotations

import hashlib
import io
import os
import pickle
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from training.engine.data.photo_set import PhotoSet

CLASS_NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
ANIMALS = ("bird", "cat", "deer", "dog", "frog", "horse")
IMAGE_SHAPE = (32, 32, 3)
ROW_BYTES = 1 + 32 * 32 * 3
ROWS_PER_FILE = 10_000
TRAIN_FILES = tuple(f"data_batch_{number}" for number in range(1, 6))
TEST_FILE = "test_batch"
# The split is a property of the data, not of a run: every run of a recipe has the same one.
SPLIT_SEED = 0
# The smallest share of the training images that a recipe may hold out: the gate compares models on it.
LEAST_HELD_OUT = 0.05

Images = NDArray[np.uint8]
Labels = NDArray[np.uint8]


class DatasetError(Exception):
    """CIFAR-10 is missing, short or not what it says; the message says what to do."""


@dataclass(frozen=True)
class Cifar10:
    """Images uint8 [N, 32, 32, 3] in 0..255 and labels uint8 [N] in 0..9."""

    x_train: Images
    y_train: Labels
    x_test: Images
    y_test: Labels
    source: str
    sha256: str


@dataclass(frozen=True, eq=False)
class TrainingData:
    """What one run sees: a training part and a validation part, never the test split.

    ``x_*``: uint8 [N, 32, 32, 3]; ``y_*``: uint8 [N]; ``photos``: what recipes may learn from besides;
    ``classes``: how many there are.
    """

    x_train: Images
    y_train: Labels
    x_val: Images
    y_val: Labels
    photos: PhotoSet | None = None
    classes: int = len(CLASS_NAMES)


def load_cifar10(path: str | Path | None = None) -> Cifar10:
    """Read all of CIFAR-10.

    Args:
        path: a folder with the official binary batches (``data_batch_1.bin`` ...) or the
            official Python batches (``data_batch_1`` ...), or its parent. ``None``: Keras'
            download, whose checksum Keras verifies.

    Raises:
        DatasetError: a file is missing, short, or holds something else than CIFAR-10.
    """
    if path is None:
        return _download()
    folder, suffix = _find_batches(Path(path))
    read = _read_binary if suffix == ".bin" else _read_python
    parts = [read(folder / f"{name}{suffix}") for name in (*TRAIN_FILES, TEST_FILE)]
    x_train = np.concatenate([images for images, _ in parts[:-1]])
    y_train = np.concatenate([labels for _, labels in parts[:-1]])
    x_test, y_test = parts[-1]
    return _checked(x_train, y_train, x_test, y_test, source=str(folder))


def find_cifar10(path: str | Path | None = None) -> Path | None:
    """The folder with CIFAR-10's batches on this host; None where there is none. Never downloads.

    Args:
        path: as for ``load_cifar10``; ``None``: where Keras keeps what it downloaded.
    """
    if path is None:
        keras_home = Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras")
        path = keras_home / "datasets" / "cifar-10-batches-py-target"
    try:
        return _find_batches(Path(path))[0]
    except DatasetError:
        return None


def read_training_images(folder: Path, rows: Sequence[int] | None = None) -> tuple[Images, Labels]:
    """Only training images, unchecked by any hash: all 50,000, or the given rows in their order.

    Of the binary version only the rows asked for are read.

    Args:
        folder: from ``find_cifar10``.

    Raises:
        DatasetError: a file is missing, short, or holds something else than CIFAR-10.
    """
    folder, suffix = _find_batches(folder)
    read = _read_binary if suffix == ".bin" else _read_python
    if rows is None:
        parts = [read(folder / f"{name}{suffix}") for name in TRAIN_FILES]
        return np.concatenate([images for images, _ in parts]), np.concatenate([y for _, y in parts])
    images = np.empty((len(rows), *IMAGE_SHAPE), np.uint8)
    labels = np.empty(len(rows), np.uint8)
    for number in {row // ROWS_PER_FILE for row in rows}:
        file = folder / f"{TRAIN_FILES[number]}{suffix}"
        whole = None if suffix == ".bin" else read(file)
        for place, row in enumerate(rows):
            if row // ROWS_PER_FILE == number:
                at = row % ROWS_PER_FILE
                images[place], labels[place] = (
                    _read_row(file, at) if whole is None else (whole[0][at], whole[1][at])
                )
    return images, labels


def stratified_split(labels: Labels, fraction: float, seed: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Split row numbers into training and validation, the same share of every class in each.

    Args:
        labels: uint8 [N].
        fraction: share of each class that goes into validation, 0 < fraction < 1.
        seed: the same seed gives the same split.

    Returns:
        Two sorted int64 arrays of row numbers: training, validation.
    """
    if not 0 < fraction < 1:
        raise ValueError(f"The validation fraction must lie between 0 and 1, not {fraction}.")
    rng = np.random.default_rng(seed)
    held_out = []
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        held_out.append(rng.permutation(rows)[: round(len(rows) * fraction)])
    validation = np.sort(np.concatenate(held_out))
    return np.setdiff1d(np.arange(len(labels)), validation), validation


def split_training(data: Cifar10, fraction: float, seed: int) -> TrainingData:
    """Hold out a stratified share of the 50,000 training images for validation."""
    train, val = stratified_split(data.y_train, fraction, seed)
    return TrainingData(data.x_train[train], data.y_train[train], data.x_train[val], data.y_train[val])


def held_out_rows(labels: Labels) -> NDArray[Any]:
    """Training images that no recipe learns from: the smallest part that a recipe may hold out.

    Whatever the fraction, ``stratified_split`` holds these out first.
    """
    return stratified_split(labels, LEAST_HELD_OUT, SPLIT_SEED)[1]


def animals_among(classes: Sequence[str]) -> tuple[int, ...]:
    """The numbers of the classes that are animals; of other classes than CIFAR-10's nobody knows: ()."""
    if tuple(classes) != CLASS_NAMES:
        return ()
    return tuple(CLASS_NAMES.index(name) for name in ANIMALS)


def one_hot(labels: Labels, classes: int = len(CLASS_NAMES)) -> NDArray[np.float32]:
    """Labels [N] as float32 [N, classes] of zeros and ones."""
    return np.eye(classes, dtype=np.float32)[labels]


def _find_batches(path: Path) -> tuple[Path, str]:
    for folder in (path, path / "cifar-10-batches-bin", path / "cifar-10-batches-py"):
        for suffix in (".bin", ""):
            if (folder / f"data_batch_1{suffix}").is_file():
                return folder, suffix
    raise DatasetError(
        f"No CIFAR-10 in {path}: expected data_batch_1.bin (binary version) or data_batch_1 "
        "(Python version). Point CIFAR10_DIR at the unpacked folder."
    )


def _read_binary(file: Path) -> tuple[Images, Labels]:
    raw = _read_bytes(file)
    expected = ROWS_PER_FILE * ROW_BYTES
    if len(raw) != expected:
        raise DatasetError(
            f"{file} has {len(raw):,} bytes, a CIFAR-10 batch has {expected:,}. Unpack it again."
        )
    rows = np.frombuffer(raw, dtype=np.uint8).reshape(ROWS_PER_FILE, ROW_BYTES)
    return _planes_to_images(rows[:, 1:]), rows[:, 0].copy()


def _read_row(file: Path, row: int) -> tuple[Images, int]:
    try:
        with file.open("rb") as opened:
            opened.seek(row * ROW_BYTES)
            raw = np.frombuffer(opened.read(ROW_BYTES), dtype=np.uint8)
    except OSError as error:
        raise DatasetError(f"{file} cannot be read: {error.strerror}.") from error
    if len(raw) != ROW_BYTES:
        raise DatasetError(f"{file} is shorter than a CIFAR-10 batch. Unpack it again.")
    return _planes_to_images(raw[None, 1:])[0], int(raw[0])


def _read_python(file: Path) -> tuple[Images, Labels]:
    try:
        batch = _BatchUnpickler(io.BytesIO(_read_bytes(file)), encoding="bytes").load()
        planes, labels = np.asarray(batch[b"data"]), np.asarray(batch[b"labels"])
    except DatasetError:
        raise
    except Exception as error:  # a damaged pickle may raise anything
        raise DatasetError(f"{file} is not a CIFAR-10 Python batch ({error}). Unpack it again.") from error
    if planes.dtype != np.uint8 or planes.shape != (ROWS_PER_FILE, ROW_BYTES - 1):
        raise DatasetError(
            f"{file} holds {planes.dtype} {planes.shape}, a CIFAR-10 batch holds uint8 "
            f"({ROWS_PER_FILE}, {ROW_BYTES - 1}). Unpack it again."
        )
    if labels.shape != (ROWS_PER_FILE,) or not np.issubdtype(labels.dtype, np.integer):
        raise DatasetError(f"{file} does not hold {ROWS_PER_FILE:,} whole-number labels. Unpack it again.")
    if labels.min() < 0 or labels.max() >= len(CLASS_NAMES):
        raise DatasetError(f"{file} holds labels outside 0 to 9, so it is not CIFAR-10.")
    return _planes_to_images(planes), labels.astype(np.uint8)


class _BatchUnpickler(pickle.Unpickler):
    """Admits what NumPy arrays in the official batches need, and nothing that could run code."""

    _ADMITTED = {
        ("numpy.core.multiarray", "_reconstruct"),
        ("numpy._core.multiarray", "_reconstruct"),
        ("numpy", "ndarray"),
        ("numpy", "dtype"),
        ("_codecs", "encode"),
    }

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self._ADMITTED:
            raise DatasetError(
                f"The batch asks for {module}.{name}, which no CIFAR-10 batch needs: refused. "
                "Get the files from a source that you trust."
            )
        return super().find_class(module.replace("numpy.core", "numpy._core"), name)


def _read_bytes(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise DatasetError(f"{file} cannot be read: {error.strerror}.") from error


def _planes_to_images(planes: NDArray[np.uint8]) -> Images:
    """[N, 3072] of red, green and blue planes to [N, 32, 32, 3]."""
    return np.ascontiguousarray(planes.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))


def _download() -> Cifar10:
    import keras

    try:
        (x_train, y_train), (x_test, y_test) = keras.datasets.cifar10.load_data()
    except Exception as error:  # the network may fail in any way
        raise DatasetError(
            f"CIFAR-10 could not be downloaded ({error}). Set CIFAR10_DIR to a folder that holds it."
        ) from error
    return _checked(
        x_train, y_train.ravel().astype(np.uint8), x_test, y_test.ravel().astype(np.uint8), source="keras"
    )


def _checked(x_train: Images, y_train: Labels, x_test: Images, y_test: Labels, source: str) -> Cifar10:
    for name, labels, per_class in (("training", y_train, 5_000), ("test", y_test, 1_000)):
        if labels.max() >= len(CLASS_NAMES):
            raise DatasetError(f"The {name} labels of {source} go beyond 9, so it is not CIFAR-10.")
        counts = np.bincount(labels, minlength=len(CLASS_NAMES))
        if not (counts == per_class).all():
            raise DatasetError(
                f"The {name} split of {source} has {counts.tolist()} images a class, CIFAR-10 has "
                f"{per_class:,} of each. Unpack it again."
            )
    digest = hashlib.sha256()
    for array in (x_train, y_train, x_test, y_test):
        digest.update(np.ascontiguousarray(array).data)
    return Cifar10(x_train, y_train, x_test, y_test, source=source, sha256=digest.hexdigest())
