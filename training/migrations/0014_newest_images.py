from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("training", "0013_image_counts")]

    operations = [
        migrations.AddIndex(
            model_name="projectimage",
            index=models.Index(fields=["-created_at", "-id"], name="projectimage_newest"),
        ),
    ]
