"""Muon for convolution filters, Nesterov SGD for everything else.

Sources: K. Jordan, "94% on CIFAR-10 in 3.29 Seconds on a Single GPU", 2024 (arXiv:2404.00498),
for the learning rates, unit-norm filters and the large rate on biases; K. Jordan et al., "Muon:
An optimizer for hidden layers in neural networks", 2024, for the Newton-Schulz iteration.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)


def orthogonalize(gradient: Any, steps: int = 3) -> Any:
    """Move the singular values of a float32 [rows, columns] matrix towards one.

    A quintic Newton-Schulz iteration; after 3 steps they lie roughly in 0.3..1.2.
    """
    a, b, c = NEWTON_SCHULZ
    rows, columns = gradient.shape
    x = gradient / (ops.norm(gradient) + 1e-7)
    if rows > columns:
        x = ops.transpose(x)
    for _ in range(steps):
        square = ops.matmul(x, ops.transpose(x))
        x = a * x + ops.matmul(b * square + c * ops.matmul(square, square), x)
    return ops.transpose(x) if rows > columns else x


@keras.saving.register_keras_serializable("cifarsite")
class MuonSGD(keras.optimizers.Optimizer):  # type: ignore[misc]
    """``learning_rate`` is a factor (a schedule from 1 to 0) on the rates of the three groups.

    Args:
        filter_rate: Muon's rate, for kernels of rank 4.
        head_rate: SGD's rate for kernels of rank 2.
        bias_rate: SGD's rate for vectors (biases, BatchNorm's centres).
        weight_decay_rate: share of a vector or a head taken off a step, times the factor.
    """

    def __init__(
        self,
        learning_rate: Any = 1.0,
        filter_rate: float = 0.24,
        filter_momentum: float = 0.6,
        head_rate: float = 1.65,
        bias_rate: float = 100.0,
        momentum: float = 0.85,
        weight_decay_rate: float = 0.004,
        name: str = "muon_sgd",
        **kwargs: Any,
    ) -> None:
        super().__init__(learning_rate=learning_rate, name=name, **kwargs)
        self.filter_rate = filter_rate
        self.filter_momentum = filter_momentum
        self.head_rate = head_rate
        self.bias_rate = bias_rate
        self.momentum = momentum
        self.weight_decay_rate = weight_decay_rate

    def build(self, variables: list[Any]) -> None:
        if self.built:
            return
        super().build(variables)
        self._velocities = [self.add_variable_from_reference(v, "velocity") for v in variables]

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        velocity = self._velocities[self._get_variable_index(variable)]
        is_filter = len(variable.shape) == 4
        momentum = self.filter_momentum if is_filter else self.momentum
        self.assign(velocity, velocity * momentum + gradient)
        step = gradient + momentum * velocity
        if is_filter:
            self._update_filter(step, variable, learning_rate)
        else:
            rate = self.head_rate if len(variable.shape) == 2 else self.bias_rate
            kept = variable * (1 - self.weight_decay_rate * learning_rate)
            self.assign(variable, kept - learning_rate * rate * step)

    def _update_filter(self, step: Any, variable: Any, learning_rate: Any) -> None:
        outputs = variable.shape[-1]
        scaled = variable * (outputs**0.5 / ops.sqrt(ops.sum(ops.square(variable))))
        direction = ops.reshape(orthogonalize(ops.reshape(step, (-1, outputs))), variable.shape)
        self.assign(variable, scaled - learning_rate * self.filter_rate * direction)

    def get_config(self) -> dict[str, Any]:
        names = ["filter_rate", "filter_momentum", "head_rate", "bias_rate", "momentum", "weight_decay_rate"]
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}
