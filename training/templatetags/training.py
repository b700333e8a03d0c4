"""How the pages of training show numbers and classes."""

from collections.abc import Sequence
from typing import Any

from django import template
from django.utils.translation import get_language
from django.utils.translation import gettext as _

from cifarsite.core.numbers import decimal
from training.engine.recipes import RECIPES
from training.engine.training.recipe import Recipe
from training.jobs.learning_curves import NUMBERS
from training.reports import narrative, photo_sets, svg_charts

register = template.Library()


@register.filter
def clock(seconds: Any) -> str:
    """61 becomes 1:01, 3661 becomes 1:01:01; nothing known is a dash."""
    if not isinstance(seconds, (int, float)):
        return "–"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


@register.filter
def significant(value: Any) -> str:
    """Three significant digits, for numbers that span many sizes."""
    return f"{value:.3g}" if isinstance(value, (int, float)) else "–"


@register.filter
def in_order(parameters: dict[str, Any] | None, recipe: str) -> list[tuple[str, Any]]:
    """Names and values in the order of the recipe, which PostgreSQL does not keep; unknown names last."""
    parameters = parameters or {}
    known = [parameter.name for parameter in RECIPES[recipe].parameters] if recipe in RECIPES else []
    return [(name, parameters[name]) for name in dict.fromkeys([*known, *parameters]) if name in parameters]


@register.filter
def curve_rows(curve: dict[str, Any]) -> list[dict[str, Any]]:
    """Lists of equal length as rows of a table."""
    names = ("epoch", *NUMBERS)
    return [dict(zip(names, row, strict=True)) for row in zip(*(curve[n] for n in names), strict=True)]


@register.filter
def million(count: float) -> str:
    """1970000 becomes 1.97 million."""
    return _("%(millions)s million") % {"millions": decimal(count / 1e6, 2)}


@register.filter
def class_title(name: str) -> str:
    """A class's name for people: CIFAR-10's are words of the site, others are as people wrote them."""
    return narrative.class_title(str(name))


@register.filter
def class_css(name: str, names: Sequence[str]) -> str:
    """The CSS class of a class's colour; ``names``: of all classes, in order."""
    return svg_charts.colour(names.index(name) if name in names else 0, name)


@register.inclusion_tag("training/report/_bar.html")
def class_bar(name: str, probability: float, names: Sequence[str]) -> dict[str, str]:
    """A bar in the colour of the class; ``probability`` from 0 to 1."""
    # Written with a point whatever the language: it is an attribute of the drawing.
    return {"css": class_css(name, names), "width": f"{100 * probability:.2f}"}


@register.filter
def recipe_title(recipe: Recipe) -> str:
    """In the reader's language."""
    return recipe.texts(get_language() or "en")[0]


@register.filter
def recipe_description(recipe: Recipe) -> str:
    """In the reader's language."""
    return recipe.texts(get_language() or "en")[1]


@register.filter
def photo_set_name(card: dict[str, Any]) -> str:
    """Which photos a model was measured on: a name and a short hash."""
    return photo_sets.photo_set_name(card)


@register.filter
def in_table(text: str) -> str:
    """A text that stays in its cell of a Markdown table."""
    return str(text).replace("\\", "\\\\").replace("|", "\\|")
