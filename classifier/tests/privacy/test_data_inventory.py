"""Every table and file that has to do with a person is known: exported, and gone with the account.

A new table with a way to a person fails here until ``classifier.privacy.data_inventory`` names it.
"""

from __future__ import annotations

import io
import json
import shutil
import zipfile
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from unittest import mock

from allauth.account.models import EmailAddress, EmailConfirmation
from allauth.mfa.models import Authenticator
from allauth.socialaccount.models import SocialAccount, SocialToken
from allauth.usersessions.models import UserSession
from django.apps import apps
from django.conf import settings
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.auth.models import Group, Permission
from django.contrib.contenttypes.models import ContentType
from django.contrib.sessions.models import Session
from django.db.models import CASCADE, FileField, Model
from django.utils import timezone

from cifarsite.test import PASSWORD, SiteTestCase, answer, make_user
from classifier.accounts import audit
from classifier.accounts.tokens import make_token
from classifier.feedback.corrections import accept, correct, set_consent
from classifier.feedback.training_photos import freeze
from classifier.models import (
    AuditEntry,
    Correction,
    IdempotentRequest,
    Photo,
    Prediction,
    Reclassification,
    ReclassificationItem,
    Shadow,
    ShadowAnswer,
    User,
    WebhookAddress,
)
from classifier.predictions.explanations import request_explanation
from classifier.privacy import account_data, data_inventory
from classifier.tests.privacy.test_account_data import files_of
from classifier.tests.uploads.archives import photos, zipped
from classifier.uploads import batches, chunked
from training.jobs import lifecycle
from training.models import Cifar10Fetch, JobEvent, ModelVersion, Project, ProjectImport, Promotion, Refusal
from training.registry.model_store import cifar10_version

# In every text that the person brought along: after the deletion it stands nowhere.
CANARY = "kestrel"
ADDRESS = "203.0.113.77"

# app.Model.field: what an export does with these files.
FILES = {
    "classifier.Photo.display": "photos/",
    "classifier.Photo.thumbnail": "Left out: a smaller copy of the display copy.",
    "classifier.Prediction.input": "inputs/",
    "classifier.Example.image": "examples/",
    "classifier.ArchivePart.file": "Left out: a piece of the person's own file, removed within a day.",
    "training.ProjectImport.archive": "Left out: images of a project, removed as soon as they are read.",
    "training.ProjectImport.labels": "Left out: their labels, removed with them.",
    "training.ProjectImage.file": "Left out: of the project; a person's own photo is exported itself.",
    "classifier.Batch.archive": "Left out: the person's own file, removed as soon as it is unpacked.",
}
# Columns that say nothing about the person, or that are secrets.
LEFT_OUT = {
    "the database's own number": {"id"},
    "files, exported as such": {"file", "offset", "display", "thumbnail", "input", "image", "archive"},
    "how the work is shared among workers": {
        *("attempt", "claim", "worker", "lease_expires_at", "priority", "photo_created_at", "request_id"),
    },
    "counts and words of photos that are exported themselves": {
        *("day", "photos", "labels", "quarters", "changes", "counted", "word", "photo", "project"),
    },
    "keys of other sites, of which none is kept": {"app", "token", "token_secret", "expires_at"},
    "secrets": {"key", "data", "session_key", "sha256", "secret"},
    "said by other columns": {
        "totals",
        "batch",
        "fingerprint",
        "same_as",
        "answer",
        "request_sha256",
        "content_type",
        "object_id",
    },
    "of the site's own images": {"near_duplicate_of", "pictures", "has_pictures"},
    "times of the secret key": {"created", "sent"},
}


def ways_to_a_person() -> Iterator[tuple[str, str]]:
    """(table, field) of each foreign key to a person, or to a row that goes with a person."""
    owned: set[type[Model]] = {User}
    while True:
        found = {
            (model, field)
            for model in apps.get_models(include_auto_created=True)
            for field in model._meta.concrete_fields
            if field.remote_field and field.related_model in owned and model is not User
        }
        more = {model for model, field in found if getattr(field.remote_field, "on_delete", None) is CASCADE}
        if more <= owned:
            break
        owned |= more
    for model, field in found:
        yield model._meta.label, field.name


class NamedTests(SiteTestCase):
    def test_every_way_from_a_table_to_a_person_is_named(self) -> None:
        for label, field in sorted(ways_to_a_person()):
            named = data_inventory.LINKS.get(label, {})
            target = apps.get_model(label)._meta.get_field(field).related_model
            # A row that goes with another one may be named by its longer way to the person.
            known = any(way == field or way.startswith(f"{field}__") for way in named)
            self.assertTrue(
                known or (named and target is not User),
                f"{label}.{field} leads to a person: name it in LINKS of "
                "classifier/privacy/data_inventory.py, with the columns that an export shows, "
                "or why there are none, or why the row stays.",
            )

    def test_every_column_of_a_persons_own_rows_is_exported_or_left_out_for_a_reason(self) -> None:
        left_out = set().union(*LEFT_OUT.values())
        for label, ways in data_inventory.LINKS.items():
            if all(link.stays for link in ways.values()):
                continue
            known = {name.split("__")[0] for link in ways.values() for name in link.columns}
            known |= {way.split("__")[0] for way in ways}
            columns = {field.name for field in apps.get_model(label)._meta.concrete_fields}
            self.assertFalse(
                columns - known - left_out,
                f"{label}: name them in LINKS of classifier/privacy/data_inventory.py.",
            )

    def test_no_table_is_named_that_is_gone(self) -> None:
        self.assertLessEqual(set(data_inventory.LINKS), {label for label, _field in ways_to_a_person()})

    def test_every_file_is_named(self) -> None:
        fields = {
            f"{model._meta.label}.{field.name}"
            for model in apps.get_models()
            for field in model._meta.get_fields()
            if isinstance(field, FileField)
        }
        self.assertEqual(fields, set(FILES), "Name it in FILES of this test.")

    def test_no_export_shows_a_secret(self) -> None:
        columns = {c for _model, _way, link in data_inventory.links() for c in link.columns}
        self.assertFalse(columns & {"password", "data", "session_key", "claim", "secret"})
        self.assertNotIn("sha256", data_inventory.LINKS["classifier.ApiToken"]["owner"].columns)

    def test_what_is_left_out_says_why(self) -> None:
        for model, way, link in data_inventory.links():
            self.assertTrue(link.columns or link.reason, f"{model}.{way}")


class FullLife(SiteTestCase):
    """Somebody who has left a trace in every table: also a member of staff."""

    person: User

    def setUp(self) -> None:
        # What an earlier test left: its rows are gone by themselves, its files are not.
        for folder in Path(settings.MEDIA_ROOT).iterdir():
            shutil.rmtree(folder)
        self.person = person = make_user(CANARY, is_staff=True, first_name=CANARY)
        self.client.post("/accounts/login/", {"login": CANARY, "password": PASSWORD})
        UserSession.objects.create(
            user=person, ip=ADDRESS, session_key=f"{CANARY}-session", user_agent=f"{CANARY} browser"
        )
        person.groups.add(Group.objects.get(name="reviewers"))
        person.user_permissions.add(Permission.objects.all()[0])
        set_consent(person, True)
        self.photo = self.upload(person, name=f"{CANARY}.jpg")
        answer(self.photo)
        request_explanation(self.photo.prediction)
        correct(self.photo, person, "dog")
        accept(self.photo, "dog", by=self.charlie)
        set_consent(self.bob, True)
        others = self.upload(self.bob, colour="red")
        self.others = others
        answer(others)
        correct(others, self.bob, "cat")
        accept(others, "cat", by=person)
        batch = batches.create_batch(person, zipped({f"{CANARY}.jpg": b"x"} | photos(1)), filename=CANARY)
        batch.items.update(photo=None)
        coming = chunked.begin(person, filename=CANARY, size=9, fingerprint=CANARY)
        chunked.append(coming, 0, CANARY.encode()[:3])
        make_token(person, scopes=["read"], name=CANARY)
        WebhookAddress.objects.create(
            owner=person, url=f"https://example.org/{CANARY}", secret=f"{CANARY}-signs"
        )
        IdempotentRequest.objects.create(owner=person, key=CANARY, request_sha256="0" * 64)
        AuditEntry.objects.create(kind="sign_in_failed", by=person, address=ADDRESS)
        Authenticator.objects.create(user=person, type="totp", data={"secret": CANARY})
        joined = SocialAccount.objects.create(user=person, provider="acme", uid=CANARY, extra_data={})
        SocialToken.objects.create(account=joined, token=CANARY)
        address = EmailAddress.objects.get(user=person)
        EmailConfirmation.objects.create(email_address=address, key=f"{CANARY}-key", sent=timezone.now())
        model = ModelVersion.objects.create(
            name="m", recipe="r", sha256="1" * 64, size=1, preprocessing="squash32-v1", card={}
        )
        Promotion.objects.create(action="promote", promoted=model, by=person, reason="Better.")
        Refusal.objects.create(model=model, by=person, reason="Better.", detail="It is not.")
        shadow = Shadow.objects.create(model=model, started_by=person)
        ShadowAnswer.objects.create(shadow=shadow, prediction=self.photo.prediction)
        run = Reclassification.objects.create(model=model, started_by=person)
        ReclassificationItem.objects.create(
            reclassification=run, prediction=self.photo.prediction, before="cat"
        )
        project = Project.objects.create(slug="birds", name="Birds", created_by=person)
        project.members.add(person)
        ProjectImport.objects.create(project=project, requested_by=person, filename="birds.zip")
        Cifar10Fetch.objects.create(requested_by=person)
        job = lifecycle.request_training(recipe="fast_cnn", parameters={}, by=person)
        JobEvent.objects.create(job=job, what="cancelled", by=person)
        ModelVersion.objects.update(dataset=cifar10_version("2" * 64))
        self.dataset = freeze(person, "first")
        for row in (person, self.photo, address):
            LogEntry.objects.create(
                user=self.charlie,
                content_type=ContentType.objects.get_for_model(row),
                object_id=str(row.pk),
                object_repr=str(row),
                action_flag=CHANGE,
                change_message=f"changed {CANARY}",
            )
        LogEntry.objects.create(
            user=person,
            content_type=ContentType.objects.get_for_model(self.bob),
            object_id=str(self.bob.pk),
            object_repr="bob",
            action_flag=CHANGE,
        )

    def test_this_person_has_left_a_trace_in_every_table(self) -> None:
        for model, way, _link in data_inventory.links():
            self.assertTrue(
                data_inventory.rows_of(self.person, model, way).exists(),
                f"Make a row of {model._meta.label} by {way} in setUp: deletion and export are tried on it.",
            )

    def archive(self) -> zipfile.ZipFile:
        return zipfile.ZipFile(io.BytesIO(b"".join(account_data.export(self.person))))

    def test_the_export_holds_a_row_of_every_table(self) -> None:
        archive = self.archive()
        self.assertIsNone(archive.testzip())
        for model, way, link in data_inventory.links():
            if link.export:
                lines = archive.read(f"tables/{link.export}.jsonl").splitlines()
                count = data_inventory.rows_of(self.person, model, way).count()
                self.assertEqual(len(lines), count, link.export)
                self.assertEqual(
                    set(json.loads(lines[0])), {column.replace("__", "_") for column in link.columns}
                )

    def test_the_export_holds_every_file_that_is_not_left_out_for_a_reason(self) -> None:
        names = self.archive().namelist()
        for field, where in FILES.items():
            if not where.startswith("Left out: "):
                self.assertTrue([name for name in names if name.startswith(where)], field)

    def test_the_export_holds_nothing_of_others_and_no_secret(self) -> None:
        archive = self.archive()
        everything = b"".join(archive.read(name) for name in archive.namelist())
        for secret in (self.person.password, f"{CANARY}-session", f"{CANARY}-key", f"{CANARY}-signs"):
            self.assertNotIn(secret.encode(), everything)
        self.assertNotIn(b"bob@example.org", everything)
        self.assertNotIn(f"photos/{self.others.pk}.jpg", archive.namelist())

    def test_after_the_deletion_nothing_of_the_person_is_left(self) -> None:
        pk, photo = self.person.pk, self.photo.pk
        account_data.delete_account(self.person)
        for model in apps.get_models(include_auto_created=True):
            for row in model._default_manager.values():
                text = repr(row)
                for trace in (CANARY, ADDRESS):
                    self.assertNotIn(trace, text, model._meta.label)
        for model, way, _link in data_inventory.links():
            rows = model._default_manager.filter(**{way: pk})
            self.assertFalse(rows.exists(), f"{model._meta.label} by {way}")
        kept = {str(self.others.pk), "models"}
        for name in files_of():
            self.assertTrue(any(part in name for part in kept), name)
        for path in Path(settings.MEDIA_ROOT).rglob("*"):
            self.assertNotIn(str(photo), str(path.relative_to(settings.MEDIA_ROOT)) * path.is_file())
        for session in Session.objects.all():
            self.assertNotEqual(session.get_decoded().get("_auth_user_id"), str(pk))

    def test_what_stays_stays_without_the_person(self) -> None:
        counts = {
            (model, way): data_inventory.rows_of(self.person, model, way).count()
            for model, way, link in data_inventory.links()
            if link.stays
        }
        before = {model: model._default_manager.count() for model, _way in counts}
        account_data.delete_account(self.person)
        for model in before:
            if model not in (Correction,):  # the person's own go
                self.assertGreaterEqual(
                    model._default_manager.count(), before[model] - (model.__name__ == "Example")
                )
        self.assertIsNotNone(self.dataset.images.get(source=self.photo.pk).withdrawn_at)
        self.assertIsNone(self.dataset.images.get(source=self.others.pk).withdrawn_at)
        self.assertEqual(set(Photo.objects.values_list("pk", flat=True)), {self.others.pk})
        self.assertEqual(Prediction.objects.count(), 1)

    def test_their_tokens_and_sessions_open_nothing_any_more(self) -> None:
        _token, secret = make_token(self.person, scopes=["read"])
        account_data.delete_account(self.person)
        response = self.client.get("/api/v1/photos", headers={"Authorization": f"Bearer {secret}"})
        self.assertEqual(response.status_code, 401)
        self.assertEqual(self.client.get("/account/").status_code, 302)


class RetentionTests(SiteTestCase):
    def test_sessions_that_are_over_go_with_the_addresses_they_came_from(self) -> None:
        self.client.post("/accounts/login/", {"login": "alice", "password": PASSWORD})
        self.client.get("/account/")
        self.assertTrue(UserSession.objects.filter(user=self.alice).exists())
        self.assertEqual(account_data.purge_sessions(), 0)
        Session.objects.update(expire_date=timezone.now() - timedelta(seconds=1))
        self.assertEqual(account_data.purge_sessions(), 1)
        self.assertFalse(UserSession.objects.exists() or Session.objects.exists())

    def test_addresses_in_the_audit_log_are_forgotten_after_ninety_days(self) -> None:
        entry = AuditEntry.objects.create(kind="sign_in_failed", address=ADDRESS)
        self.assertEqual(audit.forget_old_addresses(), 0)
        with self.freeze(audit, days=91):
            self.assertEqual(audit.forget_old_addresses(), 1)
        entry.refresh_from_db()
        self.assertIsNone(entry.address)

    def test_a_sign_up_without_a_confirmed_address_goes_after_thirty_days(self) -> None:
        dora = User.objects.create_user("dora", "dora@example.org", PASSWORD)
        EmailAddress.objects.create(user=dora, email=dora.email, verified=False, primary=True)
        User.objects.create_user("machine")  # made by a command, without an address
        self.assertEqual(account_data.purge_unconfirmed(), 0)
        with self.freeze(account_data, days=31):
            self.assertEqual(account_data.purge_unconfirmed(), 1)
        names = set(User.objects.values_list("username", flat=True))
        self.assertEqual(names, {"alice", "bob", "charlie", "machine"})

    def freeze(self, module: Any, *, days: int) -> Any:
        later = timezone.now() + timedelta(days=days)
        return mock.patch.object(module.timezone, "now", return_value=later)


class PrivacyPageTests(SiteTestCase):
    def test_it_says_to_anybody_what_is_stored_for_how_long_and_who_sees_it(self) -> None:
        page = self.client.get("/privacy/")
        for sentence in (
            "restore a deleted photo for 10 minutes",
            "at most 3 days after",
            "addresses in the audit log: 90 days",
            "never confirmed: 30 days",
            "A sign-in: 14 days",
            "for 15 minutes after giving a reason",
            "Webhook addresses that you enter",
            "the site calls the webhook address",
        ):
            self.assertContains(page, sentence)

    def test_every_page_leads_to_it(self) -> None:
        self.assertContains(self.client.get("/"), 'href="/privacy/"')
        self.client.force_login(self.alice)
        self.assertContains(self.client.get("/privacy/"), "/account/export/")
