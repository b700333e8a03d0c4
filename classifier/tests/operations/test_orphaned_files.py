"""Files without rows and rows without files."""

import io
import os
import shutil
import time
import uuid
from datetime import timedelta
from pathlib import Path

from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.core.management import CommandError, call_command
from django.utils import timezone

from cifarsite.test import SiteTestCase
from classifier.models import Photo
from classifier.operations import orphaned_files
from classifier.tests.uploads.archives import zipped
from classifier.uploads.project_imports import import_archive
from training.projects.lifecycle import create
from training.tests.projects.drawings import add_images

DAY = 86_400


class OrphansTests(SiteTestCase):
    def setUp(self) -> None:
        # What another test of this class left: files stay where rows are rolled back.
        for folder in ("photos", "batches", "imports", "projects"):
            shutil.rmtree(default_storage.path(folder), ignore_errors=True)

    def stray(self, name: str = "", *, hours: float = 48) -> str:
        """A file that no row names, so many hours old."""
        pk = uuid.uuid4()
        stored = default_storage.save(name or f"photos/{pk.hex[:2]}/{pk}/display.jpg", ContentFile(b"x"))
        path = Path(default_storage.path(stored))
        then = time.time() - hours * 3600
        os.utime(path, (then, then))
        os.utime(path.parent, (then, then))
        return stored

    def old_photo(self, colour: str = "steelblue") -> Photo:
        photo = self.upload(colour=colour)
        Photo.objects.filter(pk=photo.pk).update(created_at=timezone.now() - timedelta(days=2))
        return photo

    def lose(self, photo: Photo) -> None:
        default_storage.delete(str(photo.display.name))

    def run_command(self, *words: str) -> str:
        out = io.StringIO()
        call_command("orphans", *words, stdout=out)
        return out.getvalue()

    def test_a_file_without_a_row_is_found_and_removed_with_its_folder(self) -> None:
        name = self.stray()
        found = orphaned_files.find_orphans(name.split("/")[1])
        self.assertEqual(found.strays, [name])
        self.assertEqual(orphaned_files.remove_strays(found), 1)
        self.assertFalse(default_storage.exists(name))

    def test_an_empty_folder_is_removed_once_it_is_old(self) -> None:
        name = self.stray()
        folder = Path(default_storage.path(name)).parent
        Path(default_storage.path(name)).unlink()
        part = name.split("/")[1]
        orphaned_files.remove_strays(orphaned_files.find_orphans(part))
        self.assertTrue(folder.exists())
        then = time.time() - 2 * DAY
        os.utime(folder, (then, then))
        orphaned_files.remove_strays(orphaned_files.find_orphans(part))
        self.assertFalse(folder.exists())

    def test_an_upload_under_way_is_left_alone(self) -> None:
        name = self.stray(hours=1)
        self.assertEqual(orphaned_files.find_orphans(name.split("/")[1]).strays, [])

    def test_everything_that_a_row_names_is_left_alone(self) -> None:
        photo = self.old_photo()
        for field in (photo.display, photo.thumbnail, photo.prediction.input):
            os.utime(default_storage.path(str(field.name)), (1, 1))
        found = orphaned_files.find_orphans(photo.pk.hex[:2])
        self.assertEqual((found.strays, found.lost, found.files, found.rows), ([], [], 3, 1))

    def test_an_archive_that_no_batch_names_is_removed(self) -> None:
        name = self.stray(f"batches/{uuid.uuid4()}/archive.zip")
        found = orphaned_files.find_orphaned_archives()
        self.assertEqual(found.strays, [name])
        orphaned_files.remove_strays(found)
        self.assertFalse(default_storage.exists(name))

    def test_files_of_imports_and_images_that_no_row_names_are_removed(self) -> None:
        project = create("Fruit", class_names=["apple"])
        (kept,) = add_images(project, project.classes.get(), range(1))
        row = import_archive(project, zipped({"a/1.png": b"x"}), filename="a.zip", by=None)
        part = kept.picture.sha256[:2]
        stray = f"projects/fruit/{part}/{part}stray.jpg"
        for name in (stray, "imports/gone/archive.zip"):
            self.stray(name)
        assert kept.image is not None
        left = [str(kept.image.file.name), str(row.archive.name), str(row.labels.name)]
        for old in left:
            os.utime(default_storage.path(old), (0, 0))
        for found in (orphaned_files.find_orphaned_images(part), orphaned_files.find_orphaned_imports()):
            self.assertEqual(len(found.strays), 1)
            orphaned_files.remove_strays(found)
        self.assertTrue(all(map(default_storage.exists, left)))
        self.assertFalse(default_storage.exists(stray))

    def test_a_row_without_its_file_is_found(self) -> None:
        photo = self.old_photo()
        self.lose(photo)
        self.assertEqual(orphaned_files.find_orphans(photo.pk.hex[:2]).lost, [(photo.pk, photo.display.name)])

    def test_a_storage_of_another_site_is_not_emptied(self) -> None:
        part = "7f"
        for _number in range(60):
            self.stray(f"photos/{part}/{part}{uuid.uuid4().hex[2:]}/display.jpg")
        found = orphaned_files.find_orphans(part)
        self.assertTrue(found.is_suspicious)
        with self.assertLogs("classifier.operations.orphaned_files", "ERROR"):
            self.assertEqual(orphaned_files.remove_strays(found), 0)
        self.assertEqual(len(orphaned_files.find_orphans(part).strays), 60)

    def test_the_command_only_lists_unless_told_to_remove(self) -> None:
        name = self.stray()
        photo = self.old_photo()
        self.lose(photo)
        said = self.run_command()
        self.assertIn(f"no row   {name}", said)
        self.assertIn(f"no file  {photo.display.name}", said)
        self.assertIn("1 files older than 24 h belong to no row; 1 files of 1 photos are missing", said)
        self.assertTrue(default_storage.exists(name))
        self.assertIn("1 were removed", self.run_command("--remove"))
        self.assertFalse(default_storage.exists(name))
        self.assertTrue(Photo.objects.filter(pk=photo.pk).exists())

    def test_the_command_removes_rows_whose_photo_is_gone(self) -> None:
        gone, kept = self.old_photo(), self.old_photo("red")
        self.lose(gone)
        self.assertIn("1 photos were removed.", self.run_command("--remove-rows"))
        self.assertEqual(list(Photo.objects.all()), [kept])

    def test_the_command_removes_no_row_where_the_storage_seems_to_be_away(self) -> None:
        for colour in ("red", "green", "blue"):
            self.lose(self.old_photo(colour))
        with self.assertRaisesMessage(CommandError, "check that the storage is available"):
            self.run_command("--remove-rows")
        self.assertEqual(Photo.objects.count(), 3)

    def test_every_part_has_its_turn_in_a_day(self) -> None:
        midnight = 1_800_000_000 // DAY * DAY
        seen = [orphaned_files.part_of(midnight + (number + 0.5) * DAY / 256) for number in range(256)]
        self.assertEqual(seen, orphaned_files.PARTS)
        self.assertEqual(orphaned_files.part_of(midnight + DAY - 0.001), "ff")
