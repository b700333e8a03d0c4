"""A recipe is one file: its texts, translations and hyperparameters reach pages, API and command."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from unittest import mock

from django.conf import settings
from django.core.management import CommandError, call_command

from cifarsite.test import ApiTestCase
from training.apps import load_recipes
from training.engine.recipes import RECIPES
from training.models import TrainingJob

FILE = """
from training.engine.training.recipe import Hyperparameter, Recipe, batch_size, epochs, seed


def build(data, values, steps_per_epoch):
    raise NotImplementedError


RECIPE = Recipe(
    name="my_net",
    title="A net of mine",
    description="It has one parameter of its own.",
    translations={"vi": ("Mạng của tôi", "Nó có một tham số riêng.")},
    preprocessing="squash32-v1",
    validation_fraction=0.1,
    parameters=(
        epochs(3),
        batch_size(100),
        Hyperparameter("depth", 4, 1, 9, "Number of layers.", {"vi": ("Độ sâu", "Số lớp của mạng.")}),
        Hyperparameter("width", 1.5, 0.5, 4.0, "How wide each layer is."),
        seed(),
    ),
    build=build,
)
"""


def test_all_texts_of_shipped_recipes_are_translated() -> None:
    for recipe in RECIPES.values():
        if recipe.build.__module__.startswith("training.engine.recipes."):
            for language, _name in settings.LANGUAGES:
                if language != "en":
                    for translations in (recipe.translations, *(p.translations for p in recipe.parameters)):
                        assert all(translations[language]), recipe.name


class OneFileTest(ApiTestCase):
    def setUp(self) -> None:
        super().setUp()
        folder = Path(self.enterContext(tempfile.TemporaryDirectory()))
        (folder / "my_net_of_tests.py").write_text(FILE)
        self.enterContext(mock.patch.object(sys, "path", [str(folder), *sys.path]))
        self.enterContext(mock.patch.dict(RECIPES))
        self.addCleanup(sys.modules.pop, "my_net_of_tests", None)
        load_recipes(["my_net_of_tests"])
        self.client.force_login(self.charlie)

    def page(self, language: str) -> str:
        self.client.post("/language/", {"language": language})
        return self.client.get("/training/?recipe=my_net").content.decode()

    def test_its_texts_stand_on_the_page_in_both_languages(self) -> None:
        page = self.page("en")
        for text in ("A net of mine (my_net)", "one parameter of its own.", "Depth", "Number of layers."):
            self.assertIn(text, page)
        page = self.page("vi")
        for text in ("Mạng của tôi (my_net)", "Nó có một tham số riêng.", "Độ sâu", "Số lớp của mạng."):
            self.assertIn(text, page)
        # Without a translation of its own: English; those of every recipe have theirs.
        self.assertIn("How wide each layer is.", page)
        self.assertIn(RECIPES["my_net"].parameters[0].translations["vi"][1], page)

    def test_api_and_command_take_every_hyperparameter(self) -> None:
        offered = self.call("get", "recipes", token="charlie").json()["recipes"]
        mine = next(recipe for recipe in offered if recipe["name"] == "my_net")
        self.assertEqual(
            [parameter["name"] for parameter in mine["parameters"]],
            ["epochs", "batch_size", "depth", "width", "seed"],
        )
        body = {"recipe": "my_net", "epochs": 2, "seed": 7, "hyperparameters": {"depth": 9, "width": 2.5}}
        answer = self.post_json("training-jobs", body, token="charlie")
        self.assertEqual(answer.status_code, 202, answer.content)
        wanted = {"epochs": 2, "batch_size": 100, "depth": 9, "width": 2.5, "seed": 7}
        self.assertEqual(TrainingJob.objects.get().parameters, wanted)
        with self.assertRaisesMessage(CommandError, "depth must lie between 1 and 9"):
            call_command("train", recipe="my_net", set=["depth=10", "width=2.5"])
