"""Learning without forgetting: a network keeps its answers to photos while it learns something else.

Source: Z. Li and D. Hoiem, "Learning without Forgetting", 2016; that the teacher and the pupil see the
same strongly changed views, as L. Beyer et al., "Knowledge distillation: A good teacher is patient and
consistent", 2022.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from training.engine.training import augment as ways

# The smallest share of a photo that a view shows, and the most that another photo may be laid over it.
LEAST_AREA, MOST_LAID_OVER = 0.35, 0.5
DRAWS = 7


class KeepAnswers(keras.layers.Layer):  # type: ignore[misc]  # untyped base
    """Passes its input through; while training it adds to the loss how far answers to photos have moved.

    That is the Kullback-Leibler divergence of the pupil's answers from the teacher's, in nats, the mean
    over views of so many photos, other ones in each step.

    Args:
        pupil, teacher: functions from views float32 [N, side, side, 3] to logits [N, K]; the teacher stays.
        photos: uint8 [M, H, W, 3].
        views: how many photos each step shows; side: of the views.
        weight: of the divergence in the loss.
        step: a variable that counts the steps; the same step shows the same views.
    """

    def __init__(
        self,
        pupil: Callable[[tf.Tensor], tf.Tensor],
        teacher: Callable[[tf.Tensor], tf.Tensor],
        photos: Any,
        *,
        views: int,
        side: int,
        weight: float,
        step: Callable[[], Any],
        seed: int,
    ) -> None:
        super().__init__(dtype="float32", name="keep_answers")
        self.pupil, self.teacher = pupil, teacher
        self.photos = tf.constant(photos)
        self.views, self.side, self.weight, self.step, self.seed = views, side, weight, step, seed

    def call(self, x: Any, training: bool = False) -> Any:
        if training:
            views = self.views_of_photos()
            wanted = tf.nn.log_softmax(self.teacher(views))
            given = tf.nn.log_softmax(self.pupil(views))
            moved = tf.reduce_sum(tf.exp(wanted) * (wanted - given), axis=1)
            self.add_loss(self.weight * tf.reduce_mean(moved))
        return x

    def views_of_photos(self) -> tf.Tensor:
        """Crops of this step's photos, mirrored or not, half of them with another one laid over."""
        seed = tf.stack([self.seed, tf.cast(self.step(), tf.int32)])
        count, pixels = self.photos.shape[0], float(self.photos.shape[1])
        order = tf.argsort(tf.random.stateless_uniform((max(count, self.views),), seed))[: self.views]
        photos = tf.gather(self.photos, order % count)
        draws = tf.random.stateless_uniform((self.views, DRAWS), seed + 1)
        area, stretch, down, across, mirror, mixed, share = tf.unstack(draws, axis=1)
        edge = pixels * tf.sqrt(LEAST_AREA + (1 - LEAST_AREA) * area)
        stretch = tf.exp(0.3 * stretch - 0.15)
        width, height = tf.minimum(edge * stretch, pixels), tf.minimum(edge / stretch, pixels)
        x = ways.resampled(
            photos, down * (pixels - height), across * (pixels - width), height, width, self.side
        )
        x = ways.mirrored(x, mirror < 0.5)
        laid_over = tf.where(mixed < 0.5, 0.0, MOST_LAID_OVER * share)[:, None, None, None]
        return x * (1 - laid_over) + laid_over * tf.roll(x, 1, axis=0)
