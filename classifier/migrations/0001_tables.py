import uuid

import django.contrib.auth.models
import django.contrib.auth.validators
import django.db.models.deletion
import django.utils.timezone
from django.conf import settings
from django.db import migrations, models

import cifarsite.core.leases
import classifier.models.batches
import classifier.models.feedback
import classifier.models.photos


class Migration(migrations.Migration):
    # What these did, step by step, is one step here; a site that has them goes on behind it.
    replaces = [
        ("classifier", "0001_user"),
        ("classifier", "0002_photos"),
        ("classifier", "0003_api"),
        ("classifier", "0004_batches_and_corrections"),
        ("classifier", "0005_crops_and_quality"),
        ("classifier", "0006_counts_names_uploads"),
        ("classifier", "0007_fill_counts_names"),
        ("classifier", "0008_explanations"),
        ("classifier", "0009_prediction_finished"),
        ("classifier", "0010_request_ids"),
        ("classifier", "0011_drift"),
        ("classifier", "0012_names_for_the_admin"),
    ]

    initial = True

    dependencies = [
        ("auth", "0012_alter_user_first_name_max_length"),
    ]

    operations = [
        migrations.CreateModel(
            name="DriftDay",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("day", models.DateField(unique=True, verbose_name="day (UTC)")),
                ("n", models.PositiveIntegerField(verbose_name="answered photos")),
                ("labels", models.JSONField(verbose_name="photos by class")),
                ("verdicts", models.JSONField(verbose_name="photos by verdict")),
                ("sums", models.JSONField(verbose_name="sums")),
                ("opinions", models.PositiveIntegerField(verbose_name="what people said about answers")),
                ("agreed", models.PositiveIntegerField(verbose_name="of those, agreeing")),
            ],
            options={
                "verbose_name": "day of the drift page",
                "verbose_name_plural": "days of the drift page",
                "ordering": ["-day"],
            },
        ),
        migrations.CreateModel(
            name="Explanation",
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
                            ("running", "being made"),
                            ("done", "done"),
                            ("failed", "failed"),
                        ],
                        default="queued",
                        max_length=7,
                        verbose_name="status",
                    ),
                ),
                ("maps", models.JSONField(default=dict, verbose_name="heat maps")),
                (
                    "neighbours",
                    models.CharField(
                        blank=True,
                        choices=[
                            ("absent", "the training images are not at hand"),
                            ("collecting", "the training images are being collected"),
                            ("failed", "the training images could not be collected"),
                            ("found", "found"),
                        ],
                        max_length=10,
                        verbose_name="nearest training images",
                    ),
                ),
                ("nearest", models.JSONField(default=list, verbose_name="nearest images")),
                ("typical", models.FloatField(null=True, verbose_name="typical likeness")),
                ("pictures", models.BinaryField(null=True, verbose_name="pictures")),
                ("has_pictures", models.BooleanField(default=False, verbose_name="with pictures")),
                ("created_at", models.DateTimeField(auto_now_add=True, verbose_name="asked at")),
                ("finished_at", models.DateTimeField(editable=False, null=True, verbose_name="answered at")),
                ("seconds", models.FloatField(null=True, verbose_name="seconds of work")),
                ("error_detail", models.TextField(blank=True, verbose_name="error")),
            ],
            options={
                "verbose_name": "explanation",
                "verbose_name_plural": "explanations",
                "ordering": ["-id"],
            },
        ),
        migrations.CreateModel(
            name="Prediction",
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
                ("photo_created_at", models.DateTimeField(verbose_name="photo uploaded at")),
                ("is_current", models.BooleanField(default=True, verbose_name="current")),
                (
                    "status",
                    models.CharField(
                        choices=[
                            ("queued", "waiting"),
                            ("running", "being looked at"),
                            ("done", "done"),
                            ("failed", "failed"),
                        ],
                        default="queued",
                        max_length=8,
                        verbose_name="status",
                    ),
                ),
                (
                    "priority",
                    models.PositiveSmallIntegerField(
                        choices=[(0, "interactive"), (1, "bulk")], default=0, verbose_name="priority"
                    ),
                ),
                (
                    "input",
                    models.FileField(
                        max_length=200,
                        upload_to=classifier.models.photos.input_path,
                        verbose_name="model input",
                    ),
                ),
                (
                    "input_sha256",
                    models.CharField(max_length=64, verbose_name="sha256 of the input's pixels"),
                ),
                ("preprocessing", models.CharField(max_length=50, verbose_name="preprocessing")),
                (
                    "crop",
                    models.JSONField(
                        blank=True,
                        editable=False,
                        help_text="Left, top, width and height as shares of the photo's sides; empty: all of it.",
                        null=True,
                        verbose_name="part of the photo",
                    ),
                ),
                (
                    "label",
                    models.CharField(
                        blank=True,
                        choices=[
                            ("airplane", "airplane"),
                            ("automobile", "automobile"),
                            ("bird", "bird"),
                            ("cat", "cat"),
                            ("deer", "deer"),
                            ("dog", "dog"),
                            ("frog", "frog"),
                            ("horse", "horse"),
                            ("ship", "ship"),
                            ("truck", "truck"),
                        ],
                        max_length=10,
                        verbose_name="label",
                    ),
                ),
                (
                    "confidence",
                    models.FloatField(help_text="From 0 to 1.", null=True, verbose_name="confidence"),
                ),
                (
                    "verdict",
                    models.CharField(
                        blank=True,
                        choices=[
                            ("recognised", "recognised"),
                            ("unsure", "unsure"),
                            ("none_of_the_ten", "none of the ten"),
                        ],
                        max_length=15,
                        verbose_name="verdict",
                    ),
                ),
                (
                    "owner_says",
                    models.CharField(
                        blank=True,
                        choices=[
                            ("agrees", "you agreed"),
                            ("differs", "you corrected it"),
                            ("not_sure", "you were not sure"),
                        ],
                        editable=False,
                        max_length=8,
                        verbose_name="the owner says",
                    ),
                ),
                (
                    "probabilities",
                    models.JSONField(
                        help_text="Of the ten classes, in CIFAR-10's order.",
                        null=True,
                        verbose_name="probabilities",
                    ),
                ),
                (
                    "receipt",
                    models.JSONField(
                        default=dict,
                        help_text="What the answer was made with: calibration, thresholds.",
                        verbose_name="receipt",
                    ),
                ),
                (
                    "created_at",
                    models.DateTimeField(auto_now_add=True, db_index=True, verbose_name="asked at"),
                ),
                ("finished_at", models.DateTimeField(editable=False, null=True, verbose_name="answered at")),
                (
                    "seconds",
                    models.FloatField(
                        help_text="The model's share of time for this photo.",
                        null=True,
                        verbose_name="seconds",
                    ),
                ),
                ("error_code", models.CharField(blank=True, max_length=50, verbose_name="error code")),
                ("error_detail", models.TextField(blank=True, verbose_name="error")),
            ],
            options={
                "verbose_name": "prediction",
                "verbose_name_plural": "predictions",
                "ordering": ["-photo_created_at", "-photo_id"],
            },
        ),
        migrations.CreateModel(
            name="RateCount",
            fields=[
                (
                    "key",
                    models.CharField(max_length=100, primary_key=True, serialize=False, verbose_name="key"),
                ),
                ("count", models.PositiveBigIntegerField(default=0, verbose_name="count")),
                ("ends_at", models.DateTimeField(db_index=True, verbose_name="window ends at")),
            ],
            options={
                "verbose_name": "rate count",
                "verbose_name_plural": "rate counts",
            },
        ),
        migrations.CreateModel(
            name="Rerun",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "state",
                    models.CharField(
                        choices=[("running", "running"), ("cancelled", "cancelled"), ("done", "done")],
                        default="running",
                        max_length=9,
                        verbose_name="state",
                    ),
                ),
                ("cursor", models.BigIntegerField(default=0, editable=False, verbose_name="cursor")),
                ("last", models.BigIntegerField(default=0, editable=False, verbose_name="last answer")),
                ("created_at", models.DateTimeField(auto_now_add=True, verbose_name="started at")),
                ("finished_at", models.DateTimeField(editable=False, null=True, verbose_name="finished at")),
            ],
            options={
                "verbose_name": "rerun",
                "verbose_name_plural": "reruns",
                "ordering": ["-id"],
            },
        ),
        migrations.CreateModel(
            name="RerunItem",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "before",
                    models.CharField(
                        choices=[
                            ("airplane", "airplane"),
                            ("automobile", "automobile"),
                            ("bird", "bird"),
                            ("cat", "cat"),
                            ("deer", "deer"),
                            ("dog", "dog"),
                            ("frog", "frog"),
                            ("horse", "horse"),
                            ("ship", "ship"),
                            ("truck", "truck"),
                            ("none_of_the_ten", "none of the ten"),
                            ("not_sure", "not sure"),
                        ],
                        max_length=15,
                        verbose_name="before",
                    ),
                ),
                (
                    "after",
                    models.CharField(
                        blank=True,
                        choices=[
                            ("airplane", "airplane"),
                            ("automobile", "automobile"),
                            ("bird", "bird"),
                            ("cat", "cat"),
                            ("deer", "deer"),
                            ("dog", "dog"),
                            ("frog", "frog"),
                            ("horse", "horse"),
                            ("ship", "ship"),
                            ("truck", "truck"),
                            ("none_of_the_ten", "none of the ten"),
                            ("not_sure", "not sure"),
                        ],
                        max_length=15,
                        verbose_name="after",
                    ),
                ),
                ("changed", models.BooleanField(null=True, verbose_name="changed")),
            ],
            options={
                "verbose_name": "photo of a rerun",
                "verbose_name_plural": "photos of reruns",
                "ordering": ["-id"],
            },
        ),
        migrations.CreateModel(
            name="Shadow",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("started_at", models.DateTimeField(auto_now_add=True, verbose_name="started at")),
                ("ended_at", models.DateTimeField(blank=True, null=True, verbose_name="ended at")),
                ("cursor", models.BigIntegerField(default=0, editable=False, verbose_name="cursor")),
            ],
            options={
                "verbose_name": "shadow",
                "verbose_name_plural": "shadows",
                "ordering": ["-id"],
            },
        ),
        migrations.CreateModel(
            name="ShadowAnswer",
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
                            ("running", "being looked at"),
                            ("done", "done"),
                            ("failed", "failed"),
                        ],
                        default="queued",
                        max_length=8,
                        verbose_name="status",
                    ),
                ),
                (
                    "live",
                    models.CharField(
                        blank=True,
                        choices=[
                            ("airplane", "airplane"),
                            ("automobile", "automobile"),
                            ("bird", "bird"),
                            ("cat", "cat"),
                            ("deer", "deer"),
                            ("dog", "dog"),
                            ("frog", "frog"),
                            ("horse", "horse"),
                            ("ship", "ship"),
                            ("truck", "truck"),
                            ("none_of_the_ten", "none of the ten"),
                            ("not_sure", "not sure"),
                        ],
                        max_length=15,
                        verbose_name="the champion said",
                    ),
                ),
                (
                    "said",
                    models.CharField(
                        blank=True,
                        choices=[
                            ("airplane", "airplane"),
                            ("automobile", "automobile"),
                            ("bird", "bird"),
                            ("cat", "cat"),
                            ("deer", "deer"),
                            ("dog", "dog"),
                            ("frog", "frog"),
                            ("horse", "horse"),
                            ("ship", "ship"),
                            ("truck", "truck"),
                            ("none_of_the_ten", "none of the ten"),
                            ("not_sure", "not sure"),
                        ],
                        max_length=15,
                        verbose_name="the challenger says",
                    ),
                ),
                (
                    "confidence",
                    models.FloatField(help_text="From 0 to 1.", null=True, verbose_name="confidence"),
                ),
                ("agrees", models.BooleanField(null=True, verbose_name="agrees")),
                ("finished_at", models.DateTimeField(editable=False, null=True, verbose_name="answered at")),
            ],
            options={
                "verbose_name": "shadow answer",
                "verbose_name_plural": "shadow answers",
                "ordering": ["-id"],
            },
        ),
        migrations.CreateModel(
            name="User",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("password", models.CharField(max_length=128, verbose_name="password")),
                ("last_login", models.DateTimeField(blank=True, null=True, verbose_name="last login")),
                (
                    "is_superuser",
                    models.BooleanField(
                        default=False,
                        help_text="Designates that this user has all permissions without explicitly assigning them.",
                        verbose_name="superuser status",
                    ),
                ),
                (
                    "username",
                    models.CharField(
                        error_messages={"unique": "A user with that username already exists."},
                        help_text="Required. 150 characters or fewer. Letters, digits and @/./+/-/_ only.",
                        max_length=150,
                        unique=True,
                        validators=[django.contrib.auth.validators.UnicodeUsernameValidator()],
                        verbose_name="username",
                    ),
                ),
                ("first_name", models.CharField(blank=True, max_length=150, verbose_name="first name")),
                ("last_name", models.CharField(blank=True, max_length=150, verbose_name="last name")),
                ("email", models.EmailField(blank=True, max_length=254, verbose_name="email address")),
                (
                    "is_staff",
                    models.BooleanField(
                        default=False,
                        help_text="Designates whether the user can log into this admin site.",
                        verbose_name="staff status",
                    ),
                ),
                (
                    "is_active",
                    models.BooleanField(
                        default=True,
                        help_text="Designates whether this user should be treated as active. Unselect this instead of deleting accounts.",
                        verbose_name="active",
                    ),
                ),
                (
                    "date_joined",
                    models.DateTimeField(default=django.utils.timezone.now, verbose_name="date joined"),
                ),
                ("language", models.CharField(blank=True, max_length=10, verbose_name="language")),
                (
                    "groups",
                    models.ManyToManyField(
                        blank=True,
                        help_text="The groups this user belongs to. A user will get all permissions granted to each of their groups.",
                        related_name="user_set",
                        related_query_name="user",
                        to="auth.group",
                        verbose_name="groups",
                    ),
                ),
                (
                    "user_permissions",
                    models.ManyToManyField(
                        blank=True,
                        help_text="Specific permissions for this user.",
                        related_name="user_set",
                        related_query_name="user",
                        to="auth.permission",
                        verbose_name="user permissions",
                    ),
                ),
            ],
            options={
                "verbose_name": "user",
                "verbose_name_plural": "users",
                "abstract": False,
            },
            managers=[
                ("objects", django.contrib.auth.models.UserManager()),
            ],
        ),
        migrations.CreateModel(
            name="ApiToken",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("name", models.CharField(max_length=100, verbose_name="name")),
                ("prefix", models.CharField(editable=False, max_length=12, verbose_name="begins with")),
                (
                    "sha256",
                    models.CharField(editable=False, max_length=64, unique=True, verbose_name="sha256"),
                ),
                ("scopes", models.JSONField(verbose_name="scopes")),
                ("created_at", models.DateTimeField(auto_now_add=True, verbose_name="made at")),
                ("expires_at", models.DateTimeField(blank=True, null=True, verbose_name="expires at")),
                ("revoked_at", models.DateTimeField(editable=False, null=True, verbose_name="revoked at")),
                (
                    "last_used_at",
                    models.DateTimeField(editable=False, null=True, verbose_name="last used at"),
                ),
                (
                    "owner",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="api_tokens",
                        to=settings.AUTH_USER_MODEL,
                        verbose_name="owner",
                    ),
                ),
            ],
            options={
                "verbose_name": "API token",
                "verbose_name_plural": "API tokens",
                "ordering": ["-id"],
            },
        ),
        migrations.CreateModel(
            name="ArchiveUpload",
            fields=[
                (
                    "id",
                    models.UUIDField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False),
                ),
                ("filename", models.CharField(max_length=255, verbose_name="file name")),
                ("size", models.PositiveBigIntegerField(verbose_name="size in bytes")),
                ("fingerprint", models.CharField(max_length=100, verbose_name="fingerprint")),
                ("received", models.PositiveBigIntegerField(default=0, verbose_name="bytes received")),
                ("changed_at", models.DateTimeField(auto_now=True, db_index=True, verbose_name="changed at")),
                (
                    "owner",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                        verbose_name="owner",
                    ),
                ),
            ],
            options={
                "verbose_name": "upload of an archive",
                "verbose_name_plural": "uploads of archives",
                "ordering": ["changed_at"],
            },
        ),
        migrations.CreateModel(
            name="ArchivePart",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("offset", models.PositiveBigIntegerField(verbose_name="offset in bytes")),
                (
                    "file",
                    models.FileField(
                        max_length=200, upload_to=classifier.models.batches.part_path, verbose_name="file"
                    ),
                ),
                (
                    "upload",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="parts",
                        to="classifier.archiveupload",
                        verbose_name="upload",
                    ),
                ),
            ],
            options={
                "verbose_name": "piece of an archive",
                "verbose_name_plural": "pieces of archives",
                "ordering": ["upload", "offset"],
            },
        ),
        migrations.CreateModel(
            name="AuditEntry",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("created_at", models.DateTimeField(auto_now_add=True, db_index=True, verbose_name="at")),
                ("kind", models.CharField(db_index=True, max_length=50, verbose_name="kind")),
                ("address", models.GenericIPAddressField(blank=True, null=True, verbose_name="address")),
                ("detail", models.TextField(blank=True, verbose_name="detail")),
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
            ],
            options={
                "verbose_name": "audit entry",
                "verbose_name_plural": "audit entries",
                "ordering": ["-id"],
            },
        ),
        migrations.CreateModel(
            name="Batch",
            fields=[
                (
                    "id",
                    models.UUIDField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False),
                ),
                ("filename", models.CharField(max_length=255, verbose_name="file name")),
                (
                    "archive",
                    models.FileField(
                        blank=True,
                        max_length=200,
                        upload_to=classifier.models.batches.archive_path,
                        verbose_name="archive",
                    ),
                ),
                ("sha256", models.CharField(max_length=64, verbose_name="sha256 of the archive")),
                ("size", models.PositiveBigIntegerField(verbose_name="size in bytes")),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("running", "running"),
                            ("paused", "paused"),
                            ("cancelled", "cancelled"),
                            ("done", "done"),
                        ],
                        default="running",
                        max_length=9,
                        verbose_name="state",
                    ),
                ),
                ("totals", models.JSONField(editable=False, null=True, verbose_name="counts")),
                ("created_at", models.DateTimeField(auto_now_add=True, verbose_name="uploaded at")),
                ("finished_at", models.DateTimeField(editable=False, null=True, verbose_name="finished at")),
                (
                    "owner",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="batches",
                        to=settings.AUTH_USER_MODEL,
                        verbose_name="owner",
                    ),
                ),
                (
                    "same_as",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="+",
                        to="classifier.batch",
                        verbose_name="earlier batch of the same archive",
                    ),
                ),
            ],
            options={
                "verbose_name": "batch",
                "verbose_name_plural": "batches",
                "ordering": ["-created_at", "-id"],
            },
        ),
        migrations.AddField(
            model_name="archiveupload",
            name="batch",
            field=models.ForeignKey(
                blank=True,
                null=True,
                on_delete=django.db.models.deletion.SET_NULL,
                related_name="+",
                to="classifier.batch",
                verbose_name="batch",
            ),
        ),
        migrations.CreateModel(
            name="Consent",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("given", models.BooleanField(verbose_name="given")),
                ("changed_at", models.DateTimeField(auto_now=True, verbose_name="changed at")),
                (
                    "user",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="consent",
                        to=settings.AUTH_USER_MODEL,
                        verbose_name="user",
                    ),
                ),
            ],
            options={
                "verbose_name": "consent to train on photos",
                "verbose_name_plural": "consents to train on photos",
                "ordering": ["user"],
            },
        ),
        migrations.CreateModel(
            name="DayCount",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("day", models.DateField(verbose_name="day (UTC)")),
                ("photos", models.PositiveIntegerField(default=0, verbose_name="photos")),
                ("labels", models.JSONField(default=dict, verbose_name="answered photos by class")),
                ("changes", models.PositiveBigIntegerField(default=0, verbose_name="changes")),
                (
                    "counted",
                    models.PositiveBigIntegerField(default=0, verbose_name="changes that are counted"),
                ),
                (
                    "owner",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="day_counts",
                        to=settings.AUTH_USER_MODEL,
                        verbose_name="owner",
                    ),
                ),
            ],
            options={
                "verbose_name": "day's count",
                "verbose_name_plural": "days' counts",
                "ordering": ["-day"],
            },
        ),
        migrations.CreateModel(
            name="DriftAlert",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("opened_at", models.DateTimeField(auto_now_add=True, verbose_name="opened at")),
                ("closed_at", models.DateTimeField(blank=True, null=True, verbose_name="closed at")),
                ("until", models.DateField(verbose_name="the seven days before")),
                ("findings", models.JSONField(verbose_name="what has changed")),
            ],
            options={
                "verbose_name": "drift alert",
                "verbose_name_plural": "drift alerts",
                "ordering": ["-opened_at"],
                "constraints": [
                    models.UniqueConstraint(
                        condition=models.Q(("closed_at", None)),
                        fields=("until",),
                        name="one_open_drift_alert_a_day",
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="IdempotentRequest",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("key", models.CharField(max_length=255, verbose_name="key")),
                ("request_sha256", models.CharField(max_length=64, verbose_name="sha256 of the request")),
                ("status", models.PositiveSmallIntegerField(null=True, verbose_name="status")),
                ("answer", models.JSONField(null=True, verbose_name="answer")),
                (
                    "created_at",
                    models.DateTimeField(auto_now_add=True, db_index=True, verbose_name="asked at"),
                ),
                (
                    "owner",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                        verbose_name="owner",
                    ),
                ),
            ],
            options={
                "verbose_name": "idempotent request",
                "verbose_name_plural": "idempotent requests",
            },
        ),
        migrations.CreateModel(
            name="Photo",
            fields=[
                (
                    "id",
                    models.UUIDField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False),
                ),
                (
                    "filename",
                    models.CharField(
                        help_text="As the person's device called it.",
                        max_length=255,
                        verbose_name="file name",
                    ),
                ),
                (
                    "display",
                    models.FileField(
                        max_length=200,
                        upload_to=classifier.models.photos.display_path,
                        verbose_name="display copy",
                    ),
                ),
                (
                    "thumbnail",
                    models.FileField(
                        max_length=200,
                        upload_to=classifier.models.photos.thumbnail_path,
                        verbose_name="thumbnail",
                    ),
                ),
                ("width", models.PositiveIntegerField(verbose_name="width in pixels")),
                ("height", models.PositiveIntegerField(verbose_name="height in pixels")),
                ("size", models.PositiveIntegerField(verbose_name="size of the original in bytes")),
                (
                    "pixel_sha256",
                    models.CharField(db_index=True, max_length=64, verbose_name="sha256 of the pixels"),
                ),
                (
                    "brightness",
                    models.FloatField(
                        editable=False,
                        help_text="Mean lightness from 0 to 1.",
                        null=True,
                        verbose_name="brightness",
                    ),
                ),
                (
                    "contrast",
                    models.FloatField(
                        editable=False,
                        help_text="Spread of the grey levels, from 0 to 0.5.",
                        null=True,
                        verbose_name="contrast",
                    ),
                ),
                (
                    "sharpness",
                    models.FloatField(
                        editable=False,
                        help_text="Fine edges against coarse edges; below 0.39 in a blurred photo.",
                        null=True,
                        verbose_name="sharpness",
                    ),
                ),
                ("created_at", models.DateTimeField(auto_now_add=True, verbose_name="uploaded at")),
                (
                    "deleted_at",
                    models.DateTimeField(blank=True, db_index=True, null=True, verbose_name="deleted at"),
                ),
                (
                    "owner",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="photos",
                        to=settings.AUTH_USER_MODEL,
                        verbose_name="owner",
                    ),
                ),
            ],
            options={
                "verbose_name": "photo",
                "verbose_name_plural": "photos",
                "ordering": ["-created_at", "-id"],
            },
        ),
        migrations.CreateModel(
            name="NameWord",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("word", models.CharField(max_length=40, verbose_name="word")),
                (
                    "owner",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                        verbose_name="owner",
                    ),
                ),
                (
                    "photo",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="name_words",
                        to="classifier.photo",
                        verbose_name="photo",
                    ),
                ),
            ],
            options={
                "verbose_name": "word of a file name",
                "verbose_name_plural": "words of file names",
            },
        ),
        migrations.CreateModel(
            name="Example",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "label",
                    models.CharField(
                        choices=[
                            ("airplane", "airplane"),
                            ("automobile", "automobile"),
                            ("bird", "bird"),
                            ("cat", "cat"),
                            ("deer", "deer"),
                            ("dog", "dog"),
                            ("frog", "frog"),
                            ("horse", "horse"),
                            ("ship", "ship"),
                            ("truck", "truck"),
                            ("none_of_the_ten", "none of the ten"),
                            ("not_sure", "not sure"),
                        ],
                        max_length=15,
                        verbose_name="label",
                    ),
                ),
                (
                    "image",
                    models.FileField(
                        max_length=200,
                        upload_to=classifier.models.feedback.example_path,
                        verbose_name="32x32 image",
                    ),
                ),
                ("sha256", models.CharField(max_length=64, verbose_name="sha256 of the pixels")),
                (
                    "twin",
                    models.PositiveIntegerField(
                        blank=True, null=True, verbose_name="nearly the same test image"
                    ),
                ),
                ("accepted_at", models.DateTimeField(auto_now_add=True, verbose_name="accepted at")),
                (
                    "accepted_by",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                        verbose_name="accepted by",
                    ),
                ),
                (
                    "photo",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="example",
                        to="classifier.photo",
                        verbose_name="photo",
                    ),
                ),
            ],
            options={
                "verbose_name": "accepted example",
                "verbose_name_plural": "accepted examples",
                "ordering": ["-id"],
            },
        ),
        migrations.CreateModel(
            name="Correction",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "label",
                    models.CharField(
                        choices=[
                            ("airplane", "airplane"),
                            ("automobile", "automobile"),
                            ("bird", "bird"),
                            ("cat", "cat"),
                            ("deer", "deer"),
                            ("dog", "dog"),
                            ("frog", "frog"),
                            ("horse", "horse"),
                            ("ship", "ship"),
                            ("truck", "truck"),
                            ("none_of_the_ten", "none of the ten"),
                            ("not_sure", "not sure"),
                        ],
                        max_length=15,
                        verbose_name="label",
                    ),
                ),
                (
                    "predicted",
                    models.CharField(
                        blank=True,
                        choices=[
                            ("airplane", "airplane"),
                            ("automobile", "automobile"),
                            ("bird", "bird"),
                            ("cat", "cat"),
                            ("deer", "deer"),
                            ("dog", "dog"),
                            ("frog", "frog"),
                            ("horse", "horse"),
                            ("ship", "ship"),
                            ("truck", "truck"),
                            ("none_of_the_ten", "none of the ten"),
                            ("not_sure", "not sure"),
                        ],
                        max_length=15,
                        verbose_name="the model said",
                    ),
                ),
                ("confidence", models.FloatField(null=True, verbose_name="the model's confidence")),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("proposed", "proposed"),
                            ("accepted", "accepted"),
                            ("rejected", "rejected"),
                        ],
                        default="proposed",
                        max_length=8,
                        verbose_name="state",
                    ),
                ),
                ("created_at", models.DateTimeField(auto_now_add=True, verbose_name="made at")),
                ("changed_at", models.DateTimeField(auto_now=True, verbose_name="changed at")),
                ("reviewed_at", models.DateTimeField(blank=True, null=True, verbose_name="reviewed at")),
                (
                    "by",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="corrections",
                        to=settings.AUTH_USER_MODEL,
                        verbose_name="by",
                    ),
                ),
                (
                    "reviewed_by",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                        verbose_name="reviewed by",
                    ),
                ),
                (
                    "photo",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="corrections",
                        to="classifier.photo",
                        verbose_name="photo",
                    ),
                ),
            ],
            options={
                "verbose_name": "correction",
                "verbose_name_plural": "corrections",
                "ordering": ["-id"],
            },
        ),
        migrations.CreateModel(
            name="BatchItem",
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
                ("number", models.PositiveIntegerField(verbose_name="number")),
                ("name", models.CharField(max_length=1000, verbose_name="name in the archive")),
                (
                    "truth",
                    models.CharField(
                        blank=True,
                        choices=[
                            ("airplane", "airplane"),
                            ("automobile", "automobile"),
                            ("bird", "bird"),
                            ("cat", "cat"),
                            ("deer", "deer"),
                            ("dog", "dog"),
                            ("frog", "frog"),
                            ("horse", "horse"),
                            ("ship", "ship"),
                            ("truck", "truck"),
                        ],
                        max_length=10,
                        verbose_name="truth",
                    ),
                ),
                (
                    "status",
                    models.CharField(
                        choices=[
                            ("queued", "waiting"),
                            ("running", "being read"),
                            ("stored", "stored"),
                            ("refused", "refused"),
                            ("cancelled", "cancelled"),
                        ],
                        default="queued",
                        max_length=9,
                        verbose_name="status",
                    ),
                ),
                ("size", models.PositiveBigIntegerField(default=0, verbose_name="unpacked bytes")),
                ("error_code", models.CharField(blank=True, max_length=50, verbose_name="error code")),
                ("error_detail", models.TextField(blank=True, verbose_name="error")),
                (
                    "batch",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="items",
                        to="classifier.batch",
                        verbose_name="batch",
                    ),
                ),
                (
                    "photo",
                    models.OneToOneField(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="batch_item",
                        to="classifier.photo",
                        verbose_name="photo",
                    ),
                ),
            ],
            options={
                "verbose_name": "batch item",
                "verbose_name_plural": "batch items",
                "ordering": ["batch", "number"],
            },
        ),
    ]
