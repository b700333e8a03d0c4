"""A project's images, frozen: what is in a version, what is left out later, what is missing before."""

from __future__ import annotations

import io
from uuid import uuid4

import numpy as np
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.db import connection
from django.test import TestCase
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from PIL import Image

from training.data import project_versions, withdrawals
from training.engine.data.cifar10 import DatasetError
from training.models import DatasetImage, DatasetVersion, Project, ProjectClass, ProjectImage
from training.projects.images import recount

SPLITS = ("training", "training", "training", "validation", "test")


def make_project(slug: str, **images: int) -> Project:
    """A project with so many images of each class; their files are not there."""
    project = Project.objects.create(slug=slug, name=slug.title())
    for position, (name, count) in enumerate(images.items()):
        label = ProjectClass.objects.create(project=project, position=position, name=name)
        ProjectImage.objects.bulk_create(
            ProjectImage(
                project=project,
                label=label,
                filename=f"{name}-{number}.jpg",
                file=f"projects/{slug}/{name}-{number}.webp",
                sha256=f"{position:03}{number:061}",
                dhash=number,
                width=64,
                height=48,
                split=SPLITS[number % 5],
            )
            for number in range(count)
        )
    recount()
    return project


class FreezingTests(TestCase):
    def test_a_version_has_classes_and_images_in_order_and_the_same_content_is_the_same_version(self) -> None:
        project = make_project("trees", oak=6, birch=5)
        version = project_versions.freeze(project)
        self.assertEqual(version.project_id, "trees")
        self.assertEqual(version.manifest["project"], "trees")
        self.assertEqual(version.manifest["classes"], ["oak", "birch"])
        self.assertEqual(len(version.manifest["images"]), 11)
        self.assertEqual(
            version.manifest["images"][6], [f"001{0:061}", 1, "training", "projects/trees/birch-0.webp"]
        )
        self.assertEqual(project_versions.freeze("trees"), version)
        ProjectImage.objects.filter(filename="oak-5.jpg").delete()
        self.assertNotEqual(project_versions.freeze("trees"), version)
        self.assertEqual(DatasetVersion.objects.filter(project="trees").count(), 2)

    def test_two_projects_with_the_same_images_have_versions_of_their_own(self) -> None:
        versions = [project_versions.freeze(make_project(slug, a=5, b=5)) for slug in ("one", "two")]
        self.assertNotEqual(versions[0].sha256, versions[1].sha256)

    def test_it_says_what_is_missing(self) -> None:
        one = make_project("one", only=30)
        with self.assertRaisesRegex(DatasetError, "at least 2 classes, and the project 'one' has 1"):
            project_versions.freeze(one)
        few = make_project("few", oak=5, birch=4, ash=0)
        lacking = r"at least 5 images of each class.*birch \(4\), ash \(0\)\."
        with self.assertRaisesRegex(DatasetError, lacking):
            project_versions.freeze(few)
        many = make_project("many", **{f"c{number}": 1 for number in range(9)})
        self.assertIn("c0 (1), c1 (1), c2 (1), c3 (1), c4 (1) and 4 more", project_versions.missing(many))
        self.assertEqual(project_versions.missing(make_project("enough", a=5, b=5)), "")
        self.assertFalse(DatasetVersion.objects.filter(project__in=("one", "few", "many")).exists())

    def test_photos_of_people_are_marked_and_left_out_once_withdrawn(self) -> None:
        project = make_project("trees", oak=7, birch=5)
        photo = uuid4()
        ProjectImage.objects.filter(filename="oak-0.jpg").update(photo=photo)
        version = project_versions.freeze(project)
        self.assertEqual(version.manifest["images"][0][4], str(photo))
        self.assertEqual(DatasetImage.objects.get(dataset=version).source, photo)
        images = project_versions.labelled_images(version)
        (marked,) = DatasetImage.objects.filter(dataset=version)
        self.assertEqual(list(images.photos), [marked.pk] + 11 * [0])
        self.assertEqual(images.dataset_sha256, version.sha256)
        at = timezone.now()
        withdrawals.leave_out([photo], at)
        fewer = project_versions.labelled_images(version)
        self.assertEqual(len(fewer.ids), 11)
        self.assertNotEqual(fewer.dataset_sha256, version.sha256)
        withdrawals.admit_again([photo], at)
        self.assertEqual(len(project_versions.labelled_images(version).ids), 12)
        # Withdrawn for good: its image is gone, too.
        ProjectImage.objects.filter(photo=photo).delete()
        self.assertEqual(len(project_versions.labelled_images(version).ids), 11)

    def test_a_run_gets_the_frozen_labels_and_splits_and_reads_the_files(self) -> None:
        project = make_project("trees", oak=5, birch=5)
        row = ProjectImage.objects.get(filename="birch-4.jpg")
        pixels = np.full((48, 64, 3), (10, 200, 30), np.uint8)
        packed = io.BytesIO()
        Image.fromarray(pixels).save(packed, "PNG")
        name = default_storage.save(str(row.file), ContentFile(packed.getvalue()))
        self.addCleanup(default_storage.delete, name)
        version = project_versions.freeze(project)
        ProjectClass.objects.filter(project=project, name="oak").update(name="quercus")
        images = project_versions.labelled_images(version)
        self.assertEqual(images.classes, ("oak", "birch"))
        self.assertEqual(images.labels.tolist(), 5 * [0] + 5 * [1])
        self.assertEqual(images.splits.tolist(), 2 * list(SPLITS))
        self.assertTrue((images.read(9) == pixels).all())
        with self.assertRaisesRegex(DatasetError, "oak-0.webp cannot be read .* remove it"):
            images.read(0)

    def test_more_images_need_no_more_queries(self) -> None:
        for images in (5, 50):
            project = make_project(f"of{images}", oak=images, birch=images)
            with self.assertNumQueries(8):
                version = project_versions.freeze(project)
            with self.assertNumQueries(3):
                project_versions.labelled_images(version)

    def test_what_is_too_small_since_is_refused(self) -> None:
        version = project_versions.freeze(make_project("trees", oak=5, birch=5))
        ProjectImage.objects.filter(filename="oak-1.jpg").delete()
        with self.assertRaisesRegex(DatasetError, r"oak \(4\)"):
            project_versions.labelled_images(version)

    def test_10_000_images_of_100_classes_take_as_many_queries_as_few(self) -> None:
        project = make_project("large", **{f"class {number:02}": 100 for number in range(100)})
        with CaptureQueriesContext(connection) as asked:
            version = project_versions.freeze(project)
        self.assertLess(len(asked), 15)
        self.assertEqual(len(version.manifest["images"]), 10_000)
        with self.assertNumQueries(2):
            self.assertEqual(len(project_versions.standing(version)), 10_000)
