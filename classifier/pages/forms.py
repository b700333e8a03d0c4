"""What a person types in, besides the forms of django-allauth."""

from collections.abc import Iterable, Sequence
from typing import Any
from uuid import UUID

from django import forms
from django.http import Http404, HttpRequest
from django.utils.translation import gettext_lazy as _

from classifier.models import UNKNOWN, Prediction, User, class_title
from classifier.photos import projects

Verdict, Status = Prediction.Verdict, Prediction.Status


class HistoryFilters(forms.Form):
    """The history's filters; all of them may be empty. ``project`` stands there where there are several."""

    project = forms.ChoiceField(label=_("Project"), required=False)
    search = forms.CharField(
        label=_("File name"),
        required=False,
        max_length=255,
        widget=forms.TextInput(attrs={"type": "search", "autocomplete": "off"}),
    )
    label = forms.ChoiceField(label=_("Label"), required=False)
    verdict = forms.ChoiceField(
        label=_("Verdict"), required=False, choices=[("", _("all")), *Verdict.choices]
    )
    correction = forms.ChoiceField(
        label=_("Your correction"),
        required=False,
        choices=[("", _("all")), *Prediction.UserFeedback.choices, ("none", _("nothing yet"))],
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
            ("least_sure", _("least confident first")),
            ("surest", _("most confident first")),
        ],
    )

    def __init__(self, data: Any, known: Sequence[tuple[str, str]] = (), labels: Iterable[str] = ()) -> None:
        """``known``: (slug, name) of the projects to choose from; ``labels``: the classes."""
        super().__init__(data)
        everything = [("", _("all"))]
        meant = data.get("project") or (known[0][0] if len(known) == 1 else "")
        verdicts = [(v, class_title(v, meant) if v == UNKNOWN else text) for v, text in Verdict.choices]
        choices = {
            "project": known,
            "label": [(name, class_title(name)) for name in labels],
            "verdict": verdicts,
        }
        for name, pairs in choices.items():
            self.fields[name].choices = [*everything, *pairs]  # type: ignore[attr-defined]
        if len(known) < 2:
            del self.fields["project"]

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        first, last = cleaned.get("date_from"), cleaned.get("date_to")
        if first and last and first > last:
            self.add_error("date_to", _("The last day is before the first day."))
        return cleaned

    @property
    def chosen(self) -> dict[str, Any]:
        """The filters that are set and valid."""
        return {name: value for name, value in self.cleaned_data.items() if value}


def history_filters(user: User, data: Any) -> HistoryFilters:
    """The filters as a person may set them.

    Raises:
        Http404: the project is none that this person may see or has photos in.
    """
    known = [(project.pk, project.name) for project in projects.known(user)]
    chosen = data.get("project", "")
    slugs = [slug for slug, _name in known if chosen in ("", slug)]
    if not slugs:
        raise Http404
    return HistoryFilters(data, known, projects.labels_known(slugs))


def posted_ids(request: HttpRequest) -> list[UUID]:
    """Ids of photos; what is not an id is left out."""
    ids = []
    for text in request.POST.getlist("ids"):
        try:
            ids.append(UUID(text))
        except ValueError:
            continue
    return ids
