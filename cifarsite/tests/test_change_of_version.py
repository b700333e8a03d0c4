"""A new version goes live beside the old one: its schema must suit both. See docs/deployment.md.

Migrations come in two steps: one version only adds, and what is no longer used goes with a later one.
"""

from __future__ import annotations

from typing import Any

import pytest
from celery import current_app
from django.apps import apps as current_apps
from django.db import connection, migrations, models
from django.db.migrations.executor import MigrationExecutor
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.operations.base import Operation
from django.utils import timezone

# The last migrations before the rule: what came until then went live with everything stopped.
BEGIN = {"classifier": "0010_unknown_verdict", "training": "0009_schedule_numbers"}
# Migrations that take away, and since which version nothing uses what they take: "app.name": "0.2.0".
SECOND_STEPS: dict[str, str] = {}
# What a worker that runs may be sent by a web host of the version before or after.
TASKS = {
    "classifier.tasks.predict",
    "classifier.tasks.predict_bulk",
    "classifier.tasks.unpack",
    "training.tasks.train",
}


def later() -> list[Any]:
    """The migrations since ``BEGIN``, in the order of their application."""
    loader = MigrationLoader(None)
    found = []
    for label, first in BEGIN.items():
        names = sorted(name for app, name in loader.disk_migrations if app == label)
        found += [loader.disk_migrations[label, name] for name in names if name > first]
    return found


def hurts(operation: Operation, state: Any, label: str) -> str:
    """Why code of the version before would break over it; empty where it would not."""
    if isinstance(operation, (migrations.RemoveField, migrations.RenameField)):
        return "code that runs still reads and writes the column"
    if isinstance(operation, (migrations.DeleteModel, migrations.RenameModel, migrations.AlterModelTable)):
        return "code that runs still uses the table"
    if isinstance(operation, migrations.AddField):
        field = operation.field
        relation = isinstance(field, models.ManyToManyField)
        if not (relation or field.null or field.has_db_default()):
            return "code that runs adds rows without it: give it null=True or db_default"
    if isinstance(operation, migrations.AlterField):
        before = state.models[label, operation.model_name_lower].fields[operation.name]
        after = operation.field
        if before.null and not after.null and not after.has_db_default():
            return "code that runs still writes null"
        if (after.max_length or 10**9) < (before.max_length or 10**9):
            return "code that runs still writes longer values"
        if type(after) is not type(before):
            return "code that runs still writes values of the other kind"
        if after.unique and not before.unique:
            return "code that runs still writes equal values"
    if isinstance(operation, migrations.AddConstraint):
        return "code that runs does not know the rule: hold to it in one version, add it in the next"
    return ""


def test_no_migration_takes_from_the_version_before_what_it_uses() -> None:
    loader = MigrationLoader(None)
    wrong = []
    for migration in later():
        key = (migration.app_label, migration.name)
        if f"{key[0]}.{key[1]}" in SECOND_STEPS:
            continue
        state = loader.project_state(migration.dependencies)
        made = {op.name_lower for op in migration.operations if isinstance(op, migrations.CreateModel)}
        for operation in migration.operations:
            # Nobody writes yet to a table that comes with it.
            its_own = getattr(operation, "model_name_lower", "") in made
            if not its_own and (why := hurts(operation, state, migration.app_label)):
                wrong.append(f"{key[0]}.{key[1]}: {operation.describe()}: {why}.")
            operation.state_forwards(migration.app_label, state)
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    "operation",
    [
        migrations.RemoveField("prediction", "seconds"),
        migrations.RenameField("prediction", "seconds", "duration"),
        migrations.AddField("prediction", "mood", models.CharField(max_length=5, default="")),
        migrations.AlterField("prediction", "label", models.CharField(max_length=3)),
        migrations.AlterField("prediction", "seconds", models.FloatField(null=False)),
        migrations.DeleteModel("Prediction"),
        migrations.AddConstraint("prediction", models.UniqueConstraint(fields=["label"], name="x")),
    ],
    ids=lambda operation: type(operation).__name__,
)
def test_the_rule_finds_what_would_hurt(operation: Operation) -> None:
    state = MigrationLoader(None).project_state(("classifier", BEGIN["classifier"]))
    assert hurts(operation, state, "classifier")


@pytest.mark.parametrize(
    "operation",
    [
        migrations.AddField("prediction", "mood", models.CharField(max_length=5, default="", db_default="")),
        migrations.AddField("prediction", "mood", models.CharField(max_length=5, null=True)),
        migrations.AlterField("prediction", "label", models.CharField(max_length=150, blank=True)),
        migrations.AddIndex("prediction", models.Index(fields=["label"], name="x")),
    ],
    ids=lambda operation: type(operation).__name__,
)
def test_the_rule_lets_through_what_only_adds(operation: Operation) -> None:
    state = MigrationLoader(None).project_state(("classifier", BEGIN["classifier"]))
    assert not hurts(operation, state, "classifier")


@pytest.mark.django_db
def test_the_code_before_works_on_the_schema_of_now() -> None:
    """The models as they were, through Django's own history: a web host adds, a worker claims and answers."""
    old = MigrationExecutor(connection).loader.project_state(list(BEGIN.items())).apps
    user = old.get_model("classifier", "User").objects.create(username="old")
    photo = old.get_model("classifier", "Photo").objects.create(
        owner=user, filename="old.jpg", width=1, height=1, size=1, pixel_sha256="0" * 64
    )
    predictions = old.get_model("classifier", "Prediction").objects
    asked = predictions.create(
        photo=photo,
        owner=user,
        photo_created_at=photo.created_at,
        preprocessing="squash32-v1",
        input_sha256="0" * 64,
    )
    assert predictions.filter(pk=asked.pk, status="queued").update(status="running", attempt=1) == 1
    row = predictions.get(pk=asked.pk)
    row.status, row.label, row.probabilities, row.finished_at = "done", "cat", [0.1] * 10, timezone.now()
    predictions.bulk_update([row], ["status", "label", "probabilities", "finished_at"])
    job = old.get_model("training", "TrainingJob").objects.create(recipe="fast_cnn")
    batch = old.get_model("classifier", "Batch").objects.create(owner=user, filename="a", sha256="", size=1)
    old.get_model("classifier", "BatchItem").objects.create(batch=batch, number=1, name="a.jpg")

    # And the code of now reads what the code before wrote.
    answered = current_apps.get_model("classifier.Prediction").objects.get(pk=asked.pk)
    assert (answered.label, answered.request_id) == ("cat", "")
    assert current_apps.get_model("training.TrainingJob").objects.get(pk=job.pk).request_id == ""


def test_a_message_of_the_version_before_is_understood() -> None:
    """Tasks keep their names and take nothing: they only say 'look'."""
    current_app.loader.import_default_modules()
    assert set(current_app.tasks) >= TASKS
    for name in TASKS:
        function = current_app.tasks[name].__wrapped__
        code = getattr(function, "__func__", function).__code__
        assert code.co_argcount - (code.co_varnames[:1] == ("self",)) == 0, name
