"""manage.py configuration: the reference of all settings, as it is kept in docs/configuration.md."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand

READERS = {"number": "whole number", "switch": "true or false", "read": "number"}
INTRODUCTION = """\
# Configuration

Every setting is an environment variable, read once at the start; a wrong value ends the start with a
sentence that names it. This page is made from `cifarsite/settings.py` by `manage.py configuration`.
"""


@dataclass(frozen=True)
class Variable:
    """One environment variable: what it is for comes from the comment above the line that reads it."""

    section: str
    name: str
    kind: str
    default: str
    purpose: str


def variables(source: str) -> Iterator[Variable]:
    """The environment variables that a settings module reads, in its order, each once.

    Args:
        source: the module's text. ``# --- Title ---`` begins a section.
    """
    lines = source.splitlines()
    seen: set[str] = set()
    statements = (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.stmt))
    for statement in sorted(statements, key=lambda node: node.lineno):
        for call in filter(None, map(_reading, ast.walk(statement))):
            name, kind, default = call
            # A function's body reads what its caller names; a branch is looked at statement by statement.
            if name in seen or isinstance(statement, (ast.FunctionDef, ast.If)):
                continue
            seen.add(name)
            section, purpose = _heading(lines, statement.lineno), _comment_above(lines, statement.lineno)
            yield Variable(section, name, kind, default, purpose)


def _reading(node: ast.AST) -> tuple[str, str, str] | None:
    if not isinstance(node, ast.Call) or not node.args or not isinstance(node.args[0], ast.Constant):
        return None
    name, reader = node.args[0].value, ast.unparse(node.func)
    kind = READERS.get(reader) or {"os.environ.get": "text", "env.list": "list, by commas"}.get(reader)
    if kind is None or not isinstance(name, str):
        return None
    given = [keyword.value for keyword in node.keywords if keyword.arg == "default"]
    given += node.args[2:3] if reader == "read" else node.args[1:2]
    return name, kind, _shown(given[0]) if given else ""


def _shown(default: ast.expr) -> str:
    if not isinstance(default, (ast.Constant, ast.List)):
        return ""
    value = ast.literal_eval(default)
    if isinstance(value, list):
        return ",".join(map(str, value))
    return str(value).lower() if isinstance(value, bool) else str(value)


def _heading(lines: list[str], number: int) -> str:
    titles = (line.strip("# -") for line in reversed(lines[:number]) if line.startswith("# --- "))
    return next(titles, "The site")


def _comment_above(lines: list[str], number: int) -> str:
    words: list[str] = []
    for line in reversed(lines[: number - 1]):
        if not line.strip().startswith("#") or line.startswith("# --- "):
            break
        words.insert(0, line.strip().lstrip("# "))
    return " ".join(words)


def reference(source: str) -> str:
    """The whole page, Markdown."""
    parts = [INTRODUCTION]
    section = None
    for variable in variables(source):
        if variable.section != section:
            section = variable.section
            parts.append(
                f"\n## {section}\n\n| variable | kind | default | what it does |\n| --- | --- | --- | --- |\n"
            )
        default = f"`{variable.default}`" if variable.default else ""
        purpose = variable.purpose.replace("|", "\\|")
        parts.append(f"| `{variable.name}` | {variable.kind} | {default} | {purpose} |\n")
    return "".join(parts)


class Command(BaseCommand):
    help = "Print the reference of all settings: manage.py configuration > docs/configuration.md"

    def handle(self, *args: Any, **options: Any) -> None:
        self.stdout.write(reference((settings.BASE_DIR / "cifarsite" / "settings.py").read_text()), ending="")
