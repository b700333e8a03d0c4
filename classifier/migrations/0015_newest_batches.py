from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("classifier", "0014_corrections_not_feedback")]

    operations = [
        migrations.AddIndex(
            model_name="batch",
            index=models.Index(fields=["-created_at", "-id"], name="batch_newest"),
        ),
    ]
