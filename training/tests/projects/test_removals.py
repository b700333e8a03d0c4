"""Files of images and projects that were removed: named with the rows, removed after them."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage

from cifarsite.core.storage import StorageUnavailable
from cifarsite.test import SiteTestCase
from classifier.operations import orphaned_files, sweeper
from training.models import Project, ProjectClass, RemovedFile
from training.projects import images, lifecycle, removals
from training.projects.lifecycle import create
from training.projects.refusals import ProjectRefused
from training.tests.projects.drawings import add_images, image_of


class RemovalsTestCase(SiteTestCase):
    """Callbacks of a commit never run in these tests: as where the process is killed right after it."""

    @pytest.fixture(autouse=True)
    def _folder(self, settings: object, tmp_path: Path) -> Iterator[None]:
        settings.MEDIA_ROOT = tmp_path  # type: ignore[attr-defined]
        yield

    def project(self, slug: str, count: int = 4) -> tuple[Project, ProjectClass, list[str]]:
        """One with images, and their files."""
        project = create(slug, class_names=["apple", "pear"])
        label = project.classes.all()[0]
        added = add_images(project, label, range(count))
        return project, label, [str(image_of(one).file.name) for one in added]

    def there(self, names: list[str]) -> int:
        return sum(default_storage.exists(name) for name in names)


class ProjectsTestCase(RemovalsTestCase):
    def test_the_sweeper_finishes_what_a_killed_process_left(self) -> None:
        project, _label, files = self.project("fruit")
        archive = default_storage.save("imports/1/archive.zip", ContentFile(b"PK"))
        project.imports.create(filename="a.zip", archive=archive)
        lifecycle.delete(project, confirmed="fruit")
        self.assertEqual(self.there([*files, archive]), 5)
        did = sweeper.sweep()
        self.assertEqual(did["files_removed"], 5)
        self.assertEqual(self.there([*files, archive]), 0)
        self.assertFalse(Path(default_storage.path("projects/fruit")).exists())
        self.assertFalse(RemovedFile.objects.exists())
        self.assertEqual(sweeper.sweep()["files_removed"], 0)

    def test_other_projects_keep_theirs(self) -> None:
        fruit, _label, files = self.project("fruit")
        others = [name for slug in ("fruit-2", "fruits", "frui") for name in self.project(slug)[2]]
        lifecycle.delete(fruit, confirmed="fruit")
        removals.remove_waiting()
        self.assertEqual((self.there(files), self.there(others)), (0, 12))

    def test_a_file_that_an_image_names_stays_whatever_folder_is_named(self) -> None:
        _project, _label, files = self.project("fruit", 60)
        stray = default_storage.save("projects/fruit/00/stray.png", ContentFile(b"x"))
        removals.remove_later([removals.folder_of("fruit")])
        self.assertEqual(removals.remove_waiting(), {"files_removed": 1})
        self.assertEqual((self.there(files), self.there([stray])), (60, 0))
        self.assertFalse(RemovedFile.objects.exists())

    def test_nobody_takes_the_name_before_the_files_are_gone(self) -> None:
        project, _label, files = self.project("fruit")
        lifecycle.delete(project, confirmed="fruit")
        with self.assertRaises(ProjectRefused) as caught:
            create("Fruit")
        self.assertEqual(caught.exception.code, "slug_taken")
        self.assertIn("few minutes", str(caught.exception))
        self.assertFalse(Project.objects.filter(pk="fruit").exists())
        removals.remove_waiting()
        create("Fruit")
        self.assertEqual(self.there(files), 0)

    def test_a_small_project_is_gone_when_the_request_is_answered(self) -> None:
        project, _label, files = self.project("fruit", 60)
        with self.captureOnCommitCallbacks(execute=True):
            lifecycle.delete(project, confirmed="fruit")
        self.assertEqual(self.there(files), 0)
        create("Fruit")

    def test_a_request_removes_some_and_a_pass_ends_in_time(self) -> None:
        project, _label, _files = self.project("fruit", 0)
        for number in range(removals.AT_ONCE + 120):
            default_storage.save(f"projects/fruit/{number % 16:02x}/{number}.jpg", ContentFile(b"x"))
        with self.captureOnCommitCallbacks(execute=True):
            lifecycle.delete(project, confirmed="fruit")
        files = list(Path(default_storage.path("projects/fruit")).rglob("*.jpg"))
        self.assertEqual(len(files), 120)
        self.assertEqual(removals.remove_waiting(seconds=0), {"files_removed": removals.PIECE})
        self.assertEqual(removals.remove_waiting(), {"files_removed": 120 - removals.PIECE})


class ImagesTestCase(RemovalsTestCase):
    def test_the_sweeper_finishes_what_a_killed_process_left(self) -> None:
        project, _label, files = self.project("fruit", 6)
        images.remove(project.images.filter(file__in=files[:4]))
        self.assertEqual(self.there(files), 6)
        self.assertEqual(sweeper.sweep()["files_removed"], 4)
        self.assertEqual((self.there(files[:4]), self.there(files[4:])), (0, 2))

    def test_one_that_was_added_again_stays(self) -> None:
        project, label, files = self.project("fruit", 3)
        images.remove(project.images.all())
        add_images(project, label, range(1))
        # Named again by a row whose file was written before it was removed.
        removals.remove_later(files)
        removals.remove_waiting()
        self.assertEqual([self.there([name]) for name in files], [1, 0, 0])
        self.assertFalse(RemovedFile.objects.exists())

    def test_one_that_is_gone_already_is_removed(self) -> None:
        project, _label, files = self.project("fruit", 2)
        images.remove(project.images.all())
        default_storage.delete(files[0])
        removals.remove_waiting()
        self.assertFalse(RemovedFile.objects.exists())

    def test_one_that_cannot_be_removed_waits_behind_the_others(self) -> None:
        project, _label, files = self.project("fruit", 3)
        images.remove(project.images.all())
        stuck = sorted(files)[0]
        delete = default_storage.delete

        def refuse(name: str) -> None:
            if name == stuck:
                raise PermissionError(errno.EACCES, "not yours")
            delete(name)

        # The border: no file of root's own can refuse to be removed.
        with mock.patch.object(type(default_storage._wrapped), "delete", staticmethod(refuse)):  # type: ignore[attr-defined]
            self.assertEqual(removals.remove_waiting(), {"files_removed": 2})
        left = RemovedFile.objects.get()
        self.assertEqual((left.name, left.tries), (stuck, 1))
        self.assertEqual(removals.remove_waiting(), {"files_removed": 1})

    def test_a_store_that_is_away_is_asked_once_a_pass(self) -> None:
        project, _label, _files = self.project("fruit", 3)
        images.remove(project.images.all())
        asked = []

        def away(name: str) -> None:
            asked.append(name)
            raise StorageUnavailable(errno.EIO, "away")

        with mock.patch.object(type(default_storage._wrapped), "delete", staticmethod(away)):  # type: ignore[attr-defined]
            self.assertEqual(removals.remove_waiting(), {"files_removed": 0})
        self.assertEqual(len(asked), 1)
        self.assertEqual(removals.remove_waiting(), {"files_removed": 3})


class OrphansTestCase(RemovalsTestCase):
    def test_they_are_no_strays_however_many(self) -> None:
        for slug, do in (("one", self.delete_project), ("two", self.remove_images)):
            project, _label, files = self.project(slug, 60)
            do(project)
            with self.settings(ORPHAN_HOURS=0):
                for part in {name.split("/")[2] for name in files}:
                    self.assertEqual(orphaned_files.find_orphaned_images(part).strays, [])
        self.assertEqual(removals.remove_waiting(), {"files_removed": 120})

    def delete_project(self, project: Project) -> None:
        lifecycle.delete(project, confirmed=project.pk)

    def remove_images(self, project: Project) -> None:
        images.remove(project.images.all())
