"""Evaluation sets that staff add, and 'manage.py evaluate'."""

import io
import json
import tempfile
import zipfile
from pathlib import Path

from django.core.files.storage import default_storage
from django.core.management import CommandError, call_command
from PIL import Image

from cifarsite.test import picture
from training.data import evaluation_sets
from training.engine.data.near_duplicates import difference_hash
from training.models import EvaluationSet, ModelVersion, Project, ProjectClass, ProjectImage
from training.projects.additions import signed
from training.tests.evaluation.report_case import ReportTestCase


def write_set(folder: Path) -> Path:
    for number, (label, colour) in enumerate(
        (("cat", "red"), ("cat", "green"), ("ship", "blue"), ("dog", "black"))
    ):
        (folder / label).mkdir(parents=True, exist_ok=True)
        picture(colour, (60 + 10 * number, 48)).save(folder / label / f"{number}.jpg")
    (folder / "unicorn").mkdir()
    picture().save(folder / "unicorn" / "1.jpg")
    (folder / "readme.txt").write_text("not an image")
    return folder


def zipped(folder: Path, target: Path) -> Path:
    with zipfile.ZipFile(target, "w") as archive:
        for path in folder.rglob("*"):
            archive.write(path, Path("photos") / path.relative_to(folder))
    return target


class EvaluationSets(ReportTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.folder = Path(self.enterContext(tempfile.TemporaryDirectory()))
        self.photos = write_set(self.folder / "photos")

    def test_a_folder_becomes_a_set_that_stays_when_the_folder_goes(self):
        call_command("add_evaluation_set", "ours", str(self.photos), stdout=io.StringIO())
        added = EvaluationSet.objects.get(name="ours")
        self.assertEqual([row["label"] for row in added.manifest], ["cat", "cat", "dog", "ship"])
        for path in self.photos.rglob("*.jpg"):
            path.unlink()
        images = evaluation_sets.load_set(added)
        self.assertEqual(len(images), 4)
        self.assertEqual(images.sizes().tolist()[0], [48, 60])

    def test_a_zip_holds_the_same_set_as_its_folder(self):
        added = evaluation_sets.add_set("zip", zipped(self.photos, self.folder / "set.zip"))
        with self.assertRaisesMessage(evaluation_sets.SetRefused, "the set 'zip' already"):
            evaluation_sets.add_set("folder", self.photos)
        self.assertEqual(added.n, 4)

    def test_a_model_is_measured_on_it_and_the_page_shows_both_sets(self):
        added = evaluation_sets.add_set("ours", self.photos)
        out = io.StringIO()
        call_command("evaluate", "tiny-better", "--set", "ours", "--json", stdout=out)
        found = json.loads(out.getvalue())
        self.assertEqual((found["n"], found["dataset_sha256"]), (4, added.sha256))
        report = self.better.reports.get(dataset="ours")
        page = self.client.get(self.url(f"?set={report.pk}"))
        self.assertContains(page, "CIFAR-10 test")
        self.assertEqual(page.context["report"], report)
        self.assertEqual(self.client.get(self.url(f"sheet.png?set={report.pk}&i=0,3")).status_code, 200)
        self.assertEqual(self.client.get(self.url(f"images/2/?set={report.pk}")).status_code, 200)

    def pets(self) -> None:
        """A project whose champion happens to know its classes among others."""
        project = Project.objects.create(slug="pets", name="Pets")
        for place, name in enumerate(("dog", "cat", "Ährenfisch")):
            ProjectClass.objects.create(project=project, position=place, name=name)
        ModelVersion.objects.filter(pk=self.better.pk).update(project=project, is_champion=False)

    def test_a_project_has_sets_of_its_own_classes(self):
        self.pets()
        # A file system of macOS decomposes accents.
        (self.photos / "A\u0308hrenfisch").mkdir()
        picture("white").save(self.photos / "A\u0308hrenfisch" / "5.jpg")
        (self.photos / "cat").rename(self.photos / "CAT")
        ours = evaluation_sets.add_set("ours", self.photos, "pets")
        self.assertEqual([row["label"] for row in ours.manifest], ["Ährenfisch", "cat", "cat", "dog"])
        images = evaluation_sets.load_set(ours)
        self.assertEqual(images.classes, ("cat", "dog", "Ährenfisch"))
        ProjectClass.objects.filter(project="pets", name="cat").update(
            position=9
        )  # the set stays what it was
        self.assertEqual(evaluation_sets.load_set(ours).labels.tolist(), images.labels.tolist())
        out = io.StringIO()
        call_command("evaluate", "tiny-better", "--set", "ours", "--json", stdout=out)
        found = json.loads(out.getvalue())
        self.assertEqual((found["n"], found["dataset_sha256"]), (4, ours.sha256))
        page = self.client.get(self.url(f"?set={self.better.reports.get(dataset='ours').pk}"))
        self.assertContains(page, "Ährenfisch")

    def test_a_set_of_another_project_is_not_found(self):
        evaluation_sets.add_set("ten", self.photos)
        self.pets()
        with self.assertRaisesMessage(CommandError, "there are: none yet"):
            call_command("evaluate", "tiny-better", "--set", "ten")
        with self.assertRaisesMessage(CommandError, "There is no project 'birds'; there are: cifar10, pets."):
            call_command("add_evaluation_set", "more", str(self.photos), project="birds")
        with self.assertRaisesMessage(CommandError, "the classes are dog, cat, Ährenfisch"):
            call_command("add_evaluation_set", "more", str(self.photos / "unicorn"), project="pets")

    def test_images_that_models_may_have_learned_from_are_counted(self):
        self.pets()
        with Image.open(self.photos / "cat" / "0.jpg") as image:
            learned = signed(difference_hash(image.convert("RGB")))
        label = ProjectClass.objects.get(project="pets", name="cat")
        ProjectImage.objects.create(
            project_id="pets", label=label, file="a.webp", sha256="0" * 64, dhash=learned, width=60, height=48
        )
        errors = io.StringIO()
        call_command(
            "add_evaluation_set",
            "ours",
            str(self.photos),
            project="pets",
            stdout=io.StringIO(),
            stderr=errors,
        )
        self.assertIn("1 of them look the same as images of the project", errors.getvalue())

    def test_a_changed_file_is_noticed(self):
        added = evaluation_sets.add_set("ours", self.photos)
        name = f"sets/{added.sha256}/images/00000.webp"
        with Path(default_storage.path(name)).open("wb") as file:
            Image.new("RGB", (60, 48), "pink").save(file, "WEBP", lossless=True)
        with self.assertRaisesMessage(evaluation_sets.SetRefused, "have changed"):
            evaluation_sets.load_set(added)
        default_storage.delete(name)
        with self.assertRaisesMessage(evaluation_sets.SetRefused, "missing or damaged"):
            evaluation_sets.load_set(added)

    def test_what_cannot_be_a_set_is_refused_with_a_sentence(self):
        (self.photos / "cat" / "9.jpg").write_bytes(b"not a jpeg")
        for source, sentence in (
            (self.photos, "cat/9.jpg cannot be read as an image"),
            (self.folder / "nowhere", "neither a folder nor a ZIP"),
            (self.photos / "unicorn", "No images in"),
        ):
            with self.assertRaisesMessage(CommandError, sentence):
                call_command("add_evaluation_set", "bad", str(source))
        self.assertFalse(EvaluationSet.objects.exists())

    def test_evaluate_names_what_there_is(self):
        with self.assertRaisesMessage(CommandError, "tiny-better"):
            call_command("evaluate", "nonsense")
        with self.assertRaisesMessage(CommandError, "none yet"):
            call_command("evaluate", str(self.better.pk), "--set", "nonsense")
