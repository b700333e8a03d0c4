"""One file a recipe: a module here with a ``RECIPE`` is offered everywhere."""

import importlib
import pkgutil

from training.engine.training.recipe import Recipe

RECIPES: dict[str, Recipe] = {}
for _module in pkgutil.iter_modules(__path__):
    _recipe = importlib.import_module(f"{__name__}.{_module.name}").RECIPE
    RECIPES[_recipe.name] = _recipe
