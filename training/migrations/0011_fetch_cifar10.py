"""Downloads of CIFAR-10 that staff asked for."""

import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models

import cifarsite.core.leases


class Migration(migrations.Migration):
    dependencies = [
        ("training", "0010_webhook_defaults"),
        ("classifier", "0010_unknown_verdict"),
    ]

    operations = [
        migrations.CreateModel(
            name="Cifar10Fetch",
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
                        help_text="The id of the request that created this row. Log lines have the same id.",
                        max_length=64,
                        verbose_name="request id",
                    ),
                ),
                (
                    "status",
                    models.CharField(
                        choices=[
                            ("queued", "waiting"),
                            ("running", "running"),
                            ("done", "done"),
                            ("failed", "failed"),
                            ("cancelled", "cancelled"),
                        ],
                        default="queued",
                        max_length=9,
                        verbose_name="status",
                    ),
                ),
                (
                    "received",
                    models.PositiveBigIntegerField(default=0, editable=False, verbose_name="bytes received"),
                ),
                ("total", models.PositiveBigIntegerField(default=0, editable=False, verbose_name="bytes")),
                ("error_detail", models.TextField(blank=True, editable=False, verbose_name="error")),
                ("created_at", models.DateTimeField(auto_now_add=True, verbose_name="requested at")),
                ("finished_at", models.DateTimeField(editable=False, null=True, verbose_name="finished at")),
                (
                    "requested_by",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                        verbose_name="requested by",
                    ),
                ),
            ],
            options={
                "verbose_name": "download of CIFAR-10",
                "verbose_name_plural": "downloads of CIFAR-10",
                "ordering": ["-id"],
            },
        ),
    ]
