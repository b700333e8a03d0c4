"""How many images a class has, kept in its row; files that are to be removed."""

from typing import Any

from django.db import migrations, models
from django.db.models import Count


def count_images(apps: Any, schema_editor: Any) -> None:
    alias = schema_editor.connection.alias
    images = apps.get_model("training", "ProjectImage").objects.using(alias)
    classes = apps.get_model("training", "ProjectClass").objects.using(alias)
    found = images.order_by().values_list("label").annotate(n=Count("*"))
    for label, n in list(found):
        classes.filter(pk=label).update(image_count=n)


class Migration(migrations.Migration):
    dependencies = [
        ("training", "0012_fetch_error_code"),
    ]

    operations = [
        migrations.AddField(
            model_name="projectclass",
            name="image_count",
            field=models.PositiveIntegerField(db_default=0, default=0, editable=False, verbose_name="images"),
        ),
        migrations.CreateModel(
            name="RemovedFile",
            fields=[
                (
                    "name",
                    models.CharField(max_length=200, primary_key=True, serialize=False, verbose_name="name"),
                ),
                (
                    "tries",
                    models.PositiveIntegerField(db_default=0, default=0, verbose_name="failed tries"),
                ),
                ("created_at", models.DateTimeField(auto_now_add=True, verbose_name="removed at")),
            ],
            options={
                "verbose_name": "file to be removed",
                "verbose_name_plural": "files to be removed",
                "ordering": ["tries", "name"],
                "indexes": [models.Index(fields=["tries", "name"], name="removedfile_next")],
            },
        ),
        migrations.RunPython(count_images, migrations.RunPython.noop),
    ]
