"""What is wrong with a request's parameters and body, in the reader's language."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from django.http import HttpRequest
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from ninja.errors import ValidationError
from ninja.operation import PathView

NUMBER = gettext_lazy("It must be a number.")
WHOLE = gettext_lazy("It must be a whole number.")
TEXT = gettext_lazy("It must be text.")
ID = gettext_lazy("It must be an id such as 6d7a2e0c-8f0b-4f3c-9d1c-0f1f6a9f0c11.")
# By pydantic's types of errors, with the figures that each brings.
SENTENCES = {
    "missing": gettext_lazy("It is missing."),
    "extra_forbidden": gettext_lazy("There is no such member. Leave it out, or see /api/reference."),
    "unknown_parameter": gettext_lazy("There is no such parameter. Leave it out, or see /api/reference."),
    "int_type": WHOLE,
    "int_parsing": WHOLE,
    "int_from_float": WHOLE,
    "int_parsing_size": gettext_lazy("The number is too large."),
    "float_type": NUMBER,
    "float_parsing": NUMBER,
    "finite_number": NUMBER,
    "string_type": TEXT,
    "string_unicode": gettext_lazy("It must be text in UTF-8."),
    "string_too_short": gettext_lazy("It must have %(min_length)s characters or more."),
    "string_too_long": gettext_lazy("It must have %(max_length)s characters or fewer."),
    "string_pattern_mismatch": gettext_lazy("It must not be blank."),
    "too_short": gettext_lazy("There must be %(min_length)s or more."),
    "too_long": gettext_lazy("There must be %(max_length)s or fewer."),
    "greater_than": gettext_lazy("It must be more than %(gt)s."),
    "greater_than_equal": gettext_lazy("It must be %(ge)s or more."),
    "less_than": gettext_lazy("It must be less than %(lt)s."),
    "less_than_equal": gettext_lazy("It must be %(le)s or less."),
    "literal_error": gettext_lazy("It must be one of: %(expected)s."),
    "bool_type": gettext_lazy("It must be true or false."),
    "bool_parsing": gettext_lazy("It must be true or false."),
    "list_type": gettext_lazy("It must be a list."),
    "dict_type": gettext_lazy("It must be a JSON object."),
    "model_type": gettext_lazy("It must be a JSON object."),
    "model_attributes_type": gettext_lazy("It must be a JSON object."),
    "uuid_parsing": ID,
    "uuid_type": ID,
}


def place(loc: tuple[Any, ...]) -> str:
    """'crop.left' for what pydantic calls ('body', 'body', 'crop', 'left')."""
    source, *parts = map(str, loc)
    parts = [part for part in parts if "[" not in part]  # which of several types it could not be
    if source == "body" and len(parts) > 1:
        parts = parts[1:]  # the body as a whole has a name, too
    return ".".join(parts) or source


def sentence(entry: dict[str, Any]) -> str:
    """What is wrong at one place; what pydantic says itself, where it is nothing of ``SENTENCES``."""
    found = SENTENCES.get(entry["type"])
    context = entry.get("ctx") or {}
    if entry["type"] == "value_error" and "error" in context:
        return f"{context['error']}."
    if "expected" in context:
        context = {"expected": context["expected"].replace("'", "").replace(" or ", ", ")}
    return found % context if found else _("%(error)s.") % {"error": entry["msg"]}


def refuse_unknown_parameters(views: Iterable[PathView]) -> None:
    """Have operations refuse parameters that they do not know: a typo would pass for a filter."""
    for view in views:
        for operation in view.operations:
            queries = [model for model in operation.models if model.__ninja_param_source__ == "query"]
            known = {name for model in queries for name in model.__ninja_flatten_map__}
            operation._get_values = _checked(known, operation._get_values)  # type: ignore[method-assign]


def _checked(known: set[str], read: Callable[..., Any]) -> Callable[..., Any]:
    def get_values(request: HttpRequest, *more: Any) -> Any:
        if unknown := sorted(set(request.GET) - known):
            raise ValidationError([{"type": "unknown_parameter", "loc": ("query", name)} for name in unknown])
        return read(request, *more)

    return get_values
