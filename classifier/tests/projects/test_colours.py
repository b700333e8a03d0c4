"""Thirty colours of classes, told apart from every background in both themes."""

from __future__ import annotations

import re

import pytest
from django.conf import settings

from cifarsite.core.pages import COLOURS, colour_of

CSS = (settings.BASE_DIR / "static" / "site.css").read_text()
# Of what carries meaning beside a text (WCAG 2.2, 1.4.11).
LEAST_CONTRAST = 3.0
BACKGROUNDS = ("paper", "sheet", "sunken")


def variables(theme: str) -> dict[str, str]:
    """The colours of a theme by name."""
    begins = {"light": ":root {", "dark": ':root[data-bs-theme="dark"] {', "system": ":root:not("}[theme]
    block = CSS[CSS.index(begins) :]
    return dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", block[: block.index("}")]))


def rgb(colour: str) -> tuple[float, ...]:
    return tuple(int(colour[n : n + 2], 16) for n in (1, 3, 5))


def luminance(colour: tuple[float, ...]) -> float:
    parts = [c / 255 for c in colour]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: tuple[float, ...], other: tuple[float, ...]) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def drawn(number: int, known: dict[str, str]) -> tuple[float, ...]:
    """The colour of ``of-<number>`` in a theme."""
    found = re.search(rf"\.of-{number} {{ --of: ([^;]+); }}", CSS)
    assert found, number
    mixed = re.match(r"color-mix\(in srgb, var\(--([\w-]+)\) (\d+)%, var\(--([\w-]+)\)\)", found[1])
    if not mixed:
        return rgb(known[found[1].removeprefix("var(--").removesuffix(")")])
    share = int(mixed[2]) / 100
    pairs = zip(rgb(known[mixed[1]]), rgb(known[mixed[3]]), strict=True)
    return tuple(share * a + (1 - share) * b for a, b in pairs)


@pytest.mark.parametrize("theme", ["light", "dark", "system"])
def test_each_colour_stands_out_from_each_background(theme: str) -> None:
    known = variables(theme)
    for number in range(COLOURS):
        for background in BACKGROUNDS:
            found = contrast(drawn(number, known), rgb(known[background]))
            assert found >= LEAST_CONTRAST, (number, background, found)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_no_two_of_the_same_shape_have_the_same_colour(theme: str) -> None:
    known = variables(theme)
    for ten in (range(10), range(10, 20), range(20, 30)):
        assert len({drawn(number, known) for number in ten}) == 10


def test_the_dark_theme_is_the_same_by_choice_and_by_system() -> None:
    assert variables("dark") == variables("system")


def test_colours_begin_again_behind_the_last() -> None:
    assert [colour_of(place) for place in (0, 9, 10, 29, 30, 999)] == ["0", "9", "10", "29", "0", "9"]
