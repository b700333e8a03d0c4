"""What a backup does where a file is damaged or missing, and where it looks at the wrong place."""

import json
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest import mock

from django.core.files.storage import default_storage
from django.core.management import CommandError, call_command
from django.db import DatabaseError
from django.test import override_settings

from cifarsite.test import SiteTestCase
from classifier.models import Photo, User
from classifier.operations import backup, backup_files, database_dumps
from classifier.operations.backup import back_up
from classifier.operations.database_dumps import BackupError

NIGHT = datetime(2026, 1, 1, 2, tzinfo=UTC)


def damage(path: Path) -> bytes:
    """Flip a bit; the size stays. Returns what it was."""
    content = path.read_bytes()
    path.write_bytes(bytes([content[0] ^ 1]) + content[1:])
    return content


class DamageTests(SiteTestCase):
    """Backups of the test's database as SQLite's file is not there: the dump is a file of its own."""

    def setUp(self) -> None:
        # What another test of this class left: files stay where rows are rolled back.
        shutil.rmtree(default_storage.path(""), ignore_errors=True)
        folder = TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.nights = 0
        self.photo: Photo = self.upload()
        self.name = str(self.photo.display.name)
        self.stored = Path(default_storage.path(self.name))
        self.copy = self.folder / "files" / self.name
        # The test's rows live in a transaction of the test: another connection would not see them.
        self.enterContext(mock.patch.object(database_dumps, "make", self.dump))
        self.enterContext(mock.patch.object(backup, "SETTLE_SECONDS", 0))

    def dump(self, part: Path) -> tuple[Path, dict[str, int]]:
        dump = part / "database"
        dump.write_bytes(b"rows")
        return dump, database_dumps.count_rows()

    def back_up(self, **options: Any) -> backup.Done:
        self.nights += 1
        return back_up(self.folder, now=NIGHT + timedelta(days=self.nights), **options)

    def known(self) -> dict[str, object]:
        """What the newest backup says of the photo."""
        facts: dict[str, object] = backup.read_manifest(backup.newest(self.folder))["files"][self.name]
        return facts

    def test_a_damaged_copy_is_copied_again_and_never_believed(self) -> None:
        self.back_up()
        before, content = self.known(), damage(self.copy)
        done = self.back_up()
        self.assertEqual((done.copied, done.damaged), (1, ()))
        self.assertEqual(self.copy.read_bytes(), content)
        self.assertEqual(self.known(), before)

    def test_a_damaged_original_does_not_replace_the_good_copy(self) -> None:
        self.back_up()
        content = damage(self.stored)
        done = self.back_up(verify=True)
        self.assertIn(self.name, " ".join(done.damaged))
        self.assertEqual(self.copy.read_bytes(), content)
        # One that lost its end is noticed without reading it.
        self.stored.write_bytes(content[:10])
        self.assertIn(self.name, " ".join(self.back_up().damaged))
        self.assertEqual(self.copy.read_bytes(), content)

    def test_where_both_are_damaged_the_manifest_goes_on_naming_the_good_one(self) -> None:
        self.back_up()
        before = self.known()
        damage(self.stored)
        damage(self.copy)
        self.assertIn(self.name, " ".join(self.back_up().damaged))
        self.assertEqual(self.known(), before)

    def test_a_copy_that_an_interrupted_backup_left_is_compared_with_the_original(self) -> None:
        self.copy.parent.mkdir(parents=True)
        shutil.copyfile(self.stored, self.copy)
        content = damage(self.copy)
        self.back_up()
        self.assertEqual(self.copy.read_bytes(), content)

    def test_damage_rotates_nothing_away_and_ends_with_an_error(self) -> None:
        self.back_up()
        self.stored.write_bytes(b"short")
        with self.assertRaisesMessage(CommandError, "missing or damaged"):
            call_command("backup", str(self.folder), "--keep", "1")
        self.assertEqual(len(backup.whole_backups(self.folder)), 2)

    def test_another_folder_of_files_is_refused_and_rotates_nothing_away(self) -> None:
        self.back_up()
        with TemporaryDirectory() as wrong, override_settings(MEDIA_ROOT=wrong):
            for number in range(2):
                with self.subTest(number), self.assertRaisesMessage(BackupError, "VAR_DIR"):
                    self.back_up(keep=1)
        self.assertEqual(len(backup.whole_backups(self.folder)), 1)
        self.assertTrue(self.copy.exists())
        self.assertEqual(list(self.folder.glob(".*")), [])  # nothing half made is left
        self.assertEqual(self.back_up(keep=1).damaged, ())

    def test_each_kind_of_file_that_a_row_names_is_missed(self) -> None:
        prediction = self.photo.prediction
        for name in (self.name, str(self.photo.thumbnail.name), str(prediction.input.name)):
            with self.subTest(name):
                path = Path(default_storage.path(name))
                content = path.read_bytes()
                path.unlink()
                with self.assertRaisesMessage(BackupError, name):
                    self.back_up()
                path.write_bytes(content)

    def test_a_file_that_is_lost_for_good_can_be_left_behind_and_stays_on_the_list(self) -> None:
        self.stored.unlink()
        done = self.back_up(allow_missing=True)
        self.assertEqual(done.damaged, (f"{self.name} is missing",))
        manifest = json.loads((done.folder / backup.MANIFEST).read_text())
        self.assertEqual(manifest["missing"], [self.name])

    def test_a_database_without_accounts_is_not_the_one_of_the_last_backup(self) -> None:
        self.back_up()
        self.photo.delete()
        User.objects.all().delete()
        with self.assertRaisesMessage(BackupError, "accounts"):
            self.back_up(keep=1)
        self.assertEqual(len(backup.whole_backups(self.folder)), 1)

    def test_a_database_that_is_not_the_sites_is_a_sentence(self) -> None:
        with (
            mock.patch.object(backup_files, "named_files", side_effect=DatabaseError("no such table: x")),
            self.assertRaisesMessage(CommandError, "VAR_DIR"),
        ):
            call_command("backup", str(self.folder))
        self.assertEqual(backup.whole_backups(self.folder), [])
