"""Stands for a model of any number of classes."""

import numpy as np

from training.engine.inference.predictor import Predictor
from training.engine.inference.verdict import DecisionPolicy


class Answering(Predictor):
    """Stands for a model: logits that favour the right class, features, a judge that changes nothing."""

    input_shape, batch_sizes = (8, 8, 3), (1, 256)

    def __init__(self, classes):
        self.classes, self.judge = classes, DecisionPolicy()

    def warm_up(self):
        pass

    def forward(self, images):
        return np.zeros((len(images), 4), np.float32), np.zeros((len(images), len(self.classes)), np.float32)


def answers(classes, n):
    rng = np.random.default_rng(1)
    labels = np.arange(n) % classes
    logits = rng.normal(0, 1, (n, classes)).astype(np.float32)
    logits[np.arange(n), labels] += 2.5
    return logits, labels
