"""Images of classes that a program draws: shapes in their colours on a noisy ground."""

import numpy as np
from PIL import Image, ImageDraw

from training.engine.data.labelled_images import LabelledImages

CLASSES = ("disc", "cross", "bars")


def drawn(label, seed):
    """Uint8 [H, W, 3] of a size that depends on the seed."""
    rng = np.random.default_rng(seed)
    width, height = rng.integers(90, 160, 2)
    image = Image.fromarray(rng.integers(150, 200, (height, width, 3), dtype=np.uint8))
    pen, ink = ImageDraw.Draw(image), tuple(int(v) for v in rng.integers(0, 90, 3))
    left, top = (int(v) for v in rng.integers(5, 25, 2))
    box = (left, top, left + 55, top + 55)
    if label == 0:
        pen.ellipse(box, fill=ink)
    elif label == 1:
        pen.line(box, fill=ink, width=9)
        pen.line((box[0], box[3], box[2], box[1]), fill=ink, width=9)
    else:
        for offset in range(0, 56, 14):
            pen.rectangle((left + offset, top, left + offset + 6, top + 55), fill=ink)
    return np.asarray(image)


def made_up(per_class=12, seed=0, read=None):
    """Labelled images, of each twelve two for validation and two to test."""
    labels = np.tile(np.arange(len(CLASSES)), per_class)
    places = np.arange(len(labels)) // len(CLASSES) % 12
    splits = np.select([places < 8, places < 10], ["training", "validation"], "test")
    seeds = 1_000 * seed + np.arange(len(labels))
    return LabelledImages(
        CLASSES,
        [f"image-{number}" for number in seeds],
        labels,
        splits,
        read or (lambda row: drawn(int(labels[row]), int(seeds[row]))),
    )
