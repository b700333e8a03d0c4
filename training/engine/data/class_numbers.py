"""Numbers of classes as a report keeps them: JSON-able, one an image.

Up to ten classes they are a string with a digit each, above that a list of integers. Either way
``packed[row]`` made an ``int`` is the number of an image's class, and equal answers are equal.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

MOST_DIGITS = 10


def packed(numbers: NDArray[Any], classes: int) -> str | list[int]:
    """Integers [N] in 0..``classes`` - 1, as a report keeps them."""
    listed = [int(number) for number in numbers]
    return "".join(map(str, listed)) if classes <= MOST_DIGITS else listed


def unpacked(kept: str | list[int]) -> NDArray[np.int64]:
    """What ``packed`` made, as int64 [N]."""
    if isinstance(kept, str):
        return np.frombuffer(kept.encode("ascii"), np.uint8).astype(np.int64) - ord("0")
    return np.array(kept, np.int64)
