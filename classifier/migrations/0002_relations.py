import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):
    # What these did, step by step, is one step here; a site that has them goes on behind it.
    replaces = [("classifier", "0013_shadows_and_reruns")]

    initial = True

    dependencies = [
        ("classifier", "0001_tables"),
        ("training", "0001_tables"),
    ]

    operations = [
        migrations.AddField(
            model_name="prediction",
            name="model",
            field=models.ForeignKey(
                blank=True,
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="predictions",
                to="training.modelversion",
                verbose_name="model version",
            ),
        ),
        migrations.AddField(
            model_name="prediction",
            name="owner",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.CASCADE,
                related_name="+",
                to=settings.AUTH_USER_MODEL,
                verbose_name="owner",
            ),
        ),
        migrations.AddField(
            model_name="prediction",
            name="photo",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.CASCADE,
                related_name="predictions",
                to="classifier.photo",
                verbose_name="photo",
            ),
        ),
        migrations.AddField(
            model_name="explanation",
            name="prediction",
            field=models.OneToOneField(
                on_delete=django.db.models.deletion.CASCADE,
                related_name="explanation",
                to="classifier.prediction",
                verbose_name="prediction",
            ),
        ),
        migrations.AddField(
            model_name="rerun",
            name="model",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.CASCADE,
                related_name="reruns",
                to="training.modelversion",
                verbose_name="model version",
            ),
        ),
        migrations.AddField(
            model_name="rerun",
            name="started_by",
            field=models.ForeignKey(
                blank=True,
                null=True,
                on_delete=django.db.models.deletion.SET_NULL,
                related_name="+",
                to=settings.AUTH_USER_MODEL,
                verbose_name="started by",
            ),
        ),
        migrations.AddField(
            model_name="rerunitem",
            name="prediction",
            field=models.OneToOneField(
                on_delete=django.db.models.deletion.CASCADE,
                related_name="rerun_item",
                to="classifier.prediction",
                verbose_name="new answer",
            ),
        ),
        migrations.AddField(
            model_name="rerunitem",
            name="rerun",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.CASCADE,
                related_name="items",
                to="classifier.rerun",
                verbose_name="rerun",
            ),
        ),
        migrations.AddField(
            model_name="shadow",
            name="model",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.CASCADE,
                related_name="shadows",
                to="training.modelversion",
                verbose_name="model version",
            ),
        ),
        migrations.AddField(
            model_name="shadow",
            name="started_by",
            field=models.ForeignKey(
                blank=True,
                null=True,
                on_delete=django.db.models.deletion.SET_NULL,
                related_name="+",
                to=settings.AUTH_USER_MODEL,
                verbose_name="started by",
            ),
        ),
        migrations.AddField(
            model_name="shadowanswer",
            name="prediction",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.CASCADE,
                related_name="shadow_answers",
                to="classifier.prediction",
                verbose_name="live answer",
            ),
        ),
        migrations.AddField(
            model_name="shadowanswer",
            name="shadow",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.CASCADE,
                related_name="answers",
                to="classifier.shadow",
                verbose_name="shadow",
            ),
        ),
        migrations.AddConstraint(
            model_name="archivepart",
            constraint=models.UniqueConstraint(fields=("upload", "offset"), name="one_part_an_offset"),
        ),
        migrations.AddIndex(
            model_name="batch",
            index=models.Index(fields=["owner", "-created_at", "-id"], name="batch_history"),
        ),
        migrations.AddIndex(
            model_name="batch",
            index=models.Index(fields=["owner", "sha256"], name="batch_same_archive"),
        ),
        migrations.AddIndex(
            model_name="batch",
            index=models.Index(
                condition=models.Q(("state", "running")), fields=["created_at"], name="batch_open"
            ),
        ),
        migrations.AddIndex(
            model_name="daycount",
            index=models.Index(
                condition=models.Q(("changes", models.F("counted")), _negated=True),
                fields=["owner", "day"],
                name="daycount_stale",
            ),
        ),
        migrations.AddConstraint(
            model_name="daycount",
            constraint=models.UniqueConstraint(fields=("owner", "day"), name="one_count_a_day"),
        ),
        migrations.AddConstraint(
            model_name="idempotentrequest",
            constraint=models.UniqueConstraint(fields=("owner", "key"), name="one_answer_a_key"),
        ),
        migrations.AddIndex(
            model_name="photo",
            index=models.Index(fields=["owner", "-created_at", "-id"], name="photo_history"),
        ),
        migrations.AddIndex(
            model_name="photo",
            index=models.Index(fields=["-created_at", "-id"], name="photo_newest"),
        ),
        migrations.AddIndex(
            model_name="nameword",
            index=models.Index(
                fields=["owner", "word", "photo"],
                name="nameword_search",
                opclasses=["int8_ops", "varchar_pattern_ops", "uuid_ops"],
            ),
        ),
        migrations.AddIndex(
            model_name="nameword",
            index=models.Index(
                fields=["word", "photo"],
                name="nameword_anybody",
                opclasses=["varchar_pattern_ops", "uuid_ops"],
            ),
        ),
        migrations.AddConstraint(
            model_name="nameword",
            constraint=models.UniqueConstraint(fields=("photo", "word"), name="one_word_a_photo"),
        ),
        migrations.AddIndex(
            model_name="correction",
            index=models.Index(
                condition=models.Q(("state", "proposed")), fields=["label"], name="correction_open"
            ),
        ),
        migrations.AddIndex(
            model_name="correction",
            index=models.Index(
                fields=["by", "created_at"],
                include=("label", "predicted", "state"),
                name="correction_answers",
            ),
        ),
        migrations.AddConstraint(
            model_name="correction",
            constraint=models.UniqueConstraint(fields=("photo", "by"), name="one_correction_a_person"),
        ),
        migrations.AddIndex(
            model_name="batchitem",
            index=models.Index(
                condition=models.Q(("status__in", ["queued", "running"])),
                fields=["id"],
                name="batchitem_open",
            ),
        ),
        migrations.AddConstraint(
            model_name="batchitem",
            constraint=models.UniqueConstraint(fields=("batch", "number"), name="one_item_an_entry"),
        ),
        migrations.AddIndex(
            model_name="prediction",
            index=models.Index(
                condition=models.Q(("status__in", ["queued", "running"])),
                fields=["priority", "id"],
                name="prediction_open",
            ),
        ),
        migrations.AddIndex(
            model_name="prediction",
            index=models.Index(
                condition=models.Q(("finished_at__isnull", False)),
                fields=["priority", "-finished_at"],
                name="prediction_finished",
            ),
        ),
        migrations.AddIndex(
            model_name="prediction",
            index=models.Index(
                condition=models.Q(("status", "failed")), fields=["id"], name="prediction_failed"
            ),
        ),
        migrations.AddIndex(
            model_name="prediction",
            index=models.Index(
                condition=models.Q(("is_current", True)),
                fields=["owner", "-photo_created_at", "-photo"],
                name="prediction_history",
            ),
        ),
        migrations.AddIndex(
            model_name="prediction",
            index=models.Index(
                condition=models.Q(("is_current", True)),
                fields=["owner", "label", "-photo_created_at", "-photo"],
                name="prediction_by_label",
            ),
        ),
        migrations.AddIndex(
            model_name="prediction",
            index=models.Index(
                condition=models.Q(("is_current", True)),
                fields=["owner", "status", "-photo_created_at", "-photo"],
                name="prediction_by_status",
            ),
        ),
        migrations.AddIndex(
            model_name="prediction",
            index=models.Index(
                condition=models.Q(("is_current", True)),
                fields=["owner", "verdict", "-photo_created_at", "-photo"],
                name="prediction_by_verdict",
            ),
        ),
        migrations.AddIndex(
            model_name="prediction",
            index=models.Index(
                condition=models.Q(("is_current", True)),
                fields=["owner", "owner_says", "-photo_created_at", "-photo"],
                name="prediction_by_owner_says",
            ),
        ),
        migrations.AddIndex(
            model_name="prediction",
            index=models.Index(
                condition=models.Q(("confidence__isnull", False), ("is_current", True)),
                fields=["owner", "confidence", "photo"],
                name="prediction_by_confidence",
            ),
        ),
        migrations.AddIndex(
            model_name="prediction",
            index=models.Index(
                condition=models.Q(("confidence__isnull", False), ("is_current", True)),
                fields=["owner", "label", "confidence", "photo"],
                name="prediction_label_confidence",
            ),
        ),
        migrations.AddIndex(
            model_name="prediction",
            index=models.Index(
                condition=models.Q(("confidence__isnull", False), ("is_current", True)),
                fields=["owner", "verdict", "confidence", "photo"],
                name="prediction_verdict_confidence",
            ),
        ),
        migrations.AddIndex(
            model_name="prediction",
            index=models.Index(
                condition=models.Q(("confidence__isnull", False), ("is_current", True)),
                fields=["owner", "owner_says", "confidence", "photo"],
                name="prediction_says_confidence",
            ),
        ),
        migrations.AddConstraint(
            model_name="prediction",
            constraint=models.UniqueConstraint(
                condition=models.Q(("is_current", True)), fields=("photo",), name="one_current_prediction"
            ),
        ),
        migrations.AddIndex(
            model_name="explanation",
            index=models.Index(
                condition=models.Q(("status__in", ["queued", "running"])),
                fields=["id"],
                name="explanation_open",
            ),
        ),
        migrations.AddIndex(
            model_name="explanation",
            index=models.Index(
                condition=models.Q(("neighbours", "collecting")), fields=["id"], name="explanation_collecting"
            ),
        ),
        migrations.AddConstraint(
            model_name="rerun",
            constraint=models.UniqueConstraint(
                condition=models.Q(("state", "running")), fields=("state",), name="one_rerun_at_a_time"
            ),
        ),
        migrations.AddIndex(
            model_name="rerunitem",
            index=models.Index(fields=["rerun", "changed", "-id"], name="rerunitem_changed"),
        ),
        migrations.AddConstraint(
            model_name="shadow",
            constraint=models.UniqueConstraint(
                models.Value(1), condition=models.Q(("ended_at__isnull", True)), name="one_shadow_at_a_time"
            ),
        ),
        migrations.AddIndex(
            model_name="shadowanswer",
            index=models.Index(
                condition=models.Q(("status__in", ["queued", "running"])),
                fields=["id"],
                name="shadowanswer_open",
            ),
        ),
        migrations.AddIndex(
            model_name="shadowanswer",
            index=models.Index(fields=["shadow", "agrees", "-id"], name="shadowanswer_agrees"),
        ),
        migrations.AddConstraint(
            model_name="shadowanswer",
            constraint=models.UniqueConstraint(fields=("shadow", "prediction"), name="one_shadow_answer"),
        ),
    ]
