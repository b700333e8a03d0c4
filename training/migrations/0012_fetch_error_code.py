"""Why a download of CIFAR-10 failed, as a code that pages put into words."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("training", "0011_fetch_cifar10"),
    ]

    operations = [
        migrations.AddField(
            model_name="cifar10fetch",
            name="error_code",
            field=models.CharField(
                blank=True,
                db_default="",
                default="",
                editable=False,
                max_length=20,
                verbose_name="error code",
            ),
        ),
    ]
