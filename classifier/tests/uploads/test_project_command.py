from __future__ import annotations

import io
import tempfile
import zipfile
from pathlib import Path
from typing import Any
from unittest import mock

from django.core.management import CommandError, call_command
from django.test import override_settings

from cifarsite.test import SiteTestCase
from classifier.uploads import import_worker
from training.models import Project, ProjectImport
from training.projects.images import counts_by_name
from training.projects.lifecycle import create
from training.tests.projects.drawings import drawn_file


class CommandTestCase(SiteTestCase):
    def setUp(self) -> None:
        self.folder = Path(self.enterContext(tempfile.TemporaryDirectory()))
        import_worker._last = None

    def run_it(self, *args: Any) -> tuple[str, str]:
        out, err = io.StringIO(), io.StringIO()
        call_command("project", *map(str, args), stdout=out, stderr=err)
        return out.getvalue(), err.getvalue()

    def write(self, files: dict[str, bytes]) -> None:
        for name, content in files.items():
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)

    def refused(self, *args: Any) -> str:
        with self.assertRaises(CommandError) as caught:
            self.run_it(*args)
        return str(caught.exception)

    def test_it_makes_a_project_and_prints_its_slug(self) -> None:
        self.assertEqual(self.run_it("create", "My Fruit")[0], "my-fruit\n")
        self.assertEqual(self.run_it("create", "猫", "--slug", "cats")[0], "cats\n")
        self.assertEqual(Project.objects.get(pk="cats").name, "猫")
        self.assertIn("already", self.refused("create", "my fruit"))

    def test_it_imports_a_folder(self) -> None:
        create("Fruit")
        self.write({f"apple/{n}.png": drawn_file(n) for n in range(4)})
        self.write({f"pear/deep/{n}.png": drawn_file(n) for n in range(10, 13)})
        self.write({"apple/notes.txt": b"x", "apple/.hidden": b"x", ".git/config": b"x"})
        out, err = self.run_it("import", "fruit", self.folder)
        self.assertEqual(out, "7 images added, 0 were there already, 1 files refused.\n")
        self.assertIn("apple/notes.txt: This file is not an image", err)
        self.assertIn("fewer than 10 images", err)
        self.assertEqual(counts_by_name("fruit"), {"apple": 4, "pear": 3})
        self.assertEqual(self.run_it("import", "fruit", self.folder)[0][:15], "0 images added,")

    def test_files_of_one_name_in_folders_of_a_class_are_all_imported(self) -> None:
        create("Fruit")
        self.write({"apple/a/1.png": drawn_file(1), "apple/b/1.png": drawn_file(2)})
        self.write({"pear/1.png": drawn_file(3)})
        self.run_it("import", "fruit", self.folder)
        self.assertEqual(counts_by_name("fruit"), {"apple": 2, "pear": 1})

    @override_settings(BATCH_MAX_FILES=3)
    def test_a_large_folder_comes_in_several_pieces(self) -> None:
        create("Fruit")
        self.write({f"a/{n}.png": drawn_file(n) for n in range(4)})
        self.write({f"b/{n}.png": drawn_file(n) for n in range(50, 54)})
        self.run_it("import", "fruit", self.folder)
        self.assertEqual(counts_by_name("fruit"), {"a": 4, "b": 4})
        self.assertEqual(ProjectImport.objects.count(), 3)

    def test_it_imports_an_archive_with_a_table(self) -> None:
        create("Fruit")
        archive = self.folder / "a.zip"
        with zipfile.ZipFile(archive, "w") as file:
            file.writestr("1.png", drawn_file(1))
            file.writestr("2.png", drawn_file(2))
        self.assertIn("no folders", self.refused("import", "fruit", archive))
        table = self.folder / "labels.csv"
        table.write_text("filename,label\n1.png,apple\n2.png,pear\n")
        self.run_it("import", "fruit", archive, "--labels", table)
        self.assertEqual(counts_by_name("fruit"), {"apple": 1, "pear": 1})

    def test_what_is_wrong_is_said(self) -> None:
        create("Fruit")
        self.assertIn("there are: cifar10, fruit", self.refused("import", "nothing", self.folder))
        self.assertIn("cannot be read", self.refused("import", "fruit", self.folder / "none.zip"))
        self.assertIn("no folders", self.refused("import", "fruit", self.folder))
        self.write({"1.png": drawn_file(1)})
        self.assertIn("no folders", self.refused("import", "fruit", self.folder))
        self.write({"a/1.txt": b"x"})
        self.assertIn("Nothing was imported", self.refused("import", "fruit", self.folder))
        self.assertIn("pack the folder", self.refused("import", "fruit", self.folder, "--labels", "x.csv"))
        self.assertIn("CIFAR-10", self.refused("import", "cifar10", self.folder))

    def test_where_a_worker_has_the_import_it_watches(self) -> None:
        create("Fruit")
        self.write({"apple/1.png": drawn_file(1), "pear/2.png": drawn_file(2)})
        real = import_worker.import_slice
        calls = []

        def taken(worker: str, only: Any = None) -> int:
            calls.append(worker)
            if len(calls) == 1:
                return real("another worker") and 0
            return real(worker, only)

        with mock.patch.object(import_worker, "import_slice", taken):
            self.assertIn("2 images added", self.run_it("import", "fruit", self.folder)[0])
