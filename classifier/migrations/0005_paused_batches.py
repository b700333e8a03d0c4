from typing import Any

from django.db import migrations, models
from django.utils import timezone


def from_now_on(apps: Any, schema_editor: Any) -> None:
    """What is paused already has its full time from the day on which the limit comes."""
    batches = apps.get_model("classifier", "Batch").objects.using(schema_editor.connection.alias)
    batches.filter(state="paused").update(paused_at=timezone.now())


class Migration(migrations.Migration):
    dependencies = [("classifier", "0004_only_owners_corrections")]

    operations = [
        migrations.AddField(
            model_name="batch",
            name="paused_at",
            field=models.DateTimeField(editable=False, null=True, verbose_name="paused at"),
        ),
        migrations.RunPython(from_now_on, migrations.RunPython.noop, elidable=True),
    ]
