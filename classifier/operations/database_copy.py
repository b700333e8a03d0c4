"""Move a site's rows from one database to another, such as from SQLite to PostgreSQL.

Every row keeps its id and its times; files stay where they are. All or nothing: one transaction.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from django.apps import apps
from django.core import serializers
from django.core.management import call_command
from django.core.management.color import no_style
from django.db import connections, models, transaction

ROWS_AT_ONCE = 1_000


class MoveError(Exception):
    """The move cannot be done; the message says what to do."""


def copy_rows(
    source: str, target: str, *, on_table: Callable[[str, int], None] = lambda name, rows: None
) -> dict[str, int]:
    """Migrate ``target`` and copy every row of ``source`` into it.

    Args:
        source, target: aliases of two databases; the target holds nobody's data yet.
        on_table: told of each table and its rows once it is copied.

    Returns:
        Rows by the model's name.

    Raises:
        MoveError: the target is in use, or has other rows than the source afterwards.
    """
    call_command("migrate", database=target, interactive=False, verbosity=0)
    call_command("createcachetable", database=target, verbosity=0)
    user = apps.get_model("classifier.User")
    if user._base_manager.using(target).exists():
        raise MoveError("The target already contains accounts: use an empty database.")
    tables = kept_models()
    counts = {}
    with transaction.atomic(using=source), transaction.atomic(using=target):
        with connections[target].constraint_checks_disabled():
            _clear(tables, target)
            for model in tables:
                counts[model._meta.label] = _copy(model, source, target)
                on_table(model._meta.label, counts[model._meta.label])
        connections[target].check_constraints()
        _set_sequences(target)
        for model in tables:
            found = model._base_manager.using(target).count()
            if found != counts[model._meta.label]:
                raise MoveError(
                    f"{model._meta.label} has {found} rows instead of {counts[model._meta.label]}: "
                    "nothing was kept. Stop whatever writes to the target, and start again."
                )
    return counts


def kept_models() -> list[type[models.Model]]:
    """Tables in an order in which each comes after those that it points to."""
    found = serializers.sort_dependencies(
        [(config, None) for config in apps.get_app_configs()], allow_cycles=True
    )
    return [model for model in found if model._meta.managed and not model._meta.proxy]


def _clear(tables: list[type[models.Model]], target: str) -> None:
    """What migrating itself wrote: the source has its own, with its own ids."""
    with connections[target].cursor() as cursor:
        for model in reversed(tables):
            name = connections[target].ops.quote_name(model._meta.db_table)
            cursor.execute(f"DELETE FROM {name}")  # noqa: S608 (a table of our own)


def _copy(model: type[models.Model], source: str, target: str) -> int:
    rows = model._base_manager.using(source).order_by("pk").iterator(ROWS_AT_ONCE)
    count = 0
    for written in serializers.deserialize("python", _as_values(rows), using=target):
        # Raw: neither new times nor what a model would refuse to save again.
        written.save(save_m2m=True, using=target, force_insert=True)
        count += 1
    return count


def _as_values(rows: Iterator[Any]) -> Iterator[dict[str, Any]]:
    python = serializers.get_serializer("python")()
    for row in rows:
        yield python.serialize([row])[0]


def _set_sequences(target: str) -> None:
    """New rows get numbers behind the copied ones; in the tables between two others, too."""
    connection = connections[target]
    tables = apps.get_models(include_auto_created=True)
    with connection.cursor() as cursor:
        for statement in connection.ops.sequence_reset_sql(no_style(), tables):
            cursor.execute(statement)
