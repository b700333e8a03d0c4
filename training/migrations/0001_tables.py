import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models

import cifarsite.core.leases


class Migration(migrations.Migration):
    # What these did, step by step, is one step here; a site that has them goes on behind it.
    replaces = [
        ("training", "0001_initial"),
        ("training", "0002_job_events_and_schedule"),
        ("training", "0003_dataset_images"),
        ("training", "0004_evaluation_set"),
        ("training", "0005_webhooks_trials_and_refusals"),
        ("training", "0006_neighbour_index"),
        ("training", "0007_worker_problem"),
        ("training", "0008_request_ids"),
    ]

    initial = True

    dependencies = [
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="EvaluationSet",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("name", models.CharField(max_length=100, unique=True, verbose_name="name")),
                ("sha256", models.CharField(max_length=64, unique=True, verbose_name="sha256 of the images")),
                ("n", models.PositiveIntegerField(verbose_name="images")),
                ("manifest", models.JSONField(verbose_name="manifest")),
                ("created_at", models.DateTimeField(auto_now_add=True, verbose_name="created at")),
            ],
            options={
                "verbose_name": "evaluation set",
                "verbose_name_plural": "evaluation sets",
                "ordering": ["name"],
            },
        ),
        migrations.CreateModel(
            name="Worker",
            fields=[
                (
                    "name",
                    models.CharField(max_length=200, primary_key=True, serialize=False, verbose_name="name"),
                ),
                ("queues", models.JSONField(default=list, verbose_name="queues")),
                ("started_at", models.DateTimeField(verbose_name="started at")),
                ("seen_at", models.DateTimeField(db_index=True, verbose_name="last seen at")),
                (
                    "problem",
                    models.TextField(
                        blank=True,
                        default="",
                        help_text="What it cannot do, such as load the model.",
                        verbose_name="problem",
                    ),
                ),
            ],
            options={
                "verbose_name": "worker",
                "verbose_name_plural": "workers",
                "ordering": ["name"],
            },
        ),
        migrations.CreateModel(
            name="DatasetVersion",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("name", models.CharField(max_length=100, verbose_name="name")),
                ("sha256", models.CharField(max_length=64, unique=True, verbose_name="sha256")),
                ("manifest", models.JSONField(verbose_name="manifest")),
                ("created_at", models.DateTimeField(auto_now_add=True, verbose_name="created at")),
                (
                    "created_by",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                        verbose_name="created by",
                    ),
                ),
            ],
            options={
                "verbose_name": "dataset version",
                "verbose_name_plural": "dataset versions",
                "ordering": ["-created_at", "-id"],
            },
        ),
        migrations.CreateModel(
            name="ModelVersion",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("name", models.CharField(max_length=100, unique=True, verbose_name="name")),
                ("recipe", models.CharField(max_length=50, verbose_name="recipe")),
                ("sha256", models.CharField(max_length=64, unique=True, verbose_name="sha256 of the file")),
                ("size", models.PositiveBigIntegerField(verbose_name="file size in bytes")),
                ("preprocessing", models.CharField(max_length=50, verbose_name="preprocessing")),
                ("card", models.JSONField(verbose_name="card")),
                ("val_accuracy", models.FloatField(null=True, verbose_name="validation accuracy")),
                ("test_accuracy", models.FloatField(null=True, verbose_name="test accuracy")),
                ("notes", models.TextField(blank=True, verbose_name="notes")),
                ("trial", models.JSONField(blank=True, default=dict, editable=False, verbose_name="trial")),
                ("is_champion", models.BooleanField(default=False, editable=False, verbose_name="champion")),
                ("created_at", models.DateTimeField(auto_now_add=True, verbose_name="created at")),
                (
                    "dataset",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="models",
                        to="training.datasetversion",
                        verbose_name="dataset",
                    ),
                ),
            ],
            options={
                "verbose_name": "model version",
                "verbose_name_plural": "model versions",
                "ordering": ["-id"],
            },
        ),
        migrations.CreateModel(
            name="EvaluationReport",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("dataset", models.CharField(max_length=100, verbose_name="evaluated on")),
                ("dataset_sha256", models.CharField(max_length=64, verbose_name="sha256 of the images")),
                ("n", models.PositiveIntegerField(verbose_name="images")),
                ("accuracy", models.FloatField(verbose_name="accuracy")),
                ("figures", models.JSONField(verbose_name="figures")),
                ("created_at", models.DateTimeField(auto_now_add=True, verbose_name="created at")),
                (
                    "model",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="reports",
                        to="training.modelversion",
                        verbose_name="model version",
                    ),
                ),
            ],
            options={
                "verbose_name": "evaluation report",
                "verbose_name_plural": "evaluation reports",
                "ordering": ["-id"],
            },
        ),
        migrations.CreateModel(
            name="NeighbourIndex",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "attempt",
                    models.PositiveSmallIntegerField(default=0, editable=False, verbose_name="attempt"),
                ),
                ("claim", models.UUIDField(editable=False, null=True, verbose_name="claim")),
                (
                    "worker",
                    models.CharField(blank=True, editable=False, max_length=200, verbose_name="worker"),
                ),
                (
                    "lease_expires_at",
                    models.DateTimeField(editable=False, null=True, verbose_name="lease expires at"),
                ),
                (
                    "request_id",
                    models.CharField(
                        blank=True,
                        db_default="",
                        default=cifarsite.core.leases.current_request_id,
                        editable=False,
                        help_text="Of the request that asked for it: log lines carry the same.",
                        max_length=64,
                        verbose_name="request id",
                    ),
                ),
                (
                    "status",
                    models.CharField(
                        choices=[
                            ("queued", "waiting"),
                            ("running", "being collected"),
                            ("done", "done"),
                            ("failed", "failed"),
                        ],
                        default="queued",
                        max_length=8,
                        verbose_name="status",
                    ),
                ),
                ("done", models.PositiveIntegerField(default=0, verbose_name="images done")),
                ("total", models.PositiveIntegerField(default=0, verbose_name="images")),
                ("file", models.CharField(blank=True, max_length=200, verbose_name="file")),
                ("error_detail", models.TextField(blank=True, verbose_name="error")),
                ("created_at", models.DateTimeField(auto_now_add=True, verbose_name="asked for at")),
                ("finished_at", models.DateTimeField(editable=False, null=True, verbose_name="finished at")),
                (
                    "model",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="neighbour_index",
                        to="training.modelversion",
                        verbose_name="model version",
                    ),
                ),
            ],
            options={
                "verbose_name": "index of training images",
                "verbose_name_plural": "indexes of training images",
                "ordering": ["-id"],
            },
        ),
        migrations.CreateModel(
            name="Promotion",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "action",
                    models.CharField(
                        choices=[("install", "install"), ("promote", "promote"), ("rollback", "roll back")],
                        max_length=10,
                        verbose_name="action",
                    ),
                ),
                (
                    "report_sha256",
                    models.CharField(blank=True, max_length=64, verbose_name="sha256 of the report"),
                ),
                ("reason", models.TextField(verbose_name="reason")),
                ("overridden", models.BooleanField(default=False, verbose_name="gate overridden")),
                ("gate", models.JSONField(default=dict, verbose_name="what the gate found")),
                ("created_at", models.DateTimeField(auto_now_add=True, verbose_name="at")),
                (
                    "by",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                        verbose_name="by",
                    ),
                ),
                (
                    "previous",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="training.modelversion",
                        verbose_name="from",
                    ),
                ),
                (
                    "promoted",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="promotions",
                        to="training.modelversion",
                        verbose_name="to",
                    ),
                ),
                (
                    "report",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="training.evaluationreport",
                        verbose_name="report",
                    ),
                ),
            ],
            options={
                "verbose_name": "promotion",
                "verbose_name_plural": "promotions",
                "ordering": ["-id"],
            },
        ),
        migrations.CreateModel(
            name="Refusal",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("reason", models.TextField(help_text="Why somebody wanted it.", verbose_name="reason")),
                ("detail", models.TextField(verbose_name="refused because")),
                ("gate", models.JSONField(default=dict, verbose_name="what the gate found")),
                ("created_at", models.DateTimeField(auto_now_add=True, verbose_name="at")),
                (
                    "by",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                        verbose_name="by",
                    ),
                ),
                (
                    "model",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="refusals",
                        to="training.modelversion",
                        verbose_name="model version",
                    ),
                ),
            ],
            options={
                "verbose_name": "refused promotion",
                "verbose_name_plural": "refused promotions",
                "ordering": ["-id"],
            },
        ),
        migrations.CreateModel(
            name="TrainingJob",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "attempt",
                    models.PositiveSmallIntegerField(default=0, editable=False, verbose_name="attempt"),
                ),
                ("claim", models.UUIDField(editable=False, null=True, verbose_name="claim")),
                (
                    "worker",
                    models.CharField(blank=True, editable=False, max_length=200, verbose_name="worker"),
                ),
                (
                    "lease_expires_at",
                    models.DateTimeField(editable=False, null=True, verbose_name="lease expires at"),
                ),
                (
                    "request_id",
                    models.CharField(
                        blank=True,
                        db_default="",
                        default=cifarsite.core.leases.current_request_id,
                        editable=False,
                        help_text="Of the request that asked for it: log lines carry the same.",
                        max_length=64,
                        verbose_name="request id",
                    ),
                ),
                ("recipe", models.CharField(max_length=50, verbose_name="recipe")),
                ("parameters", models.JSONField(default=dict, verbose_name="parameters")),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("queued", "queued"),
                            ("running", "running"),
                            ("succeeded", "succeeded"),
                            ("failed", "failed"),
                            ("cancelled", "cancelled"),
                            ("stopped", "stopped, best epoch kept"),
                        ],
                        default="queued",
                        max_length=10,
                        verbose_name="state",
                    ),
                ),
                (
                    "request_key",
                    models.CharField(
                        editable=False, max_length=64, null=True, unique=True, verbose_name="request key"
                    ),
                ),
                ("created_at", models.DateTimeField(auto_now_add=True, verbose_name="created at")),
                ("started_at", models.DateTimeField(editable=False, null=True, verbose_name="started at")),
                ("finished_at", models.DateTimeField(editable=False, null=True, verbose_name="finished at")),
                (
                    "cancel_requested",
                    models.BooleanField(default=False, editable=False, verbose_name="cancel requested"),
                ),
                (
                    "stop_requested",
                    models.BooleanField(default=False, editable=False, verbose_name="stop requested"),
                ),
                (
                    "step",
                    models.PositiveIntegerField(default=0, editable=False, verbose_name="step in the epoch"),
                ),
                (
                    "steps",
                    models.PositiveIntegerField(default=0, editable=False, verbose_name="steps an epoch"),
                ),
                ("live", models.JSONField(blank=True, default=dict, editable=False, verbose_name="live")),
                (
                    "error_code",
                    models.CharField(blank=True, editable=False, max_length=50, verbose_name="error code"),
                ),
                ("error_detail", models.TextField(blank=True, editable=False, verbose_name="error")),
                ("traceback", models.TextField(blank=True, editable=False, verbose_name="traceback")),
                ("webhook_url", models.CharField(blank=True, max_length=500, verbose_name="webhook")),
                (
                    "webhook_state",
                    models.CharField(
                        choices=[("waiting", "waiting"), ("delivered", "delivered"), ("failed", "given up")],
                        default="waiting",
                        editable=False,
                        max_length=10,
                        verbose_name="webhook's state",
                    ),
                ),
                (
                    "webhook_tries",
                    models.PositiveSmallIntegerField(
                        default=0, editable=False, verbose_name="webhook's tries"
                    ),
                ),
                (
                    "webhook_next_at",
                    models.DateTimeField(editable=False, null=True, verbose_name="webhook's next try"),
                ),
                (
                    "webhook_said",
                    models.CharField(
                        blank=True, editable=False, max_length=500, verbose_name="webhook's answer"
                    ),
                ),
                (
                    "dataset",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="jobs",
                        to="training.datasetversion",
                        verbose_name="dataset",
                    ),
                ),
                (
                    "requested_by",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="training_jobs",
                        to=settings.AUTH_USER_MODEL,
                        verbose_name="requested by",
                    ),
                ),
            ],
            options={
                "verbose_name": "training job",
                "verbose_name_plural": "training jobs",
                "ordering": ["-id"],
            },
        ),
        migrations.CreateModel(
            name="Schedule",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("enabled", models.BooleanField(default=False, verbose_name="on")),
                (
                    "every_days",
                    models.PositiveSmallIntegerField(
                        default=7, help_text="0: not by the calendar.", verbose_name="every so many days"
                    ),
                ),
                (
                    "after_corrections",
                    models.PositiveIntegerField(
                        default=0,
                        help_text="0: not by their number.",
                        verbose_name="after so many accepted corrections",
                    ),
                ),
                ("recipe", models.CharField(default="fast_cnn", max_length=50, verbose_name="recipe")),
                ("parameters", models.JSONField(blank=True, default=dict, verbose_name="parameters")),
                (
                    "auto_promote",
                    models.BooleanField(
                        default=False,
                        help_text="The new model goes live if the gate lets it through.",
                        verbose_name="promote by itself",
                    ),
                ),
                (
                    "last_run_at",
                    models.DateTimeField(blank=True, editable=False, null=True, verbose_name="last run"),
                ),
                (
                    "last_job",
                    models.ForeignKey(
                        blank=True,
                        editable=False,
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="+",
                        to="training.trainingjob",
                    ),
                ),
            ],
            options={
                "verbose_name": "schedule",
                "verbose_name_plural": "schedule",
            },
        ),
        migrations.AddField(
            model_name="modelversion",
            name="job",
            field=models.ForeignKey(
                blank=True,
                null=True,
                on_delete=django.db.models.deletion.SET_NULL,
                related_name="models",
                to="training.trainingjob",
                verbose_name="training job",
            ),
        ),
        migrations.CreateModel(
            name="JobEvent",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("what", models.CharField(max_length=30, verbose_name="what")),
                ("detail", models.TextField(blank=True, verbose_name="detail")),
                ("at", models.DateTimeField(auto_now_add=True, verbose_name="at")),
                (
                    "by",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                        verbose_name="by",
                    ),
                ),
                (
                    "job",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="events",
                        to="training.trainingjob",
                        verbose_name="training job",
                    ),
                ),
            ],
            options={
                "verbose_name": "event of a job",
                "verbose_name_plural": "events of jobs",
                "ordering": ["id"],
            },
        ),
        migrations.CreateModel(
            name="Epoch",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("number", models.PositiveIntegerField(verbose_name="epoch")),
                ("loss", models.FloatField(verbose_name="training loss")),
                ("accuracy", models.FloatField(verbose_name="training accuracy")),
                ("val_loss", models.FloatField(verbose_name="validation loss")),
                ("val_accuracy", models.FloatField(verbose_name="validation accuracy")),
                ("learning_rate", models.FloatField(verbose_name="learning rate")),
                ("seconds", models.FloatField(verbose_name="seconds")),
                ("images_per_second", models.FloatField(verbose_name="images a second")),
                (
                    "job",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="epochs",
                        to="training.trainingjob",
                        verbose_name="training job",
                    ),
                ),
            ],
            options={
                "verbose_name": "epoch",
                "verbose_name_plural": "epochs",
                "ordering": ["job", "number"],
            },
        ),
        migrations.CreateModel(
            name="DatasetImage",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("source", models.UUIDField(db_index=True, verbose_name="photo")),
                ("withdrawn_at", models.DateTimeField(blank=True, null=True, verbose_name="withdrawn at")),
                (
                    "dataset",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="images",
                        to="training.datasetversion",
                        verbose_name="dataset",
                    ),
                ),
            ],
            options={
                "verbose_name": "image of a dataset",
                "verbose_name_plural": "images of datasets",
                "ordering": ["dataset", "id"],
                "constraints": [
                    models.UniqueConstraint(fields=("dataset", "source"), name="image_once_a_dataset")
                ],
            },
        ),
        migrations.AddConstraint(
            model_name="evaluationreport",
            constraint=models.UniqueConstraint(fields=("model", "dataset_sha256"), name="one_report_a_set"),
        ),
        migrations.AddIndex(
            model_name="trainingjob",
            index=models.Index(fields=["state", "id"], name="trainingjob_state"),
        ),
        migrations.AddIndex(
            model_name="trainingjob",
            index=models.Index(
                condition=models.Q(
                    ("webhook_state", "waiting"), models.Q(("webhook_url", ""), _negated=True)
                ),
                fields=["webhook_next_at"],
                name="trainingjob_webhook",
            ),
        ),
        migrations.AddConstraint(
            model_name="modelversion",
            constraint=models.UniqueConstraint(
                condition=models.Q(("is_champion", True)),
                fields=("is_champion",),
                name="exactly_one_champion",
            ),
        ),
        migrations.AddConstraint(
            model_name="epoch",
            constraint=models.UniqueConstraint(fields=("job", "number"), name="epoch_once_a_job"),
        ),
    ]
