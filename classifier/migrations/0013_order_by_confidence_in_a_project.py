from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("classifier", "0012_time_zones"),
        ("training", "0009_schedule_numbers"),
    ]

    operations = [
        migrations.AddIndex(
            model_name="prediction",
            index=models.Index(
                condition=models.Q(("confidence__isnull", False), ("is_current", True)),
                fields=["owner", "project", "confidence", "photo"],
                name="prediction_project_confidence",
            ),
        ),
    ]
