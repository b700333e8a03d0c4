"""What is written once stays: through a row, through a query, and in the database itself."""

import os
import subprocess
import sys
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.core.management import CommandError, call_command
from django.db import IntegrityError, connection, transaction
from django.test import TransactionTestCase

from cifarsite.core.append_only import append_only_models
from cifarsite.test import SiteTestCase, make_user
from classifier.accounts.audit import record
from classifier.models import AuditEntry
from conftest import ROOT
from training.models import ModelVersion, Promotion


def model_version() -> ModelVersion:
    return ModelVersion.objects.create(
        name="m", recipe="r", sha256="0" * 64, size=1, preprocessing="squash32-v1", card={}
    )


class AppendOnlyTests(SiteTestCase):
    def setUp(self) -> None:
        record("token_made", by=self.alice, detail="token 1")
        self.entry = AuditEntry.objects.get()
        model = model_version()
        self.promotion = Promotion.objects.create(
            action="promote", promoted=model, by=self.alice, reason="Better."
        )

    def sql(self, statement: str, *values: Any) -> None:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(statement, values)

    def test_a_row_cannot_be_saved_again_or_deleted(self) -> None:
        for row in (self.entry, self.promotion):
            with self.assertRaises(ValidationError):
                row.save()
            with self.assertRaises(ValidationError):
                row.delete()

    def test_a_query_cannot_change_or_delete_rows(self) -> None:
        for rows in (AuditEntry.objects.all(), Promotion.objects.all()):
            with self.assertRaises(ValidationError):
                rows.delete()
        with self.assertRaises(ValidationError):
            AuditEntry.objects.update(kind="nothing")
        with self.assertRaises(ValidationError):
            Promotion.objects.update(reason="nothing")

    def test_the_database_itself_refuses(self) -> None:
        for table, column in (
            ("classifier_auditentry", "kind"),
            ("classifier_auditentry", "detail"),
            ("training_promotion", "reason"),
            ("training_promotion", "gate"),
        ):
            with self.subTest(f"{table}.{column}"), self.assertRaises(IntegrityError):
                self.sql(f"UPDATE {table} SET {column} = '\"x\"'")
        for table in ("classifier_auditentry", "training_promotion"):
            with self.subTest(table), self.assertRaises(IntegrityError):
                self.sql(f"DELETE FROM {table}")
        with self.assertRaises(IntegrityError):
            self.sql("UPDATE classifier_auditentry SET by_id = %s", self.bob.pk)

    def test_flush_is_refused_and_empties_nothing(self) -> None:
        with self.assertRaises(CommandError) as refused:
            call_command("flush", interactive=False, verbosity=0)
        self.assertIn("append-only", str(refused.exception.__cause__))
        self.assertEqual(AuditEntry.objects.get().by, self.alice)
        self.assertTrue(Promotion.objects.exists())

    def test_a_person_can_be_forgotten_and_nothing_else(self) -> None:
        self.sql("UPDATE classifier_auditentry SET by_id = NULL, address = NULL")
        self.sql("UPDATE training_promotion SET by_id = NULL")
        self.assertEqual(AuditEntry.objects.get().kind, "token_made")

    def test_every_such_table_has_its_triggers(self) -> None:
        self.assertLessEqual({AuditEntry, Promotion}, set(append_only_models()))
        if connection.vendor != "sqlite":
            self.skipTest("Their names are looked up in SQLite's own table.")
        with connection.cursor() as cursor:
            cursor.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'")
            names = {name for (name,) in cursor.fetchall()}
        for model in append_only_models():
            self.assertIn(f"{model._meta.db_table}_not_changed", names)
            if model.kept_for_good:
                self.assertIn(f"{model._meta.db_table}_not_deleted", names)


class EmptiedTests(TransactionTestCase):
    def test_a_test_that_commits_leaves_the_triggers_in_place(self) -> None:
        record("token_made", by=make_user("dora"))
        self._fixture_teardown()  # type: ignore[attr-defined]
        self.assertFalse(AuditEntry.objects.exists())
        record("token_made")
        with self.assertRaises(IntegrityError), transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("DELETE FROM classifier_auditentry")


POSTGRES = """
import os, sys, django
os.environ["DJANGO_SETTINGS_MODULE"] = "cifarsite.settings"
django.setup()
from django.core.management import CommandError, call_command
from django.db import IntegrityError, connection, transaction
from classifier.models import AuditEntry, User
call_command("migrate", verbosity=0)
user = User.objects.create_user("alice")
AuditEntry.objects.create(kind="token_made", by=user, address="192.0.2.1")
for statement in ("UPDATE classifier_auditentry SET kind = 'x'", "DELETE FROM classifier_auditentry",
                  "UPDATE classifier_auditentry SET address = '192.0.2.2'",
                  "TRUNCATE classifier_auditentry", "TRUNCATE training_promotion CASCADE"):
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(statement)
    except IntegrityError:
        continue
    sys.exit(f"not refused: {statement}")
try:
    call_command("flush", interactive=False)
except CommandError as error:
    assert "append-only" in str(error.__cause__), error.__cause__
else:
    sys.exit("flush was not refused")
assert AuditEntry.objects.get().by == user
AuditEntry.objects.update(address=None)
user.delete()
assert AuditEntry.objects.get().by is None
call_command("migrate", verbosity=0)
"""


@pytest.mark.slow
@pytest.mark.needs_postgres
def test_postgresql_refuses_as_well(postgres_url: str, tmp_path: Any) -> None:
    environment = {**os.environ, "DATABASE_URL": postgres_url, "VAR_DIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", POSTGRES], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
