"""manage.py configuration: the reference of all settings, as it is kept in docs/configuration.md."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand

READERS = {"number", "switch", "read", "folder", "os.environ.get", "env.list"}
INTRODUCTION = """\
# Configuration

Every setting is an environment variable, read at the start. A wrong value stops the start with a
sentence that names it. Separate several hosts, keys, origins or recipes by commas.
`manage.py configuration` generates this page from `cifarsite/settings.py`.
"""


@dataclass(frozen=True)
class Variable:
    """One environment variable: what it is for comes from the comment above the line that reads it."""

    section: str
    name: str
    default: str
    purpose: str


# Read by commands, libraries and the files in deploy/, not by the settings: name, default, meaning.
ELSEWHERE = (
    ("ADMIN_USERNAME", "admin", "Name of the first admin, whom `prepare` and `make run` make."),
    ("ADMIN_PASSWORD", "", "Their password; empty: a random one, printed once."),
    ("WEB_BIND", "127.0.0.1:8000", "Address of gunicorn, where no socket is handed over by systemd."),
    ("WEB_PROCESSES", "2", "Gunicorn's processes, of 24 threads each."),
    ("QUEUES", "", "Docker, Kubernetes: queues of a worker, `predict,batch,default` or `train`."),
    ("POSTGRES_PASSWORD", "", "Docker Compose: password of its database."),
    ("AWS_ACCESS_KEY_ID", "", "Key of the S3 store; empty: the machine's role."),
    ("AWS_SECRET_ACCESS_KEY", "", "Its secret."),
    ("AWS_DEFAULT_REGION", "", "Region of the S3 store."),
    ("KERAS_HOME", "~/.keras", "Where downloaded data sets are kept, without CIFAR10_DIR."),
    ("CUDA_VISIBLE_DEVICES", "", "GPUs that a worker may use, such as `0`; `-1`: none."),
    ("TF_CPP_MIN_LOG_LEVEL", "2", "TensorFlow's own lines: 0 all, 3 errors alone."),
    ("PROMETHEUS_MULTIPROC_DIR", "", "Folder of the processes' counters; empty: metrics/ in VAR_DIR."),
    ("OIDC_<NAME>_URL", "", "And seven more of each organisation in OIDC_PROVIDERS: docs/sign-in.md."),
)


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
            name, default = call
            # A function's body reads what its caller names; a branch is looked at statement by statement.
            if name in seen or isinstance(statement, (ast.FunctionDef, ast.If)):
                continue
            seen.add(name)
            section, purpose = _heading(lines, statement.lineno), _comment_above(lines, statement.lineno)
            yield Variable(section, name, default, purpose)


def _reading(node: ast.AST) -> tuple[str, str] | None:
    if not isinstance(node, ast.Call) or not node.args or not isinstance(node.args[0], ast.Constant):
        return None
    name, reader = node.args[0].value, ast.unparse(node.func)
    if reader not in READERS or not isinstance(name, str):
        return None
    given = [keyword.value for keyword in node.keywords if keyword.arg == "default"]
    given += node.args[2:3] if reader == "read" else node.args[1:2]
    return name, _shown(given[0]) if given else ""


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


def entry(name: str, default: str, purpose: str) -> str:
    return f"- `{name}`" + (f" (`{default}`)" if default else "") + f": {purpose}\n"


def reference(source: str) -> str:
    """The whole page, Markdown."""
    parts = [INTRODUCTION]
    section = None
    for variable in variables(source):
        if variable.section != section:
            section = variable.section
            parts.append(f"\n## {section}\n\n")
        parts.append(entry(variable.name, variable.default, variable.purpose))
    parts.append("\n## Read by others than the settings\n\n")
    parts += [entry(*each) for each in ELSEWHERE]
    return "".join(parts)


class Command(BaseCommand):
    help = "Print the reference of all settings: manage.py configuration > docs/configuration.md"

    def handle(self, *args: Any, **options: Any) -> None:
        self.stdout.write(reference((settings.BASE_DIR / "cifarsite" / "settings.py").read_text()), ending="")
