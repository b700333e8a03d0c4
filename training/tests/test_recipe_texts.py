"""What recipes say of themselves can be translated, though the engine knows no Django."""

import pytest
from django.utils import translation

from training.engine.recipes import RECIPES
from training.forms import TrainingForm
from training.recipe_texts import TEXTS, texts_of

ENGLISH, VIETNAMESE = "How often the network sees every training image.", "Mạng xem mỗi ảnh mấy lần."


def shipped_texts() -> set[str]:
    own = [recipe for recipe in RECIPES.values() if recipe.build.__module__.startswith("training.engine.")]
    return {text for recipe in own if "tests" not in recipe.build.__module__ for text in texts_of(recipe)}


def test_every_text_of_a_recipe_is_marked_for_translation() -> None:
    assert shipped_texts() - set(TEXTS) == set(), "Add these to training/recipe_texts.py."


def test_no_text_is_marked_that_no_recipe_says() -> None:
    assert set(TEXTS) - shipped_texts() == set(), "Take these out of training/recipe_texts.py."


def test_the_form_asks_the_catalogue_for_a_parameters_help(monkeypatch: pytest.MonkeyPatch) -> None:
    with translation.override("vi"):
        catalogue = translation.trans_real.catalog()  # type: ignore[attr-defined]
        monkeypatch.setitem(catalogue._catalog._catalogs[0], ENGLISH, VIETNAMESE)
        form = TrainingForm(RECIPES["seed_cnn"])
        assert VIETNAMESE in str(form.fields["epochs"].help_text)
