"""Recipes and how they are trained: fit, checkpoints, devices, optimizers."""
