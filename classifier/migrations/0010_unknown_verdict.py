from typing import Any

from django.db import migrations

OLD, NEW = "none_of_the_ten", "unknown"
COLUMNS = (
    ("Prediction", "verdict"),
    ("Correction", "label"),
    ("Correction", "predicted"),
    ("Example", "label"),
    ("ShadowAnswer", "live"),
    ("ShadowAnswer", "said"),
    ("ReclassificationItem", "before"),
    ("ReclassificationItem", "after"),
)
COUNTS = (("DriftDay", "labels"), ("DriftDay", "verdicts"), ("DayCount", "labels"), ("Batch", "totals"))


def rename(apps: Any, schema_editor: Any) -> None:
    alias = schema_editor.connection.alias
    for model, field in COLUMNS:
        rows = apps.get_model("classifier", model).objects.using(alias)
        rows.filter(**{field: OLD}).update(**{field: NEW})
    for model, field in COUNTS:
        rows = apps.get_model("classifier", model).objects.using(alias)
        for row in rows.filter(**{f"{field}__has_key": OLD}).only("pk", field).iterator():
            counts = getattr(row, field)
            counts[NEW] = counts.pop(OLD)
            rows.filter(pk=row.pk).update(**{field: counts})


class Migration(migrations.Migration):
    dependencies = [("classifier", "0009_projects")]

    operations = [migrations.RunPython(rename, migrations.RunPython.noop, elidable=True)]
