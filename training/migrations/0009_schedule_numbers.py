from django.core.management.color import no_style
from django.db import migrations


def count_on(apps, schema_editor):
    """The one schedule had its number given; PostgreSQL would give the next one the same."""
    schedule = apps.get_model("training", "Schedule")
    for statement in schema_editor.connection.ops.sequence_reset_sql(no_style(), [schedule]):
        schema_editor.execute(statement)


class Migration(migrations.Migration):
    dependencies = [("training", "0008_unknown_verdict")]

    operations = [migrations.RunPython(count_on, migrations.RunPython.noop)]
