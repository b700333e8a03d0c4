"""What staff type in: a training run from its recipe's description, reasons, notes, the schedule."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from django import forms
from django.conf import settings
from django.db.models import Exists, OuterRef
from django.utils.translation import gettext_lazy as _

from training import webhooks
from training.engine.recipe import ParameterError, Recipe
from training.engine.recipes import RECIPES
from training.models import DatasetImage, DatasetVersion, Schedule
from training.recipe_texts import label

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

    recipe = forms.CharField(widget=forms.HiddenInput)
    # The same for both clicks of a double click, new for every form that is shown.
    request_key = forms.CharField(widget=forms.HiddenInput, max_length=40)
    dataset = forms.ModelChoiceField(
        label=_("Data"),
        # Those with added photos; their manifests may be long.
        queryset=DatasetVersion.objects.filter(
            Exists(DatasetImage.objects.filter(dataset=OuterRef("pk")))
        ).defer("manifest"),
        required=False,
        empty_label=_("CIFAR-10 alone"),
    )
    webhook = forms.URLField(
        label=_("Tell this address when it is over"),
        required=False,
        max_length=webhooks.LONGEST_ADDRESS,
        assume_scheme="https",
        help_text=_("Optional: an https address that gets a signed message."),
        widget=forms.URLInput(attrs={"placeholder": "https://"}),
    )

    def __init__(self, recipe: Recipe, data: Any = None, *, initial: Mapping[str, Any] | None = None) -> None:
        first = {"recipe": recipe.name, "request_key": uuid.uuid4().hex, **(initial or {})}
        super().__init__(data, initial=first)
        self.chosen = recipe
        for parameter in recipe.parameters:
            whole = isinstance(parameter.default, int)
            field: Any = forms.IntegerField if whole else forms.FloatField
            self.fields[parameter.name] = field(
                label=_(label(parameter.name)),
                help_text=_("%(help)s From %(minimum)s to %(maximum)s; %(default)s unless you change it.")
                % {
                    "help": _(parameter.help),
                    "minimum": parameter.minimum,
                    "maximum": parameter.maximum,
                    "default": parameter.default,
                },
                min_value=parameter.minimum,
                max_value=parameter.maximum,
                initial=parameter.default,
                widget=forms.NumberInput(attrs={"step": "1" if whole else "any"}),
            )
        self.order_fields(["recipe", "request_key", "dataset", *(p.name for p in recipe.parameters)])
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


class PromoteForm(forms.Form):
    reason = forms.CharField(
        label=_("Why"),
        max_length=2_000,
        widget=forms.Textarea(attrs={"rows": 2}),
        help_text=_("A sentence; it is kept with the promotion."),
    )
    override = forms.BooleanField(
        label=_("Promote it although the gate refuses; the record says so."), required=False
    )


class RollBackForm(forms.Form):
    reason = forms.CharField(
        label=_("Why go back"),
        max_length=2_000,
        help_text=_("A sentence; it is kept with the rollback."),
    )


class NotesForm(forms.Form):
    notes = forms.CharField(
        label=_("Notes"), required=False, max_length=10_000, widget=forms.Textarea(attrs={"rows": 4})
    )


class ScheduleForm(ModelForm):
    recipe = forms.ChoiceField(label=_("recipe"))

    class Meta:
        model = Schedule
        fields = ("enabled", "every_days", "after_corrections", "recipe", "auto_promote")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        names = [(recipe.name, _(recipe.title)) for recipe in RECIPES.values()]
        self.fields["recipe"] = forms.ChoiceField(label=_("recipe"), choices=names)
