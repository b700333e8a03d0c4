"""Projects beside each other: what goes live in one, and what its gate looks at, leaves the others alone."""

from __future__ import annotations

import random
from typing import Any

from django.test import override_settings

from training.models import ModelVersion, Project, Promotion
from training.registry import model_store
from training.registry.promotion import PromotionRefused, promote, roll_back
from training.registry.promotion_gate import examine, live_models
from training.tests.admin.test_admin import TrainingAdminTestCase, make_model

CLASSES = {"trees": 3, "birds": 37, "coins": 100, "stones": 2}


class ProjectsApart(TrainingAdminTestCase):
    @classmethod
    def setUpTestData(cls) -> None:
        super().setUpTestData()
        Project.objects.bulk_create(Project(slug=slug, name=slug.title()) for slug in CLASSES)

    def model(
        self, name: str, project: str, *, a_class: int = 10, missed: int = 0, **held: Any
    ) -> ModelVersion:
        """A model of a project that misses the first ``missed`` of its held-out images, so many a class."""
        made = make_model(name, folder=self.folder)
        classes = [f"{project} {number}" for number in range(CLASSES[project])]
        truth = [number for _image in range(a_class) for number in range(len(classes))]
        answers = [(label + 1) % len(classes) for label in truth[:missed]] + truth[missed:]
        made.card["held_out"] = {
            "sha256": project[0] * 64,
            "n": len(truth),
            "ece": 0.01,
            "truth": truth,
            "predicted": answers,
            **held,
        }
        made.project_id, made.classes, made.preprocessing = project, classes, f"{project}-v1"
        made.save()
        made.reports.update(dataset=model_store.test_set(project))
        return made

    def live(self, version: ModelVersion, **options: Any) -> Promotion:
        return promote(version, by=self.root, reason="A try.", **options)

    def champions(self) -> dict[str, str]:
        rows = ModelVersion.objects.filter(is_champion=True)
        return dict(rows.values_list("project_id", "name"))

    def test_a_promotion_and_a_roll_back_touch_their_own_project_alone(self) -> None:
        self.live(make_model("first", folder=self.folder))
        self.live(make_model("second", folder=self.folder))
        self.live(self.model("oak", "trees"))
        self.live(self.model("birch", "trees"))
        self.live(self.model("wren", "birds"))
        expected = {"cifar10": "second", "trees": "birch", "birds": "wren"}
        self.assertEqual(self.champions(), expected)
        done = roll_back(by=self.root, reason="Back.", project="trees")
        self.assertEqual(done.promoted.name, "oak")
        self.assertEqual(self.champions(), {**expected, "trees": "oak"})
        with self.assertRaisesMessage(PromotionRefused, "no earlier champion"):
            roll_back(by=self.root, reason="Back.", project="birds")
        roll_back(by=self.root, reason="Back.")
        self.assertEqual(self.champions(), {"cifar10": "first", "trees": "oak", "birds": "wren"})

    def test_what_is_live_is_asked_by_project(self) -> None:
        oak, birch, wren = (
            self.model(name, slug) for name, slug in (("oak", "trees"), ("birch", "trees"), ("wren", "birds"))
        )
        for version in (oak, wren, birch):
            self.live(version)
        self.assertEqual(model_store.champion("trees"), birch)
        self.assertEqual(model_store.champion("birds"), wren)
        self.assertIsNone(model_store.champion())
        self.assertEqual(model_store.live_preprocessing("birds"), "birds-v1")
        self.assertEqual(model_store.live_preprocessing(), "squash32-v1")
        self.assertEqual(model_store.earlier_champions("trees"), [oak])
        self.assertEqual(model_store.earlier_champions("birds"), [])
        self.assertEqual([pk for pk, _overruled in live_models("trees")], [oak.pk, birch.pk])
        self.assertEqual(model_store.main_report(oak), oak.reports.get())

    def test_the_gate_compares_within_the_project(self) -> None:
        self.live(self.model("excellent", "birds"))
        self.assertNotIn("against", examine(self.model("poor", "trees", missed=9)))
        self.live(self.model("oak", "trees"))
        self.assertEqual(examine(self.model("birch", "trees"))["against"], "oak")

    def test_floors_hold_for_any_number_of_classes(self) -> None:
        for slug, count in CLASSES.items():
            version = self.model(f"of {count}", slug, a_class=40)
            held = version.card["held_out"]
            last = count - 1
            held["predicted"] = [0 if label == last else label for label in held["truth"]]
            (refusal,) = examine(version)["refusals"]
            self.assertIn(f"class {slug} {last} is only 0\u00a0% (0 of 40 held-out images)", refusal)

    def test_of_few_images_chance_is_given_room(self) -> None:
        # One image of a class, missed: nobody knows whether it would see the next one.
        version = self.model("one missed", "stones", a_class=1, missed=1, ece=0.4)
        self.assertEqual(examine(version)["refusals"], [])
        version = self.model("all missed", "stones", a_class=8, missed=16)
        self.assertEqual(len(examine(version)["refusals"]), 2)
        # The same calibration error where chance does not explain it.
        sure = self.model("too sure", "trees", missed=3, ece=0.2, surprise_interval=[0.05, 0.4])
        self.assertIn("calibration error (ECE) is 0.200", " ".join(examine(sure)["refusals"]))
        unsure = self.model("not shown", "trees", missed=3, ece=0.2, surprise_interval=[-0.05, 0.4])
        self.assertEqual(examine(unsure)["refusals"], [])

    def test_of_few_images_as_good_a_model_goes_live_and_a_worse_one_does_not(self) -> None:
        for a_class in (1, 2, 5, 20, 100):
            slug = f"set{a_class}"
            Project.objects.create(slug=slug, name=slug)
            CLASSES[slug] = 3
            self.addCleanup(CLASSES.pop, slug)
            self.live(self.model(f"{slug} first", slug, a_class=a_class))
            self.live(self.model(f"{slug} again", slug, a_class=a_class))
            worse = self.model(f"{slug} worse", slug, a_class=a_class, missed=max(1, a_class * 3 // 5))
            with self.assertRaisesMessage(PromotionRefused, "may be less accurate than"):
                self.live(worse)
        with override_settings(GATE_MARGIN=1.0):
            self.live(worse)

    def test_a_project_without_held_out_images_gets_a_first_model_and_no_second_one(self) -> None:
        self.live(self.model("first", "trees", a_class=0))
        with self.assertRaisesMessage(PromotionRefused, "No image is held out to compare models on"):
            self.live(self.model("second", "trees", a_class=0))

    def test_models_with_other_classes_are_compared_by_name(self) -> None:
        """The champion knows two classes of three: measured on the challenger's images, in their order."""
        new = self.model("new", "trees")
        old = self.model("old", "trees", classes=["trees 0", "trees 1", "trees 2", "willow"])
        old.classes = ["willow", "trees 1", "trees 0"]
        truth = old.card["held_out"]["truth"]
        old.card["held_out"]["predicted"] = [3 if label == 2 else label for label in truth]
        old.save()
        self.live(old, override=True)
        found = examine(new)
        self.assertEqual((found["fixed"], found["regressed"], found["refusals"]), (10, 0, []))

    def test_small_losses_do_not_add_up_in_a_project(self) -> None:
        draw = random.Random(1)
        self.live(self.model("first", "coins", a_class=20))
        missed = 0
        for number in range(20):
            missed += draw.randint(8, 12)
            try:
                self.live(self.model(f"{number}", "coins", a_class=20, missed=missed))
            except PromotionRefused as refusal:
                self.assertIn("less accurate than first by more than the margin", refusal.detail)
                break
        else:
            self.fail("Many small losses went live.")
