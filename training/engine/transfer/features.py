"""Features of images by the pretrained network, computed once an image and kept.

They lie in a folder as files of up to ``SHARD`` images, float16, one array a view: the image and, where
there are few images, its mirror image. A file is written whole or not at all, so a run that was killed goes
on after the last one. The folder's name says which network and preprocessing made them.
"""

from __future__ import annotations

import hashlib
import io
from collections import deque
from collections.abc import Callable, Container, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.engine.data.labelled_images import LabelledImages
from training.engine.data.preprocessing import make_inputs
from training.engine.inference.verdict import ood_penalty
from training.engine.packaging.package import rounded
from training.engine.recipes.transfer import PREPROCESSING
from training.engine.training import devices, efficientnet
from training.engine.training.checkpoints import write_durably

SIZE = 224
BATCH = 32
SHARD = 256
# Decoding waits for the store of files as much as for the processor.
READERS = 4
# Batches that are read before they are needed: some 5 MB each.
AHEAD = 2
# Up to so many images, mirror images are examples, too: they double the time, and help where there are few.
MIRRORED_UP_TO = 5_000

Features = NDArray[np.float16]
Progress = Callable[[int, int], None]


def silent(done: int, total: int) -> None:
    """Progress that nobody wants to know."""


@dataclass(frozen=True)
class Computed:
    """What the network makes of N images.

    Attributes:
        features: float16 [V, N, D], V views of each: the image, and its mirror image where V is 2.
        penalty: float32 [N], see ``training.engine.inference.verdict.ood_penalty``.
    """

    features: Features
    penalty: NDArray[np.float32]


def body() -> Any:
    """ImageNet's network without its last layer: images [N, 224, 224, 3] in 0..255 to features [N, 1280]."""
    import keras

    inputs = keras.Input((SIZE, SIZE, 3))
    network = keras.Model(inputs, efficientnet.body(inputs), name="body")
    efficientnet.load_imagenet_weights(network)
    # As they will be saved: a model answers with the features that its classifier was fitted to.
    network.set_weights([rounded(weight) for weight in network.get_weights()])
    return network


@cache
def body_sha256() -> str:
    """Says which network and preprocessing the kept features are of."""
    digest = hashlib.sha256(efficientnet.WEIGHTS.read_bytes())
    digest.update(PREPROCESSING.encode())
    return digest.hexdigest()


def compute(
    images: LabelledImages, folder: Path, progress: Progress = silent, network: Any = None
) -> Computed:
    """The features of all images, those that are known from the folder and the others computed.

    Args:
        folder: of one project; features of images that are not in ``images`` are removed from it.
        network: ``body()``, where there is one already.
        progress: is told how many images are done, of how many.

    Returns:
        Features and penalties in the order of the images. What reading an image raises is raised.
    """
    views = 2 if len(images) <= MIRRORED_UP_TO else 1
    store = Store(folder / body_sha256()[:16])
    made = np.zeros((views, len(images), efficientnet.FEATURES), np.float16)
    penalty = np.zeros(len(images), np.float32)
    places = {name: place for place, name in enumerate(images.ids)}
    missing = np.ones(len(images), bool)
    for names, features, penalties in store.load(places.keys(), views):
        rows = [places[name] for name in names]
        made[:, rows], penalty[rows], missing[rows] = features, penalties, False
    wanted = np.flatnonzero(missing)
    done = len(images) - len(wanted)
    progress(done, len(images))
    if not len(wanted):
        return Computed(made, penalty)
    devices.prepare()
    forward = _forward(network or body(), views)
    for start in range(0, len(wanted), SHARD):
        shard = wanted[start : start + SHARD]
        for batch, inputs, seen in _read(images, shard):
            made[:, batch], penalty[batch] = forward(inputs), seen
            done += len(batch)
            progress(done, len(images))
        store.keep([images.ids[row] for row in shard], made[:, shard], penalty[shard])
    return Computed(made, penalty)


def activations(
    images: LabelledImages, network: Any, views: int, progress: Progress = silent
) -> Iterator[NDArray[np.float16]]:
    """What a network makes of all views of all images, float16 [M, views, ...] of each batch in their order;
    nothing of it is kept."""
    forward, done = _forward(network, views), 0
    for batch, inputs, _ in _read(images, np.arange(len(images))):
        yield np.moveaxis(forward(inputs), 0, 1)
        done += len(batch)
        progress(done, len(images))


class Store:
    """Features by the names of their images, in files of one folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def load(
        self, wanted: Container[str], views: int
    ) -> Iterator[tuple[list[str], Features, NDArray[np.float32]]]:
        """(names, features [views, M, D], penalties [M]) of each file, of wanted images alone; others are
        removed, and so is a file with fewer views."""
        for file in sorted(self._folder.glob("*.npz")):
            try:
                with file.open("rb") as opened, np.load(opened, allow_pickle=False) as stored:
                    names = stored["names"].tolist()
                    features, penalty = stored["features"], stored["penalty"]
                if features.shape[0] < views or features.shape[1:] != (len(names), efficientnet.FEATURES):
                    raise ValueError(f"{file} holds features of another shape.")
            except Exception:  # a damaged file makes NumPy raise anything: its images are computed anew
                file.unlink(missing_ok=True)
                continue
            kept = [place for place, name in enumerate(names) if name in wanted]
            if len(kept) < len(names):
                names = [names[place] for place in kept]
                features, penalty = features[:, kept], penalty[kept]
                if names:
                    self.keep(names, features, penalty)
                file.unlink(missing_ok=True)
            if names:
                yield names, features[:views], penalty

    def keep(self, names: Sequence[str], features: Features, penalty: NDArray[np.float32]) -> None:
        """Write one file; the same images give the same one."""
        packed = io.BytesIO()
        np.savez(packed, names=np.array(names), features=features, penalty=penalty)
        digest = hashlib.sha256("\n".join(names).encode()).hexdigest()
        write_durably(self._folder / f"{digest[:32]}.npz", packed.getvalue())


def _read(
    images: LabelledImages, rows: NDArray[Any]
) -> Iterator[tuple[NDArray[Any], NDArray[np.uint8], list[float]]]:
    """Batches: their rows, model inputs uint8 [M, 224, 224, 3] and penalties; the next ones, ``AHEAD`` at
    most, are read while the caller works."""

    def read(row: int) -> tuple[NDArray[np.uint8], float]:
        made = make_inputs([images.read(row)], PREPROCESSING)
        return made[0], float(ood_penalty(made)[0])

    with ThreadPoolExecutor(READERS) as readers:
        begun: deque[tuple[NDArray[Any], list[Future[tuple[NDArray[np.uint8], float]]]]] = deque()
        for start in range(0, len(rows) + AHEAD * BATCH, BATCH):
            batch = rows[start : start + BATCH]
            if len(batch):
                begun.append((batch, [readers.submit(read, int(row)) for row in batch]))
            if begun and start >= AHEAD * BATCH:
                batch, inputs = begun.popleft()
                seen = [one.result() for one in inputs]
                yield batch, np.stack([pixels for pixels, _ in seen]), [penalty for _, penalty in seen]


def _forward(network: Any, views: int) -> Callable[[NDArray[np.uint8]], Features]:
    """Uint8 [M, 224, 224, 3], M up to ``BATCH``, to its outputs for all views, float16 [views, M, ...]."""
    import tensorflow as tf

    signature = [tf.TensorSpec((BATCH, SIZE, SIZE, 3), tf.uint8)]

    @tf.function(input_signature=signature)  # type: ignore[untyped-decorator]
    def run(images: Any) -> Any:
        pixels = tf.cast(images, tf.float32)
        shown = [pixels, pixels[:, :, ::-1]][:views]
        return tf.stack([network(view, training=False) for view in shown])

    def forward(images: NDArray[np.uint8]) -> Features:
        padding = np.zeros((BATCH - len(images), *images.shape[1:]), np.uint8)
        made: Features = run(np.concatenate([images, padding])).numpy()[:, : len(images)].astype(np.float16)
        return made

    return forward
