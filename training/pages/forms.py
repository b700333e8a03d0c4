"""What staff type in: a training run from its recipe's description, reasons, notes, the schedule."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from django import forms
from django.conf import settings
from django.db.models import Exists, OuterRef, QuerySet
from django.utils.translation import get_language
from django.utils.translation import gettext_lazy as _

from cifarsite.core import webhooks
from training.engine.training.recipe import ParameterError, Recipe
from training.models import DEFAULT_PROJECT, DatasetImage, DatasetVersion, Project, Schedule

if TYPE_CHECKING:
    ModelForm = forms.ModelForm[Schedule]
else:
    ModelForm = forms.ModelForm


def callable_address(url: str) -> str:
    """Return what a form's field got, an address that a webhook may call or nothing.

    Raises:
        ValidationError: it is no such address; says what to do.
    """
    if url:
        try:
            webhooks.read_address(url)
        except webhooks.WebhookRefused as error:
            raise forms.ValidationError(str(error)) from error
    return url


class TrainingForm(forms.Form):
    """A field for each parameter of ``recipe``, with its help, range and default."""

    project = forms.CharField(widget=forms.HiddenInput, required=False)
    recipe = forms.CharField(widget=forms.HiddenInput)
    # The same for both clicks of a double click, new for every form that is shown.
    request_key = forms.CharField(widget=forms.HiddenInput, max_length=40)
    dataset = forms.ModelChoiceField(
        label=_("Data"),
        queryset=DatasetVersion.objects.none(),
        required=False,
    )
    webhook = forms.URLField(
        label=_("Webhook address"),
        required=False,
        max_length=webhooks.LONGEST_ADDRESS,
        assume_scheme="https",
        help_text=_("Optional: an https address that receives a signed message when the job has finished."),
        widget=forms.URLInput(attrs={"placeholder": "https://"}),
    )

    def __init__(
        self,
        recipe: Recipe,
        data: Any = None,
        *,
        project: str = DEFAULT_PROJECT,
        initial: Mapping[str, Any] | None = None,
    ) -> None:
        fixed = {"project": project, "recipe": recipe.name, "request_key": uuid.uuid4().hex}
        super().__init__(data, initial={**fixed, **(initial or {})})
        self.chosen, self.slug = recipe, project
        dataset: Any = self.fields["dataset"]
        dataset.queryset = datasets_for(project, recipe)
        dataset.empty_label = (
            _("The project's images as they are now") if recipe.own_classes else _("CIFAR-10 alone")
        )
        for parameter in recipe.parameters:
            label, help_text = parameter.texts(get_language() or "en")
            whole = isinstance(parameter.default, int)
            field: Any = forms.IntegerField if whole else forms.FloatField
            self.fields[parameter.name] = field(
                label=label,
                help_text=_("%(help)s From %(minimum)s to %(maximum)s; %(default)s unless you change it.")
                % {
                    "help": help_text,
                    "minimum": parameter.minimum,
                    "maximum": parameter.maximum,
                    "default": parameter.default,
                },
                min_value=parameter.minimum,
                max_value=parameter.maximum,
                initial=parameter.default,
                widget=forms.NumberInput(attrs={"step": "1" if whole else "any"}),
            )
        names = [parameter.name for parameter in recipe.parameters]
        self.order_fields(["project", "recipe", "request_key", "dataset", *names])
        if not settings.WEBHOOK_SECRET:
            del self.fields["webhook"]

    def clean_webhook(self) -> str:
        return callable_address(self.cleaned_data["webhook"])

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        if not self.errors:
            try:
                self.chosen.clean(self.parameters)
            except ParameterError as error:
                raise forms.ValidationError(str(error)) from error
        return cleaned

    @property
    def parameters(self) -> dict[str, Any]:
        """The cleaned values of the recipe's own fields."""
        return {p.name: self.cleaned_data[p.name] for p in self.chosen.parameters}


def datasets_for(project: str, recipe: Recipe) -> QuerySet[DatasetVersion]:
    """The dataset versions that a recipe may train on; their manifests may be long."""
    rows = DatasetVersion.objects.filter(project=project).defer("manifest")
    if recipe.own_classes:
        return rows.filter(manifest__has_key="images") if project == DEFAULT_PROJECT else rows
    # Those with added photos.
    added = Exists(DatasetImage.objects.filter(dataset=OuterRef("pk")))
    return rows.filter(added).exclude(manifest__has_key="images")


class PromoteForm(forms.Form):
    reason = forms.CharField(
        label=_("Why"),
        max_length=2_000,
        widget=forms.Textarea(attrs={"rows": 2}),
        help_text=_("A sentence; it is kept with the promotion."),
    )
    override = forms.BooleanField(
        label=_("Promote the model although the gate refuses; the promotion history records the override."),
        required=False,
    )


class RollBackForm(forms.Form):
    """Why, and in which project, where there are several."""

    project = forms.ModelChoiceField(label=_("Project"), queryset=Project.objects.none(), empty_label=None)
    reason = forms.CharField(
        label=_("Reason for the rollback"),
        max_length=2_000,
        help_text=_("A sentence; it is kept with the rollback."),
    )

    def __init__(self, project: Project | str, projects: QuerySet[Project], data: Any = None) -> None:
        super().__init__(data, initial={"project": project})
        field: Any = self.fields["project"]
        field.queryset, field.required = projects, False
        if len(projects) < 2:
            field.widget = forms.HiddenInput()


class NotesForm(forms.Form):
    notes = forms.CharField(
        label=_("Notes"), required=False, max_length=10_000, widget=forms.Textarea(attrs={"rows": 4})
    )


class ScheduleForm(ModelForm):
    recipe = forms.ChoiceField(label=_("recipe"))

    class Meta:
        model = Schedule
        fields = ("enabled", "every_days", "after_corrections", "recipe", "auto_promote")

    def __init__(self, recipes: Sequence[Recipe], *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        names = [(recipe.name, recipe.texts(get_language() or "en")[0]) for recipe in recipes]
        self.fields["recipe"] = forms.ChoiceField(label=_("recipe"), choices=names)
