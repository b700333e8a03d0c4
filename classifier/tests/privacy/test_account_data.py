"""A person's numbers, their data as one ZIP, and an account that is really gone."""

import csv
import io
import json
import zipfile
from datetime import timedelta
from unittest import mock

from django.core.files.storage import default_storage
from django.urls import reverse
from django.utils import timezone

from cifarsite.test import PASSWORD, SiteTestCase, answer
from classifier.feedback.corrections import accept, correct, set_consent
from classifier.models import AuditEntry, Batch, Correction, Photo, Prediction, User
from classifier.photos import history
from classifier.privacy import account_data
from classifier.tests.uploads.archives import photos, zipped
from classifier.uploads import batches
from training.models import DatasetImage, DatasetVersion


def files_of(folder: str = "") -> list[str]:
    folders, files = default_storage.listdir(folder)
    found = [f"{folder}/{name}".strip("/") for name in files]
    return found + [name for sub in folders for name in files_of(f"{folder}/{sub}".strip("/"))]


class PeopleTestCase(SiteTestCase):
    def body(self, name: str, query: str = "") -> bytes:
        response = self.client.get(reverse(f"classifier:{name}") + query)
        self.assertEqual(response.status_code, 200)
        return b"".join(response.streaming_content)  # type: ignore[attr-defined]


class Exporting(PeopleTestCase):
    def setUp(self) -> None:
        self.client.force_login(self.alice)

    def test_the_zip_holds_account_answers_corrections_and_photos(self) -> None:
        photo = self.upload()
        answer(photo, "cat")
        correct(photo, self.alice, "dog")
        self.upload(self.bob)
        archive = zipfile.ZipFile(io.BytesIO(self.body("account-export")))
        self.assertEqual(archive.namelist()[:2], ["account.json", "photos.jsonl"])
        self.assertIn(f"photos/{photo.pk}.jpg", archive.namelist())
        self.assertIsNone(archive.testzip())
        account = json.loads(archive.read("account.json"))
        self.assertEqual((account["username"], account["emails"]), ("alice", ["alice@example.org"]))
        (line,) = archive.read("photos.jsonl").splitlines()
        self.assertEqual((json.loads(line)["label"], json.loads(line)["correction"]), ("cat", "dog"))

    def test_the_history_is_exported_as_filtered(self) -> None:
        for label in ("cat", "dog"):
            answer(self.upload(name=f"{label}.jpg"), label)
        rows = list(csv.DictReader(io.StringIO(self.body("history-csv", "?label=dog").decode("utf-8-sig"))))
        self.assertEqual([row["filename"] for row in rows], ["dog.jpg"])
        self.assertEqual(len(self.body("history-jsonl").splitlines()), 2)

    def test_a_long_history_is_read_in_pages(self) -> None:
        for _n in range(3):
            answer(self.upload())
        with mock.patch("classifier.photos.export.PIECE", 2):
            self.assertEqual(len(self.body("history-jsonl").splitlines()), 3)

    def test_numbers_count_classes_and_agreement(self) -> None:
        for label, said in (("cat", "cat"), ("cat", "dog"), ("ship", "not_sure")):
            photo = self.upload()
            answer(photo, label)
            correct(photo, self.alice, said)
        found = account_data.numbers(self.alice)
        self.assertEqual((found.photos, found.corrections, found.agreeing), (3, 2, 1))
        [(_project, photos, rows)] = found.projects
        self.assertEqual(photos, 3)
        self.assertEqual({row.name: row.photos for row in rows if row.photos}, {"cat": 2, "ship": 1})
        self.assertEqual([(n, agreeing) for _month, n, agreeing in found.months], [(2, 1)])
        self.assertContains(self.client.get(reverse("classifier:numbers")), "Statistics")


class Deleting(PeopleTestCase):
    def sign_in(self, username: str) -> None:
        self.client.post("/accounts/login/", {"login": username, "password": PASSWORD})
        self.client.post("/accounts/reauthenticate/", {"password": PASSWORD})

    def test_everything_is_gone_and_the_audit_line_stays_without_a_name(self) -> None:
        set_consent(self.alice, True)
        photo = self.upload()
        answer(photo)
        correct(photo, self.alice, "dog")
        accept(photo, "dog", by=self.charlie)
        version = DatasetVersion.objects.create(name="v", sha256="1" * 64, manifest={})
        DatasetImage.objects.create(dataset=version, source=photo.pk)
        batches.create_batch(self.alice, zipped(photos(2)), filename="a.zip")
        others = self.upload(self.bob)
        self.sign_in("alice")
        response = self.client.post(reverse("classifier:account-delete"), {"username": "alice"})
        self.assertRedirects(response, "/")
        self.assertFalse(User.objects.filter(username="alice").exists())
        self.assertEqual(list(Photo.objects.all()), [others])
        self.assertEqual(Prediction.objects.get().photo, others)
        self.assertFalse(Correction.objects.exists() or Batch.objects.exists())
        self.assertTrue(all(str(others.pk) in name for name in files_of()), files_of())
        self.assertIsNotNone(version.images.get().withdrawn_at)
        line = AuditEntry.objects.get(kind="account_deleted")
        self.assertNotIn("alice", line.detail)
        self.assertIsNone(line.by)

    def test_a_wrong_name_deletes_nothing(self) -> None:
        self.sign_in("alice")
        response = self.client.post(reverse("classifier:account-delete"), {"username": "bob"})
        self.assertContains(response, "not your user name", status_code=400)
        self.assertTrue(User.objects.filter(username="alice").exists())

    def test_it_asks_for_the_password_again(self) -> None:
        self.client.force_login(self.alice)
        response = self.client.post(reverse("classifier:account-delete"), {"username": "alice"})
        self.assertEqual(response.status_code, 302)
        self.assertIn("reauthenticate", response.url)  # type: ignore[attr-defined]

    def test_the_last_administrator_stays(self) -> None:
        User.objects.filter(username="charlie").update(is_superuser=True)
        self.charlie.refresh_from_db()
        with self.assertRaises(account_data.LastAdministrator):
            account_data.delete_account(self.charlie)

    def test_a_photo_that_is_purged_takes_its_example_along(self) -> None:
        set_consent(self.alice, True)
        photo = self.upload()
        answer(photo)
        accept(photo, "dog", by=self.charlie)
        version = DatasetVersion.objects.create(name="v", sha256="1" * 64, manifest={})
        DatasetImage.objects.create(dataset=version, source=photo.pk)
        Photo.objects.update(deleted_at=timezone.now() - timedelta(hours=1))
        self.assertEqual(history.purge_deleted(), 1)
        self.assertEqual(files_of(), [])
        self.assertIsNotNone(version.images.get().withdrawn_at)
