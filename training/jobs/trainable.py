"""Which recipes train which project, and what a project lacks for it; asked before there is a job."""

from __future__ import annotations

from django.utils.translation import gettext as _

from training.data.project_versions import has_images, is_own, missing
from training.engine.data.cifar10 import DatasetError
from training.engine.recipes import RECIPES
from training.engine.training.recipe import ParameterError, Recipe
from training.models import DEFAULT_PROJECT, DatasetVersion


def recipes_for(project: str) -> list[Recipe]:
    """The recipes that train a project: CIFAR-10's own, or those for any classes."""
    own = project != DEFAULT_PROJECT or has_images(project)
    listed = (recipe for recipe in RECIPES.values() if own or not recipe.own_classes)
    return [recipe for recipe in listed if recipe.own_classes or project == DEFAULT_PROJECT]


def default_recipe(project: str) -> str:
    """The recipe that is offered first."""
    return "fast_cnn" if project == DEFAULT_PROJECT else recipes_for(project)[0].name


def check_trainable(project: str, recipe: Recipe, dataset: DatasetVersion | None = None) -> None:
    """Refuse a recipe that does not train this project, a dataset of another one, too few images.

    Raises:
        ParameterError: the recipe or the dataset is for another project.
        DatasetError: the project has too few classes or images; says what is missing.
    """
    own = recipe.own_classes
    if project != DEFAULT_PROJECT and not own:
        fitting = ", ".join(found.name for found in recipes_for(project))
        raise ParameterError(
            _(
                "The recipe %(recipe)s trains on CIFAR-10 alone: for the project '%(project)s' choose "
                "%(recipes)s."
            )
            % {"recipe": recipe.name, "project": project, "recipes": fitting}
        )
    if own and project == DEFAULT_PROJECT and not has_images(project):
        raise ParameterError(
            _(
                "The recipe %(recipe)s trains on a project's own images, and the project '%(project)s' has "
                "none: choose a project with images, or another recipe."
            )
            % {"recipe": recipe.name, "project": project}
        )
    if dataset is not None:
        if dataset.project_id != project or own != is_own(dataset):
            raise ParameterError(
                _(
                    "The dataset '%(dataset)s' is not for the recipe %(recipe)s in the project "
                    "'%(project)s': choose another dataset, or none."
                )
                % {"dataset": dataset, "recipe": recipe.name, "project": project}
            )
    elif own and (lacking := missing(project)):
        raise DatasetError(lacking)
