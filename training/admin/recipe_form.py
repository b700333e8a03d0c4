"""A recipe and its parameters in the admin: of a job, and of a schedule."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from training.engine.data.cifar10 import DatasetError
from training.engine.recipes import RECIPES
from training.engine.training.recipe import ParameterError
from training.jobs.trainable import check_trainable
from training.models import DEFAULT_PROJECT, Project
from training.pages.forms import callable_address

if TYPE_CHECKING:
    ModelForm = forms.ModelForm[Any]
else:
    ModelForm = forms.ModelForm


class RecipeFilter(admin.SimpleListFilter):
    """The recipes of this site, known without reading the table."""

    title = gettext_lazy("recipe")
    parameter_name = "recipe"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(name, name) for name in RECIPES]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(recipe=self.value()) if self.value() else queryset


class RecipeForm(ModelForm):
    """A recipe and its parameters, checked together."""

    recipe = forms.ChoiceField(
        label=gettext_lazy("Recipe"), choices=[(r.name, gettext_lazy(r.title)) for r in RECIPES.values()]
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if "project" in self.fields:
            self.fields["project"].required = False
        if "dataset" in self.fields:
            self.fields["dataset"].required = False
            self.fields["dataset"].help_text = _("Empty: plain CIFAR-10, or the project's images.")
        if "parameters" in self.fields:
            self.fields["parameters"].required = False
            self.fields["parameters"].help_text = parameters_help()

    def clean_project(self) -> Project:
        return self.cleaned_data["project"] or Project.objects.get(pk=DEFAULT_PROJECT)

    def clean_webhook_url(self) -> str:
        return callable_address(self.cleaned_data["webhook_url"])

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = super().clean() or {}
        parameters = cleaned.get("parameters") or {}
        if not isinstance(parameters, dict):
            self.add_error("parameters", _('Write names and numbers in braces, such as {"epochs": 10}.'))
        elif "recipe" in cleaned:
            project = cleaned.get("project") or self.instance.project
            try:
                RECIPES[cleaned["recipe"]].clean(parameters)
            except ParameterError as error:
                self.add_error("parameters", str(error))
            try:
                check_trainable(project.pk, RECIPES[cleaned["recipe"]], cleaned.get("dataset"))
            except (ParameterError, DatasetError) as error:
                self.add_error("recipe", str(error))
        return {**cleaned, "parameters": parameters}


def parameters_help() -> SafeString:
    """What each recipe lets one set."""
    rows = (
        (
            recipe.name,
            ", ".join(f"{p.name} ({p.minimum}–{p.maximum}, {p.default})" for p in recipe.parameters),
        )
        for recipe in RECIPES.values()
    )
    return format_html(
        "{}<ul>{}</ul>",
        _('Such as {"epochs": 10}; what is left out takes its default. Lowest to highest, default:'),
        format_html_join("", "<li><b>{}</b>: {}</li>", rows),
    )
