import django.db.models.deletion
from django.db import migrations, models

import training.models.versions


class Migration(migrations.Migration):
    dependencies = [("training", "0006_default_project")]

    operations = [
        migrations.RemoveConstraint(
            model_name="modelversion",
            name="exactly_one_champion",
        ),
        migrations.AddField(
            model_name="modelversion",
            name="classes",
            field=models.JSONField(
                default=training.models.versions.cifar10_classes, editable=False, verbose_name="classes"
            ),
        ),
        migrations.AddField(
            model_name="datasetversion",
            name="project",
            field=models.ForeignKey(
                default="cifar10",
                on_delete=django.db.models.deletion.PROTECT,
                related_name="datasets",
                to="training.project",
                verbose_name="project",
            ),
        ),
        migrations.AddField(
            model_name="evaluationset",
            name="project",
            field=models.ForeignKey(
                default="cifar10",
                on_delete=django.db.models.deletion.PROTECT,
                related_name="evaluation_sets",
                to="training.project",
                verbose_name="project",
            ),
        ),
        migrations.AddField(
            model_name="modelversion",
            name="project",
            field=models.ForeignKey(
                default="cifar10",
                on_delete=django.db.models.deletion.PROTECT,
                related_name="models",
                to="training.project",
                verbose_name="project",
            ),
        ),
        migrations.AddField(
            model_name="schedule",
            name="project",
            field=models.OneToOneField(
                default="cifar10",
                on_delete=django.db.models.deletion.CASCADE,
                related_name="schedule",
                to="training.project",
                verbose_name="project",
            ),
        ),
        migrations.AddField(
            model_name="trainingjob",
            name="project",
            field=models.ForeignKey(
                default="cifar10",
                on_delete=django.db.models.deletion.PROTECT,
                related_name="jobs",
                to="training.project",
                verbose_name="project",
            ),
        ),
        migrations.AddConstraint(
            model_name="modelversion",
            constraint=models.UniqueConstraint(
                condition=models.Q(("is_champion", True)), fields=("project",), name="one_champion_a_project"
            ),
        ),
    ]
