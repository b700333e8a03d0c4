"""Models of any classes: a head on the features of a pretrained network. Imports TensorFlow."""

from training.engine.transfer.finetune import steps_an_epoch
from training.engine.transfer.train import train

__all__ = ["steps_an_epoch", "train"]
