from typing import Any

import django.db.models.deletion
from django.db import migrations, models


def drop_what_names_no_photo(apps: Any, schema_editor: Any) -> None:
    """Reports on people's photos from before do not say which photo was which, so a withdrawal could
    not find what they kept of it: they keep their figures. The sweeper removes the files.
    """
    alias = schema_editor.connection.alias
    reports = apps.get_model("training", "EvaluationReport").objects.using(alias)
    sets = apps.get_model("training", "EvaluationSet").objects.using(alias)
    added = sets.values_list("sha256", flat=True)
    for report in reports.exclude(dataset="CIFAR-10 test").exclude(dataset_sha256__in=list(added)):
        if report.figures.get("panels", {}).pop("answers", None):
            report.save(update_fields=["figures"])


class Migration(migrations.Migration):
    dependencies = [("training", "0002_field_names")]

    operations = [
        migrations.CreateModel(
            name="MeasuredPhoto",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("row", models.PositiveIntegerField(verbose_name="place in the set")),
                ("file", models.CharField(max_length=200, verbose_name="file")),
                (
                    "image",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="measured",
                        to="training.datasetimage",
                        verbose_name="image of a dataset",
                    ),
                ),
                (
                    "report",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="photos",
                        to="training.evaluationreport",
                        verbose_name="report",
                    ),
                ),
            ],
            options={
                "verbose_name": "photo that measured a model",
                "verbose_name_plural": "photos that measured models",
                "ordering": ["report", "row"],
                "constraints": [models.UniqueConstraint(fields=("report", "row"), name="one_photo_a_row")],
            },
        ),
        migrations.RunPython(drop_what_names_no_photo, migrations.RunPython.noop, elidable=True),
    ]
