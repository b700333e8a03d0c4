from typing import Any

from django.db import migrations


def renamed(value: Any) -> Any:
    """``value`` with the verdict's former name replaced wherever it is a key or a text."""
    if isinstance(value, dict):
        return {renamed(key): renamed(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [renamed(inner) for inner in value]
    return "unknown" if value == "none_of_the_ten" else value


def rename(apps: Any, schema_editor: Any) -> None:
    alias = schema_editor.connection.alias
    for model, field in (("ModelVersion", "card"), ("EvaluationReport", "figures")):
        rows = apps.get_model("training", model).objects.using(alias)
        for row in rows.only("pk", field).iterator(chunk_size=20):
            if (new := renamed(getattr(row, field))) != getattr(row, field):
                rows.filter(pk=row.pk).update(**{field: new})


class Migration(migrations.Migration):
    dependencies = [("training", "0007_project_of_rows")]

    operations = [migrations.RunPython(rename, migrations.RunPython.noop, elidable=True)]
