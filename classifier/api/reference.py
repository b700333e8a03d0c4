"""The API's pages: Swagger, in which it can be tried, and a reference that reads from top to bottom."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.html import escape
from django.utils.safestring import SafeString, mark_safe
from django.utils.translation import gettext as _
from django.views.decorators.csrf import ensure_csrf_cookie
from django.views.decorators.http import require_safe
from ninja.openapi.docs import Swagger

from classifier.api.application import api
from classifier.api.errors import problem_response


@require_safe
@ensure_csrf_cookie
def docs(request: HttpRequest) -> HttpResponse:
    return Swagger(settings={"docExpansion": "list", "persistAuthorization": False}).render_page(request, api)


@require_safe
def reference(request: HttpRequest) -> HttpResponse:
    groups, types = contents()
    return render(request, "classifier/api/api_reference.html", {"groups": groups, "types": types})


def no_such_address(request: HttpRequest) -> HttpResponse:
    return problem_response(404, "not_found", _("There is no such address: see /api/docs."))


@cache
def contents() -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The operations by tag, and the types they speak of; made from the same schema."""
    schema = api.get_openapi_schema()
    shapes = schema["components"]["schemas"]
    found: dict[str, list[dict[str, Any]]] = {}
    for path, operations in schema["paths"].items():
        for method, operation in operations.items():
            described = _operation(path, method, operation, shapes)
            found.setdefault(operation["tags"][0], []).append(described)
    groups = [{**tag, "operations": found[tag["name"]]} for tag in schema["tags"]]
    types = [
        {"name": name, "description": _with_code(shape["description"]), "members": _members(shape, "")}
        for name, shape in sorted(shapes.items())
        if not name.endswith("Body")
    ]
    return groups, types


def _operation(path: str, method: str, operation: dict[str, Any], shapes: dict[str, Any]) -> dict[str, Any]:
    inputs = [
        {
            "name": parameter["name"],
            "place": parameter["in"],
            "required": parameter["required"],
            "type": _type(parameter["schema"]),
            "description": _with_code(parameter.get("description", "")),
        }
        for parameter in operation["parameters"]
    ]
    for kind, content in operation.get("requestBody", {}).get("content", {}).items():
        inputs += _members(_resolved(content["schema"], shapes), kind)
    answers = []
    for status, response in operation["responses"].items():
        contents: dict[str, dict[str, Any]] = response.get("content") or {"": {}}
        kind, content = next(iter(contents.items()))
        shape = _resolved(content.get("schema", {}), shapes)
        answers.append(
            {
                "status": status,
                "description": response["description"],
                "kind": kind,
                "members": _members(shape, "") if int(status) < 400 else [],
                "example": content.get("example"),
            }
        )
    return {
        "id": operation["operationId"],
        "method": method.upper(),
        "path": path,
        "summary": operation["summary"],
        "description": _with_code(operation["description"]),
        "inputs": inputs,
        "answers": answers,
    }


def _members(shape: dict[str, Any], place: str) -> list[dict[str, Any]]:
    required = shape.get("required", [])
    return [
        {
            "name": name,
            "place": place,
            "required": name in required,
            "type": _type(member),
            "description": _with_code(member.get("description", "")),
        }
        for name, member in shape.get("properties", {}).items()
    ]


def _resolved(shape: dict[str, Any], shapes: dict[str, Any]) -> dict[str, Any]:
    name = shape.get("$ref", "").rsplit("/", 1)[-1]
    found: dict[str, Any] = shapes[name] if name else shape
    return found


def _type(shape: dict[str, Any]) -> str:
    """A shape in a few words, such as 'integer, 0 to 30' or 'list of PhotoAnswer'."""
    if "$ref" in shape:
        return str(shape["$ref"]).rsplit("/", 1)[-1]
    if "anyOf" in shape:
        parts = [_type(part) for part in shape["anyOf"] if part.get("const") != ""]
        return " or ".join(dict.fromkeys(parts))
    if "enum" in shape:
        return ", ".join(map(str, shape["enum"]))
    if shape.get("type") == "array":
        return f"list of {_type(shape['items'])}"
    words = str(shape.get("format") or shape.get("type") or "any")
    if "minimum" in shape and "maximum" in shape:
        words += f", {shape['minimum']} to {shape['maximum']}"
    return words


def _with_code(text: str) -> SafeString:
    """Markdown's backticks as HTML's code; everything else stays text."""
    return mark_safe(re.sub("`([^`]+)`", r"<code>\1</code>", escape(text)))  # noqa: S308
