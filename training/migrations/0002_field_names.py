"""Tables and columns by the field's words."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("training", "0001_tables")]

    operations = [
        migrations.RenameModel("NeighbourIndex", "EmbeddingIndex"),
        migrations.RenameField("ModelVersion", "trial", "smoke_test"),
        migrations.AlterField(
            model_name="modelversion",
            name="smoke_test",
            field=models.JSONField(blank=True, default=dict, editable=False, verbose_name="smoke test"),
        ),
    ]
