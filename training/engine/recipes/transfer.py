"""For classes of one's own: ImageNet's network, and a classifier on its features.

Nothing of it is CIFAR-10's: it trains on the images of a project, see ``training.engine.transfer``.

Sources: J. Donahue et al., "DeCAF", 2014, and S. Kornblith et al., "Do Better ImageNet Models Transfer
Better?", 2019 (logistic regression on a pretrained network's features); the network, see
``training.engine.training.efficientnet``.
"""

from __future__ import annotations

from typing import Any

from training.engine.data.cifar10 import TrainingData
from training.engine.training.recipe import Hyperparameter, Recipe, Values, seed

PREPROCESSING = "centre224-v1"


def build(data: TrainingData, values: Values, steps_per_epoch: int) -> Any:
    """It does not learn from CIFAR-10's images of 32x32 pixels."""
    raise ValueError("The recipe transfer trains on a project's images: call training.engine.transfer.train.")


RECIPE = Recipe(
    name="transfer",
    title="Your own classes",
    description=(
        "A network pretrained on ImageNet, and a classifier fitted to your images. Ready in a minute or "
        "two; a few dozen images of each class are enough."
    ),
    translations={
        "vi": (
            "Các lớp của riêng bạn",
            "Một mạng đã huấn luyện trước trên ImageNet, cùng một bộ phân loại khớp với ảnh của "
            "bạn. Xong trong một hai phút; mỗi lớp vài chục ảnh là đủ.",
        )
    },
    preprocessing=PREPROCESSING,
    validation_fraction=0.05,
    parameters=(
        Hyperparameter(
            "epochs",
            0,
            0,
            100,
            "Number of passes in which the network's last layers are trained, too; 0: they stay as ImageNet "
            "left them. The result is kept if it is better on the validation images.",
            {
                "vi": (
                    "Số epoch",
                    "Số lượt mà các lớp cuối của mạng cũng được huấn luyện; 0: giữ nguyên như ImageNet để "
                    "lại. Kết quả được giữ nếu tốt hơn trên các ảnh kiểm định.",
                )
            },
        ),
        seed(),
    ),
    build=build,
    own_classes=True,
)
