"""What a person types in, besides the forms of django-allauth."""

from typing import Any
from uuid import UUID

from django import forms
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from classifier.models import CLASS_CHOICES, Prediction

Verdict, Status = Prediction.Verdict, Prediction.Status


class HistoryFilters(forms.Form):
    """The history's filters; all of them may be empty."""

    search = forms.CharField(
        label=_("File name"),
        required=False,
        max_length=255,
        widget=forms.TextInput(attrs={"type": "search", "autocomplete": "off"}),
    )
    label = forms.ChoiceField(label=_("Label"), required=False, choices=[("", _("all")), *CLASS_CHOICES])
    verdict = forms.ChoiceField(
        label=_("Verdict"), required=False, choices=[("", _("all")), *Verdict.choices]
    )
    correction = forms.ChoiceField(
        label=_("What you said"),
        required=False,
        choices=[("", _("all")), *Prediction.OwnerSays.choices, ("none", _("nothing yet"))],
    )
    status = forms.ChoiceField(label=_("Status"), required=False, choices=[("", _("all")), *Status.choices])
    date_from = forms.DateField(
        label=_("From"), required=False, widget=forms.DateInput(attrs={"type": "date"}, format="%Y-%m-%d")
    )
    date_to = forms.DateField(
        label=_("To"), required=False, widget=forms.DateInput(attrs={"type": "date"}, format="%Y-%m-%d")
    )

    sort = forms.ChoiceField(
        label=_("Order"),
        required=False,
        choices=[
            ("", _("newest first")),
            ("oldest", _("oldest first")),
            ("least_sure", _("least sure first")),
            ("surest", _("surest first")),
        ],
    )

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        first, last = cleaned.get("date_from"), cleaned.get("date_to")
        if first and last and first > last:
            self.add_error("date_to", _("This day is before the first one."))
        return cleaned

    @property
    def chosen(self) -> dict[str, Any]:
        """The filters that are set and valid."""
        return {name: value for name, value in self.cleaned_data.items() if value}


def posted_ids(request: HttpRequest) -> list[UUID]:
    """Ids of photos; what is not an id is left out."""
    ids = []
    for text in request.POST.getlist("ids"):
        try:
            ids.append(UUID(text))
        except ValueError:
            continue
    return ids
