"""Ways to change training images, as TensorFlow functions that run inside the training step.

Each takes images [N, H, W, 3] and one number an image, drawn by the caller, so the same numbers give the
same images on any device. All of them have static shapes and compile under XLA.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf


def mirrored(images: tf.Tensor, where: tf.Tensor) -> tf.Tensor:
    """Left and right exchanged where bool [N] is true."""
    return tf.where(where[:, None, None, None], images[:, :, ::-1], images)


def shifted(images: tf.Tensor, top: tf.Tensor, left: tf.Tensor, where: tf.Tensor, border: int) -> tf.Tensor:
    """A part as large as the image, cut out of the image with ``border`` reflected pixels on each side.

    Args:
        top, left: int64 [N], 0 to twice ``border``; in the middle the image is as it was.
        where: bool [N], mirrored after that.
    """
    height, width = images.shape[1:3]
    rows = _reflected(top[:, None] + tf.range(height, dtype=tf.int64) - border, height)
    across = tf.range(width, dtype=tf.int64)
    columns = left[:, None] + tf.where(where[:, None], across[::-1], across) - border
    images = tf.gather(images, rows, axis=1, batch_dims=1)
    return tf.gather(images, _reflected(columns, width), axis=2, batch_dims=1)


def _reflected(places: tf.Tensor, size: int) -> tf.Tensor:
    """Places beyond 0..size-1 as they reflect at the outermost pixels."""
    return size - 1 - tf.abs(size - 1 - tf.abs(places))


def without_square(images: tf.Tensor, centres: tf.Tensor, side: int, colour: Any) -> tf.Tensor:
    """A square of ``side`` pixels around int64 [N, 2] (row, column) painted over; 0: none."""

    def near(axis: int) -> tf.Tensor:
        distances = 2 * (tf.range(images.shape[axis + 1], dtype=tf.int64) - centres[:, axis, None])
        return tf.abs(distances + 1 - side % 2) < side

    inside = near(0)[:, :, None] & near(1)[:, None, :]
    return tf.where(inside[..., None], tf.cast(colour, images.dtype), images)


def shrunk(images: tf.Tensor, side: int) -> tf.Tensor:
    """Float32 [N, side, side, 3], each pixel the mean of what it covers."""

    def shares(pixels: int) -> tf.Tensor:
        edges = np.arange(side + 1) * pixels / side
        here = np.arange(pixels)
        overlap = np.minimum(edges[1:, None], here + 1) - np.maximum(edges[:-1, None], here)
        return tf.constant(overlap.clip(0) * side / pixels, tf.float32)

    height, width = images.shape[1:3]
    return _resampled(images, shares(height)[None], shares(width)[None])


def resampled(
    images: tf.Tensor, top: tf.Tensor, left: tf.Tensor, height: tf.Tensor, width: tf.Tensor, side: int
) -> tf.Tensor:
    """A box of each image (float32 [N] each, in pixels) enlarged to float32 [N, side, side, 3].

    Bicubic as Pillow's, edges included; for boxes that are not larger than ``side``.
    """

    def weights(start: tf.Tensor, length: tf.Tensor, pixels: int) -> tf.Tensor:
        wanted = start[:, None] + (tf.range(side, dtype=tf.float32) + 0.5) * length[:, None] / side
        distances = tf.abs(wanted[..., None] - (tf.range(pixels, dtype=tf.float32) + 0.5))
        near = (1.5 * distances - 2.5) * distances**2 + 1
        far = ((-0.5 * distances + 2.5) * distances - 4) * distances + 2
        cubic = tf.where(distances < 1, near, tf.where(distances < 2, far, 0.0))
        return cubic / tf.reduce_sum(cubic, axis=-1, keepdims=True)

    rows, columns = images.shape[1:3]
    made = _resampled(images, weights(top, height, rows), weights(left, width, columns))
    return tf.clip_by_value(made, 0.0, 255.0)


def _resampled(images: tf.Tensor, down: tf.Tensor, across: tf.Tensor) -> tf.Tensor:
    """Mix rows by float32 [N or 1, new, old] weights, then columns."""
    old_height, old_width, channels = images.shape[1:]
    flat = tf.reshape(tf.cast(images, tf.float32), (-1, old_height, old_width * channels))
    made = tf.reshape(tf.matmul(down, flat), (-1, down.shape[1], old_width, channels))
    made = tf.reshape(tf.transpose(made, (0, 2, 1, 3)), (-1, old_width, down.shape[1] * channels))
    made = tf.reshape(tf.matmul(across, made), (-1, across.shape[1], down.shape[1], channels))
    return tf.transpose(made, (0, 2, 1, 3))
