"""Bare TensorFlow, no site: the JPEGs of a ZIP through a model, as fast as one process can.

    python -m benchmarks.peers.bare_tensorflow ARCHIVE.zip MODEL.keras [--decoder pillow|tensorflow]

This is the bound for the site's archives: nothing is checked, kept or written down. Threads, one a core,
decode the next photos while a ``tf.function`` runs the last 256. Pillow decodes and makes the very input
that the site makes; TensorFlow's own decoder and antialiased resize make nearly the same one. Loading the
model and its first batch, which compiles it, are not counted; reading the archive is. Prints a line of JSON.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import time
import zipfile
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from PIL import Image, ImageOps

BATCH = 256
DECODERS = ("pillow", "tensorflow")


def decode(content: bytes, size: tuple[int, int]) -> NDArray[np.uint8]:
    """One photo as a model's input: uint8 [H, W, 3]."""
    height, width = size
    with Image.open(io.BytesIO(content)) as image:
        upright = ImageOps.exif_transpose(image).convert("RGB")
    return np.asarray(upright.resize((width, height), Image.Resampling.BICUBIC, reducing_gap=3.0))


def with_pillow(archive: zipfile.ZipFile, size: tuple[int, int]) -> Iterator[NDArray[np.uint8]]:
    """Batches uint8 [N, H, W, 3]; three of them are decoded ahead."""

    def read(name: str) -> NDArray[np.uint8]:
        return decode(archive.read(name), size)

    names = iter(archive.namelist())
    waiting: deque[Future[NDArray[np.uint8]]] = deque()
    with ThreadPoolExecutor(cores()) as pool:
        while True:
            while len(waiting) < 3 * BATCH and (name := next(names, None)):
                waiting.append(pool.submit(read, name))
            if not waiting:
                return
            yield np.stack([waiting.popleft().result() for _ in range(min(BATCH, len(waiting)))])


def with_tensorflow(archive: zipfile.ZipFile, size: tuple[int, int]) -> Iterator[NDArray[np.uint8]]:
    """The same by ``tf.data`` and ``tf.io``."""

    def contents() -> Iterator[bytes]:
        for name in archive.namelist():
            yield archive.read(name)

    def small(content: Any) -> Any:
        image = tf.io.decode_jpeg(content, channels=3)
        resized = tf.image.resize(image, size, method="bicubic", antialias=True)
        return tf.cast(tf.clip_by_value(tf.round(resized), 0, 255), tf.uint8)

    files = tf.data.Dataset.from_generator(contents, output_signature=tf.TensorSpec((), tf.string))
    images = files.map(small, num_parallel_calls=tf.data.AUTOTUNE)
    return iter(images.batch(BATCH).prefetch(tf.data.AUTOTUNE).as_numpy_iterator())


def run(archive: Path, model_file: Path, decoder: str) -> dict[str, Any]:
    model = keras.models.load_model(model_file, compile=False)
    height, width = model.input_shape[1:3]

    signature = [tf.TensorSpec((None, height, width, 3), tf.uint8)]
    forward = tf.function(
        lambda images: model(tf.cast(images, tf.float32), training=False),
        input_signature=signature,
        autograph=False,
    )
    forward(np.zeros((BATCH, height, width, 3), np.uint8))
    batches = with_pillow if decoder == "pillow" else with_tensorflow
    answers: list[int] = []
    # This thread's time beside the model is spent waiting for decoded photos.
    in_model = 0.0
    started, busy = time.perf_counter(), time.process_time()
    with zipfile.ZipFile(archive) as opened:
        for images in batches(opened, (height, width)):
            begun = time.perf_counter()
            answers += forward(images).numpy().argmax(axis=1).tolist()
            in_model += time.perf_counter() - begun
    seconds = time.perf_counter() - started
    return {
        "decoder": decoder,
        "photos": len(answers),
        "seconds": round(seconds, 3),
        "photos_per_s": round(len(answers) / seconds, 2),
        "in_model_s": round(in_model, 3),
        "processor_s": round(time.process_time() - busy, 3),
        "answers": answers,
    }


def cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("archive", type=Path)
    parser.add_argument("model", type=Path)
    parser.add_argument("--decoder", choices=DECODERS, default="pillow")
    arguments = parser.parse_args()
    print(json.dumps(run(arguments.archive, arguments.model, arguments.decoder)))


if __name__ == "__main__":
    main()
