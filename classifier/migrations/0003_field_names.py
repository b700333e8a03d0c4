"""Tables and columns by the field's words."""

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("classifier", "0002_relations"), ("training", "0002_field_names")]

    operations = [
        # Those of renamed columns first: SQLite makes a table anew with them.
        migrations.RemoveConstraint(
            model_name="rerun",
            name="one_rerun_at_a_time",
        ),
        migrations.RemoveIndex(
            model_name="prediction",
            name="prediction_by_owner_says",
        ),
        migrations.RemoveIndex(
            model_name="prediction",
            name="prediction_says_confidence",
        ),
        migrations.RemoveIndex(
            model_name="rerunitem",
            name="rerunitem_changed",
        ),
        migrations.RenameModel("Rerun", "Reclassification"),
        migrations.RenameModel("RerunItem", "ReclassificationItem"),
        migrations.RenameField("ReclassificationItem", "rerun", "reclassification"),
        migrations.RenameField("Prediction", "owner_says", "user_feedback"),
        migrations.RenameField("Prediction", "receipt", "provenance"),
        migrations.RenameField("Example", "twin", "near_duplicate_of"),
        migrations.AlterModelOptions(
            name="reclassification",
            options={
                "ordering": ["-id"],
                "verbose_name": "reclassification",
                "verbose_name_plural": "reclassifications",
            },
        ),
        migrations.AlterModelOptions(
            name="reclassificationitem",
            options={
                "ordering": ["-id"],
                "verbose_name": "photo of a reclassification",
                "verbose_name_plural": "photos of reclassifications",
            },
        ),
        migrations.AlterField(
            model_name="prediction",
            name="provenance",
            field=models.JSONField(
                default=dict,
                help_text="What the answer was made with: calibration, thresholds.",
                verbose_name="provenance",
            ),
        ),
        migrations.AlterField(
            model_name="reclassification",
            name="model",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.CASCADE,
                related_name="reclassifications",
                to="training.modelversion",
                verbose_name="model version",
            ),
        ),
        migrations.AlterField(
            model_name="reclassificationitem",
            name="prediction",
            field=models.OneToOneField(
                on_delete=django.db.models.deletion.CASCADE,
                related_name="reclassification_item",
                to="classifier.prediction",
                verbose_name="new answer",
            ),
        ),
        migrations.AlterField(
            model_name="reclassificationitem",
            name="reclassification",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.CASCADE,
                related_name="items",
                to="classifier.reclassification",
                verbose_name="reclassification",
            ),
        ),
        migrations.AddIndex(
            model_name="prediction",
            index=models.Index(
                condition=models.Q(("is_current", True)),
                fields=["owner", "user_feedback", "-photo_created_at", "-photo"],
                name="prediction_by_owner_says",
            ),
        ),
        migrations.AddIndex(
            model_name="prediction",
            index=models.Index(
                condition=models.Q(("confidence__isnull", False), ("is_current", True)),
                fields=["owner", "user_feedback", "confidence", "photo"],
                name="prediction_says_confidence",
            ),
        ),
        migrations.AddIndex(
            model_name="reclassificationitem",
            index=models.Index(
                fields=["reclassification", "changed", "-id"], name="reclassification_changed"
            ),
        ),
        migrations.AddConstraint(
            model_name="reclassification",
            constraint=models.UniqueConstraint(
                condition=models.Q(("state", "running")),
                fields=("state",),
                name="one_reclassification_at_a_time",
            ),
        ),
    ]
