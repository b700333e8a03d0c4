import django.utils.timezone
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("classifier", "0005_paused_batches")]

    operations = [
        migrations.CreateModel(
            name="Mail",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("to", models.EmailField(max_length=254, verbose_name="to")),
                ("subject", models.TextField(verbose_name="subject")),
                ("body", models.TextField(verbose_name="text")),
                ("tries", models.PositiveSmallIntegerField(default=0, verbose_name="tries")),
                (
                    "due_at",
                    models.DateTimeField(
                        db_index=True, default=django.utils.timezone.now, verbose_name="due at"
                    ),
                ),
            ],
            options={"verbose_name": "waiting mail", "verbose_name_plural": "waiting mails"},
        ),
    ]
