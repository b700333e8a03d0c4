"""Charts as the templates draw them: figures turned into places on an SVG, and the table behind.

All places are text with a point, whatever the reader's language, since they are attributes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cifarsite.core.numbers import decimal
from training.engine.data.cifar10 import CLASS_NAMES

Point = tuple[float, float]
WIDTH, PLOT_HEIGHT = 440, 240
LEFT, RIGHT, TOP, BOTTOM = 50, 22, 28, 46
LEGEND_LINE, LEGEND_COLUMNS = 18, 3
# A name with more letters takes the room of a column and a half.
LONG_NAME = 14
# One with more has a line of its own.
LONGEST_NAME = 26
PLOT_WIDTH = WIDTH - LEFT - RIGHT
MAP_SIDE = 440


# As many colours as there are in the style sheets: of more classes several share one, and are told apart
# by their names.
COLOURS = 10


def colour(number: int, name: str) -> str:
    """The CSS class of a class's colour: by name for CIFAR-10's, else by its number."""
    return f"of-{name}" if name in CLASS_NAMES else f"of-{CLASS_NAMES[number % COLOURS]}"


@dataclass(frozen=True)
class Row:
    """A line of the table behind a chart; ``x`` is where the chart marks it."""

    cells: Sequence[Any]
    x: str = ""
    series: str = ""


@dataclass(frozen=True)
class Chart:
    """What ``_chart.html`` draws."""

    name: str
    title: str
    x_label: str
    y_label: str
    x_ticks: list[tuple[str, str]]
    y_ticks: list[tuple[str, str]]
    head: Sequence[Any]
    rows: list[Row]
    kind: str = "lines"
    lines: list[dict[str, Any]] = field(default_factory=list)
    bars: list[dict[str, Any]] = field(default_factory=list)
    legend: list[dict[str, Any]] = field(default_factory=list)
    diagonal: str = ""
    note: str = ""
    table_note: str = ""
    measured_on: str = ""

    left, top, bottom = LEFT, TOP, TOP + PLOT_HEIGHT
    right, middle = WIDTH - RIGHT, LEFT + PLOT_WIDTH // 2
    width, x_label_y = WIDTH, TOP + PLOT_HEIGHT + 38

    @property
    def height(self) -> int:
        return TOP + PLOT_HEIGHT + BOTTOM + LEGEND_LINE * -(-len(self.legend) // legend_columns(self.legend))


@dataclass(frozen=True)
class Scale:
    """From a figure to a place."""

    low: float
    high: float
    start: float
    length: float

    def __call__(self, value: float) -> str:
        share = (value - self.low) / (self.high - self.low) if self.high > self.low else 0.5
        return f"{self.start + min(max(share, 0), 1) * self.length:.1f}"


def across(low: float, high: float) -> Scale:
    return Scale(low, high, LEFT, PLOT_WIDTH)


def upwards(low: float, high: float) -> Scale:
    return Scale(low, high, TOP + PLOT_HEIGHT, -PLOT_HEIGHT)


def percent_ticks(scale: Scale) -> list[tuple[str, str]]:
    """Some five round percentages and their places."""
    step = next(s for s in (0.01, 0.02, 0.05, 0.1, 0.2) if (scale.high - scale.low) / s <= 6)
    first = int(np.ceil(round(scale.low / step, 6)))
    values = [n * step for n in range(first, int(round(scale.high / step, 6)) + 1)]
    return [(scale(value), f"{round(100 * value)}\u00a0%") for value in values]


def number_ticks(scale: Scale, digits: int | None = None) -> list[tuple[str, str]]:
    """Some five round numbers and their places."""
    span = max(scale.high - scale.low, 1e-9)
    power = 10 ** float(np.floor(np.log10(span / 4)))
    factors = (f for f in (1, 2, 2.5, 5, 10) if digits != 0 or power * f == int(power * f) > 0)
    step = next((power * f for f in factors if span / (power * f) <= 5.001), max(1, round(span / 4)))
    # A step of 0.25 needs a digit more than one of 0.2.
    wanted = next(d for d in range(12) if abs(step * 10**d - round(step * 10**d)) < 1e-6)
    decimals = wanted if digits is None else digits
    first, last = int(np.ceil(scale.low / step - 1e-6)), int(np.floor(scale.high / step + 1e-6))
    return [(scale(n * step), decimal(n * step, decimals)) for n in range(first, last + 1)]


def line(points: Sequence[Point], x: Scale, y: Scale, **how: Any) -> dict[str, Any]:
    """A series: its ``name`` in the legend, its ``css`` class, its path."""
    path = "M" + "L".join(f"{x(a)} {y(b)}" for a, b in points) if points else ""
    dots = [(x(a), y(b)) for a, b in points] if how.pop("dots", False) else []
    return {"path": path, "dots": dots, **how}


def bar(low: float, high: float, bottom: float, top: float, x: Scale, y: Scale, css: str) -> dict[str, str]:
    """A column between two figures on each axis, with a hair of air on either side."""
    left, right = float(x(low)) + 0.75, float(x(high)) - 0.75
    return {
        "x": f"{left:.1f}",
        "y": y(top),
        "width": f"{max(right - left, 0.5):.1f}",
        "height": f"{float(y(bottom)) - float(y(top)):.1f}",
        "css": css,
    }


def legend_columns(entries: Sequence[dict[str, Any]]) -> int:
    longest = max((len(str(entry["name"])) for entry in entries), default=0)
    return LEGEND_COLUMNS if longest <= LONG_NAME else 2 if longest <= LONGEST_NAME else 1


def legend(entries: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Places for the names below a plot, three in a line, or fewer where one is long."""
    columns = legend_columns(entries)
    column = (WIDTH - LEFT) // columns
    return [
        {
            **entry,
            "x": LEFT + column * (number % columns),
            "y": TOP + PLOT_HEIGHT + BOTTOM + 12 + LEGEND_LINE * (number // columns),
        }
        for number, entry in enumerate(entries)
    ]


@dataclass(frozen=True)
class Map:
    """What ``_map.html`` draws: a path of dots for each class, right and wrong apart."""

    name: str
    groups: list[dict[str, str]]
    side: int = MAP_SIDE


def point_map(
    embedding: NDArray[Any], truth: NDArray[Any], predicted: NDArray[Any], classes: Sequence[str]
) -> Map:
    """Ten thousand points in about 100 kB: a point is a stroke without length."""
    half, reach = MAP_SIDE / 2, MAP_SIDE / 2 - 8
    places = np.round(half + embedding.astype(float) * (reach, -reach)).astype(int)
    groups = []
    for right in (True, False):
        for number, name in enumerate(classes):
            inside = (truth == number) & ((truth == predicted) == right)
            if inside.any():
                # Relative moves are shorter than absolute ones once points are in order.
                kept = places[inside]
                kept = kept[np.lexsort((kept[:, 0], kept[:, 1]))]
                steps = np.diff(kept, axis=0, prepend=[[0, 0]])
                path = "".join(f"m{a} {b}h0" for a, b in steps)
                groups.append(
                    {"css": f"{colour(number, name)} {'is-right' if right else 'is-wrong'}", "path": path}
                )
    return Map("map", groups)
