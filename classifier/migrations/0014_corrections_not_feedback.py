"""A person's change of a label is called a correction in the admin, too."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("classifier", "0013_order_by_confidence_in_a_project")]

    operations = [
        migrations.AlterField(
            model_name="driftday",
            name="agreed",
            field=models.PositiveIntegerField(verbose_name="predictions confirmed"),
        ),
        migrations.AlterField(
            model_name="driftday",
            name="opinions",
            field=models.PositiveIntegerField(verbose_name="predictions confirmed or corrected"),
        ),
        migrations.AlterField(
            model_name="prediction",
            name="user_feedback",
            field=models.CharField(
                blank=True,
                choices=[
                    ("agrees", "you agreed"),
                    ("differs", "you corrected it"),
                    ("not_sure", "you were not sure"),
                ],
                editable=False,
                max_length=8,
                verbose_name="owner's correction",
            ),
        ),
    ]
