from __future__ import annotations

from django.contrib.auth.models import Group
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage

from cifarsite.test import SiteTestCase, make_user
from classifier.models import User
from training.models import DEFAULT_PROJECT, ModelVersion, Project, ProjectImport
from training.projects import access, lifecycle
from training.projects.lifecycle import create
from training.projects.refusals import ProjectRefused
from training.tests.projects.drawings import add_images, image_of


class CreateTestCase(SiteTestCase):
    def refused(self, code: str, *args, **kwargs) -> str:
        with self.assertRaises(ProjectRefused) as caught:
            create(*args, **kwargs)
        self.assertEqual(caught.exception.code, code)
        return str(caught.exception)

    def test_it_makes_an_address_of_the_name(self) -> None:
        for name, slug in (("My  Fruit", "my-fruit"), ("Đồ uống", "do-uong"), ("a_b", "a-b")):
            self.assertEqual(create(name).pk, slug)
        self.assertIn("slug", self.refused("slug", "猫"))
        self.assertEqual(create("猫", slug="cats").name, "猫")

    def test_it_refuses_slugs_that_are_no_addresses(self) -> None:
        for slug in ("A", "a b", "-a", "a_b", "../x", "x" * 51, "é"):
            self.refused("slug", "Name", slug=slug)

    def test_a_slug_is_taken_once(self) -> None:
        create("Fruit")
        self.refused("slug_taken", "Fruit")
        self.refused("slug_taken", "Other", slug=DEFAULT_PROJECT)

    def test_nothing_is_left_of_one_whose_classes_are_wrong(self) -> None:
        self.refused("class_taken", "Fruit", class_names=["a", "A"])
        self.assertFalse(Project.objects.filter(pk="fruit").exists())

    def test_names_have_bounds(self) -> None:
        self.refused("project_name", " ")
        self.refused("project_name", "x" * 101)
        self.refused("project_name", "a\0b")


class ChangeTestCase(SiteTestCase):
    def test_it_renames_closes_and_names_members(self) -> None:
        project = create("Fruit")
        lifecycle.change(project, name="Obst", is_open=False, members="alice,\n bob alice")
        project.refresh_from_db()
        self.assertEqual((project.name, project.is_open), ("Obst", False))
        self.assertEqual(set(project.members.all()), {self.alice, self.bob})
        with self.assertRaises(ProjectRefused) as caught:
            lifecycle.change(project, members="alice nobody")
        self.assertIn("nobody", str(caught.exception))
        self.assertEqual(project.members.count(), 2)

    def test_cifar10_stays_open(self) -> None:
        with self.assertRaises(ProjectRefused):
            lifecycle.change(Project.objects.get(pk=DEFAULT_PROJECT), is_open=False)


class DeleteTestCase(SiteTestCase):
    def refused(self, code: str, project: Project, **more) -> str:
        with self.assertRaises(ProjectRefused) as caught:
            lifecycle.delete(project, **more)
        self.assertEqual(caught.exception.code, code)
        self.assertTrue(Project.objects.filter(pk=project.pk).exists())
        return str(caught.exception)

    def test_it_says_what_goes_and_wants_the_slug(self) -> None:
        project = create("Fruit", class_names=["apple"])
        added = add_images(project, project.classes.get(), range(3))
        row = ProjectImport.objects.create(project=project, filename="a.zip")
        row.archive.save("a.zip", ContentFile(b"PK"))
        second = image_of(added[1])  # one hangs on another
        second.near_duplicate_of = image_of(added[0])
        second.save()
        files = [str(image_of(added[0]).file.name), str(row.archive.name)]
        said = self.refused("not_confirmed", project)
        self.assertIn("classes: 1, images: 3", said)
        self.assertIn("fruit", said)
        with self.captureOnCommitCallbacks(execute=True):
            self.assertEqual(lifecycle.delete(project, confirmed="fruit"), 3)
        self.assertFalse(Project.objects.filter(pk="fruit").exists())
        self.assertEqual([name for name in files if default_storage.exists(name)], [])

    def test_one_with_models_or_photos_stays(self) -> None:
        project = create("Fruit", class_names=["apple"])
        ModelVersion.objects.create(
            project=project, classes=["apple"], name="m", recipe="transfer", sha256="0" * 64, size=1,
            preprocessing="centre224-v1", card={},
        )  # fmt: skip
        photo = self.upload()
        type(photo).objects.filter(pk=photo.pk).update(project=project)
        said = self.refused("in_use", project, confirmed="fruit")
        self.assertIn("photos: 1", said)
        self.assertIn("model versions: 1", said)

    def test_cifar10_stays(self) -> None:
        self.refused("fixed", Project.objects.get(pk=DEFAULT_PROJECT), confirmed=DEFAULT_PROJECT)


class RolesTestCase(SiteTestCase):
    root: User

    @classmethod
    def setUpTestData(cls) -> None:
        super().setUpTestData()
        cls.root = make_user("root", is_staff=True, is_superuser=True)

    def may(self, user: User) -> tuple[bool, bool, bool]:
        fresh = User.objects.get(pk=user.pk)
        return access.may_review(fresh), access.may_train(fresh), access.may_operate(fresh)

    def join(self, user: User, *names: str) -> None:
        user.groups.add(*Group.objects.filter(name__in=names))

    def test_the_groups_are_there(self) -> None:
        self.assertEqual(set(Group.objects.values_list("name", flat=True)), set(access.ROLES))

    def test_staff_without_a_role_may_what_staff_could(self) -> None:
        self.assertEqual(self.may(self.charlie), (True, True, True))

    def test_a_role_is_all_that_its_members_may(self) -> None:
        self.join(self.charlie, "reviewers")
        self.assertEqual(self.may(self.charlie), (True, False, False))
        self.join(self.charlie, "trainers")
        self.assertEqual(self.may(self.charlie), (True, True, False))

    def test_superusers_may_all_and_others_nothing(self) -> None:
        self.join(self.root, "reviewers")
        self.join(self.bob, *access.ROLES)
        self.assertEqual(self.may(self.root), (True, True, True))
        self.assertEqual(self.may(self.bob), (False, False, False))
        User.objects.filter(pk=self.root.pk).update(is_active=False)
        self.assertEqual(self.may(self.root), (False, False, False))

    def test_a_request_asks_the_database_once(self) -> None:
        with self.assertNumQueries(1):
            access.may_train(self.charlie)
            access.may_review(self.charlie)
