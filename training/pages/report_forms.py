"""Which of a set's images somebody wants to see."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from django import forms
from django.utils.translation import gettext_lazy as _
from numpy.typing import NDArray

from training.evaluation.comparison import NotComparable, changed_rows
from training.evaluation.reports import answers, class_names, truth_and_predicted
from training.models import EvaluationReport
from training.reports.narrative import class_title

ANY = [("", _("any"))]


class ImageFilters(forms.Form):
    """Every field may be left out."""

    true = forms.ChoiceField(label=_("True class"), required=False)
    predicted = forms.ChoiceField(label=_("Predicted as"), required=False)
    outcome = forms.ChoiceField(
        label=_("Prediction"), choices=[*ANY, ("right", _("correct")), ("wrong", _("wrong"))], required=False
    )
    low = forms.FloatField(label=_("Confidence from (%)"), min_value=0, max_value=100, required=False)
    high = forms.FloatField(label=_("Confidence to (%)"), min_value=0, max_value=100, required=False)
    order = forms.ChoiceField(
        label=_("Order"),
        choices=[
            ("", _("as in the set")),
            ("most", _("most confident first")),
            ("least", _("least confident first")),
        ],
        required=False,
    )
    against = forms.IntegerField(widget=forms.HiddenInput, min_value=1, max_value=2**62, required=False)
    change = forms.ChoiceField(
        widget=forms.HiddenInput, choices=[*ANY, ("fixed", ""), ("regressed", "")], required=False
    )

    def __init__(self, classes: Sequence[str], data: Any = None) -> None:
        super().__init__(data)
        for name in ("true", "predicted"):
            field: Any = self.fields[name]
            field.choices = [*ANY, *((label, class_title(label)) for label in classes)]

    def query(self) -> dict[str, Any]:
        """What was chosen, for links."""
        return {name: value for name, value in self.cleaned_data.items() if value not in ("", None)}


def chosen_rows(report: EvaluationReport, wanted: dict[str, Any]) -> NDArray[np.int64]:
    """Row numbers that the filters leave, in the order asked for.

    Raises:
        ArtifactMissing: confidence is asked for and single answers were not kept.
    """
    truth, predicted = truth_and_predicted(report)
    kept = np.ones(len(truth), bool)
    for name, numbers in (("true", truth), ("predicted", predicted)):
        if wanted.get(name):
            kept &= numbers == class_names(report).index(wanted[name])
    if wanted.get("outcome"):
        kept &= (truth == predicted) == (wanted["outcome"] == "right")
    if wanted.get("against") and wanted.get("change"):
        kept &= np.isin(np.arange(len(truth)), _changed(report, wanted["against"], wanted["change"]))
    asks = wanted.get("order") or wanted.get("low") is not None or wanted.get("high") is not None
    if not asks:
        return np.flatnonzero(kept)
    confidence = answers(report).probabilities.max(axis=1).astype(float)
    if wanted.get("low") is not None:
        kept &= confidence >= wanted["low"] / 100
    if wanted.get("high") is not None:
        kept &= confidence <= wanted["high"] / 100
    rows = np.flatnonzero(kept)
    if not wanted.get("order"):
        return rows
    by = confidence[rows] if wanted["order"] == "least" else -confidence[rows]
    return rows[np.argsort(by, kind="stable")]


def _changed(report: EvaluationReport, against: int, change: str) -> NDArray[np.int64]:
    other = EvaluationReport.objects.filter(model_id=against, dataset_sha256=report.dataset_sha256).first()
    try:
        return changed_rows(report, other, change) if other else np.array([], np.int64)
    except NotComparable:
        return np.array([], np.int64)
