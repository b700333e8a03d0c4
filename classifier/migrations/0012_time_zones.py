"""A person's time zone, and how many photos came in each quarter of an hour, to show days of that zone."""

from django.db import migrations, models
from django.db.models import F


def count_again(apps, schema_editor):
    apps.get_model("classifier", "DayCount").objects.using(schema_editor.connection.alias).update(
        changes=F("changes") + 1
    )


class Migration(migrations.Migration):
    dependencies = [("classifier", "0011_batch_webhooks")]

    operations = [
        migrations.AddField(
            model_name="user",
            name="time_zone",
            field=models.CharField(blank=True, db_default="", max_length=64, verbose_name="time zone"),
        ),
        migrations.AddField(
            model_name="daycount",
            name="quarters",
            field=models.JSONField(null=True, verbose_name="photos by quarter of an hour"),
        ),
        migrations.RunPython(count_again, migrations.RunPython.noop),
    ]
