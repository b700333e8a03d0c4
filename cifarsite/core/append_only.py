"""Triggers that make the database itself refuse to change or delete what is append-only.

They are put in place after every migration, since SQLite drops them when a table is rebuilt.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from django.apps import AppConfig, apps
from django.core.exceptions import ValidationError
from django.db import connections, models
from django.utils.translation import gettext_lazy as _


class AppendOnlyRows(models.QuerySet[Any]):
    """Rows of an ``AppendOnly`` table; all that can be done to them is to forget a person."""

    def update(self, **values: Any) -> int:
        if any(value is not None for value in values.values()):
            raise ValidationError(_("This record can only be added to, not changed."))
        return super().update(**values)

    def delete(self) -> Any:
        raise ValidationError(_("This record can only be added to, not deleted."))

    def remove_aged(self, before: datetime, at_once: int = 5_000) -> int:
        """Delete rows of ``kinds_that_age``, the oldest first. Returns how many."""
        aged = self.filter(kind__in=self.model.kinds_that_age, created_at__lt=before).order_by("pk")
        ids = list(aged.values_list("pk", flat=True)[:at_once])
        return models.QuerySet.delete(self.filter(pk__in=ids))[0]


class AppendOnly(models.Model):
    """A row that is written once: it can be neither changed nor deleted.

    The database itself refuses too, see ``cifarsite.core.append_only``; what names a person may become
    null there. ``kept_for_good``: not even together with what it is about. Rows whose ``kind`` is one of
    ``kinds_that_age`` may be deleted once they are a week old.
    """

    kept_for_good = True
    kinds_that_age: tuple[str, ...] = ()

    objects = AppendOnlyRows.as_manager()

    class Meta:
        abstract = True

    def save(self, *args: Any, **kwargs: Any) -> None:
        if self.pk and not self._state.adding:
            raise ValidationError(_("This record can only be added to, not changed."))
        super().save(*args, **kwargs)

    def delete(self, *args: Any, **kwargs: Any) -> tuple[int, dict[str, int]]:
        raise ValidationError(_("This record can only be added to, not deleted."))


FUNCTION = """
CREATE OR REPLACE FUNCTION refuse_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN RAISE EXCEPTION 'append-only' USING ERRCODE = 'integrity_constraint_violation'; END $$
"""


def forbid_changes(sender: AppConfig, using: str = "default", **kwargs: Any) -> None:
    """Put the triggers of one app's tables in place; called after each migration."""
    connection = connections[using]
    tables = connection.introspection.table_names()
    models = [model for model in append_only_models(sender) if model._meta.db_table in tables]
    allow_changes(sender, using)
    with connection.cursor() as cursor:
        if models and connection.vendor == "postgresql":
            cursor.execute(FUNCTION)
        for model in models:
            described = connection.introspection.get_table_description(cursor, model._meta.db_table)
            # On the way to today's tables a column of today's model may still be missing.
            columns = {column.name for column in described}
            for name, event, condition in _triggers(model, connection.vendor, columns):
                cursor.execute(_create(connection.vendor, name, event, model._meta.db_table, condition))


def allow_changes(sender: AppConfig | None = None, using: str = "default") -> None:
    """Take the triggers away, as a test does that empties all tables."""
    connection = connections[using]
    tables = connection.introspection.table_names()
    with connection.cursor() as cursor:
        for model in append_only_models(sender):
            table = model._meta.db_table
            for name, _event, _condition in _triggers(model, connection.vendor, set()):
                if table in tables:
                    of = f' ON "{table}"' if connection.vendor == "postgresql" else ""
                    cursor.execute(f'DROP TRIGGER IF EXISTS "{name}"{of}')


def append_only_models(app: AppConfig | None = None) -> list[type[AppendOnly]]:
    found = app.get_models() if app else apps.get_models()
    return [model for model in found if issubclass(model, AppendOnly)]


def _triggers(model: type[AppendOnly], vendor: str, columns: set[str]) -> Iterator[tuple[str, str, str]]:
    """(name, event, when). What names a person, or where they were, may only become null."""
    changes = []
    for field in model._meta.concrete_fields:
        if field.column not in columns:
            continue
        changed = f'OLD."{field.column}" IS DISTINCT FROM NEW."{field.column}"'
        if field.null and (field.is_relation or field.get_internal_type() == "GenericIPAddressField"):
            changed = f'({changed} AND NEW."{field.column}" IS NOT NULL)'
        elif field.get_internal_type() == "JSONField":
            changed = f'CAST(OLD."{field.column}" AS text) <> CAST(NEW."{field.column}" AS text)'
        changes.append(changed)
    table = model._meta.db_table
    yield f"{table}_not_changed", "UPDATE", " OR ".join(changes)
    if model.kept_for_good:
        yield f"{table}_not_deleted", "DELETE", _unless_aged(model, vendor)
        if vendor == "postgresql":  # what `manage.py flush` does there; SQLite knows only DELETE
            yield f"{table}_not_emptied", "TRUNCATE", ""


def _unless_aged(model: type[AppendOnly], vendor: str) -> str:
    """What the row to be deleted is, where deleting is refused; a day less than the sweeper's least age."""
    if not model.kinds_that_age:
        return ""
    kinds = ", ".join(f"'{kind}'" for kind in model.kinds_that_age)
    ago = "now() - interval '6 days'" if vendor == "postgresql" else "datetime('now', '-6 days')"
    return f'OLD."kind" NOT IN ({kinds}) OR OLD."created_at" > {ago}'


def _create(vendor: str, name: str, event: str, table: str, condition: str) -> str:
    when = f"WHEN ({condition})" if condition else ""
    if vendor == "postgresql":
        do = "EXECUTE FUNCTION refuse_append_only()"
    else:
        when = when.replace("IS DISTINCT FROM", "IS NOT")  # known to older SQLite too
        do = "BEGIN SELECT RAISE(ABORT, 'append-only'); END"
    each = "STATEMENT" if event == "TRUNCATE" else "ROW"
    return f'CREATE TRIGGER "{name}" BEFORE {event} ON "{table}" FOR EACH {each} {when} {do}'
