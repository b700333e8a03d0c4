from __future__ import annotations

from cifarsite.test import SiteTestCase
from training.models import DEFAULT_PROJECT, ModelVersion, Project, ProjectImage, ProjectImport
from training.projects import classes
from training.projects.access import class_names
from training.projects.classes import clean_name
from training.projects.lifecycle import create
from training.projects.refusals import ProjectRefused
from training.tests.projects.drawings import add_images


class NamesTestCase(SiteTestCase):
    def assert_refused(self, name: str, *words: str) -> None:
        with self.assertRaises(ProjectRefused) as caught:
            clean_name(name)
        for word in words:
            self.assertIn(word, str(caught.exception))

    def test_it_strips_composes_and_keeps_single_spaces(self) -> None:
        self.assertEqual(clean_name("  Cafe\u0301   au  lait "), "Caf\u00e9 au lait")

    def test_it_takes_letters_of_every_kind_and_emoji(self) -> None:
        for name in ("<b>", "🐈‍⬛", "Quả táo", "猫", "C++", "1,5 l", "it's", '"quoted"', "=1+1"):
            self.assertEqual(clean_name(name), name)

    def test_it_refuses_what_no_folder_could_be_called(self) -> None:
        self.assert_refused("../x", "slashes")
        self.assert_refused("a\\b", "slashes")
        self.assert_refused("..", "slashes")

    def test_it_refuses_nothing_and_too_much(self) -> None:
        self.assert_refused(" \t", "type one")
        self.assert_refused("x" * 101, "shorten", "100")
        self.assert_refused("x" * 300, "shorten", "100")
        self.assertEqual(len(clean_name("x" * 100)), 100)

    def test_it_refuses_a_name_whose_key_would_not_fit(self) -> None:
        self.assert_refused("\ufdfa" * 30, "shorten")

    def test_it_refuses_what_cannot_be_seen(self) -> None:
        self.assert_refused("a\0b", "control characters")
        self.assert_refused("a\nb", "control characters")
        self.assert_refused("cat\u202e", "invisible")
        self.assert_refused("cat\ud800", "invisible")

    def test_it_refuses_the_words_of_answers(self) -> None:
        self.assert_refused("Unknown", "reserved")
        self.assert_refused("NOT_SURE", "reserved")


class ClassesTestCase(SiteTestCase):
    project: Project

    @classmethod
    def setUpTestData(cls) -> None:
        super().setUpTestData()
        cls.project = create("Fruit", class_names=["apple", "pear", "plum"])

    def row(self, name: str):
        return self.project.classes.get(name=name)

    def assert_refused(self, code: str, do, *args, **kwargs) -> str:
        before = class_names(self.project)
        with self.assertRaises(ProjectRefused) as caught:
            do(*args, **kwargs)
        self.assertEqual(caught.exception.code, code)
        self.assertEqual(class_names(self.project), before)
        return str(caught.exception)

    def test_it_adds_behind_the_others(self) -> None:
        classes.add(self.project, ["fig", "cherry"])
        self.assertEqual(class_names(self.project), ["apple", "pear", "plum", "fig", "cherry"])

    def test_two_that_people_read_as_the_same_are_the_same(self) -> None:
        said = self.assert_refused("class_taken", classes.add, self.project, ["Caf\u00e9", "cafe\u0301"])
        self.assertIn("same class", said)
        self.assert_refused("class_taken", classes.add, self.project, ["APPLE"])

    def test_there_are_a_thousand_at_most(self) -> None:
        classes.add(self.project, [f"class {n}" for n in range(997)])
        said = self.assert_refused("too_many_classes", classes.add, self.project, ["one more"])
        self.assertIn("1001", said)
        self.assertIn("1000", said)

    def test_find_or_add_keeps_the_spelling_that_is_there(self) -> None:
        found = classes.find_or_add(self.project, ["Apple", "fig", "FIG"])
        self.assertEqual([row.name for row in found.values()], ["apple", "fig"])
        self.assertEqual(self.project.classes.count(), 4)

    def test_it_renames(self) -> None:
        classes.rename(self.row("apple"), "Apple ")
        self.assertEqual(class_names(self.project)[0], "Apple")
        said = self.assert_refused("class_taken", classes.rename, self.row("Apple"), "PEAR")
        self.assertIn("merge", said)

    def test_it_merges_with_all_images(self) -> None:
        add_images(self.project, self.row("apple"), range(3))
        self.assertEqual(classes.merge(self.row("apple"), self.row("pear")), 3)
        self.assertEqual(class_names(self.project), ["pear", "plum"])
        self.assertEqual(self.row("pear").images.count(), 3)

    def test_it_merges_only_within_a_project(self) -> None:
        other = create("Other", class_names=["apple"]).classes.get()
        self.assert_refused("class_name", classes.merge, self.row("apple"), other)
        self.assert_refused("class_name", classes.merge, self.row("apple"), self.row("apple"))

    def test_it_puts_them_in_order(self) -> None:
        ids = [self.row(name).pk for name in ("plum", "apple", "pear")]
        classes.reorder(self.project, ids)
        self.assertEqual(class_names(self.project), ["plum", "apple", "pear"])
        classes.move(self.row("pear"), -1)
        self.assertEqual(class_names(self.project), ["plum", "pear", "apple"])
        classes.move(self.row("pear"), 99)
        self.assertEqual(class_names(self.project), ["plum", "apple", "pear"])
        classes.sort_by_name(self.project)
        self.assertEqual(class_names(self.project), ["apple", "pear", "plum"])
        self.assert_refused("class_order", classes.reorder, self.project, ids[:2])
        self.assert_refused("class_order", classes.reorder, self.project, [ids[0]] * 3)

    def test_an_empty_class_goes_at_once(self) -> None:
        self.assertEqual(classes.delete(self.row("plum")), 0)
        self.assertEqual(class_names(self.project), ["apple", "pear"])

    def test_one_with_images_or_models_says_what_goes_with_it(self) -> None:
        add_images(self.project, self.row("plum"), range(2))
        ModelVersion.objects.create(
            project=self.project, classes=["apple", "plum"], name="m", recipe="transfer", sha256="0" * 64,
            size=1, preprocessing="centre224-v1", card={},
        )  # fmt: skip
        said = self.assert_refused("not_confirmed", classes.delete, self.row("plum"))
        self.assertIn("images: 2", said)
        self.assertIn("keep it: 1", said)
        self.assert_refused("not_confirmed", classes.delete, self.row("plum"), confirmed="pear")
        self.assertEqual(classes.delete(self.row("plum"), confirmed=" PLUM "), 2)
        self.assertFalse(ProjectImage.objects.filter(project=self.project).exists())
        self.assertEqual(ModelVersion.objects.get(name="m").classes, ["apple", "plum"])

    def test_none_goes_while_images_come_in(self) -> None:
        ProjectImport.objects.create(project=self.project, filename="a.zip")
        self.assert_refused("importing", classes.delete, self.row("plum"))
        self.assert_refused("importing", classes.merge, self.row("plum"), self.row("pear"))

    def test_cifar10s_are_fixed(self) -> None:
        cifar10 = Project.objects.get(pk=DEFAULT_PROJECT)
        cat = cifar10.classes.get(name="cat")
        dog = cifar10.classes.get(name="dog")
        for change in (
            lambda: classes.add(cifar10, ["lion"]),
            lambda: classes.rename(cat, "lion"),
            lambda: classes.merge(cat, dog),
            lambda: classes.delete(cat, confirmed="cat"),
            lambda: classes.sort_by_name(cifar10),
        ):
            with self.assertRaises(ProjectRefused) as caught:
                change()
            self.assertEqual(caught.exception.code, "fixed")
        self.assertEqual(cifar10.classes.count(), 10)
