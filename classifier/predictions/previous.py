"""The answers that a photo had before, and what a new one changed."""

from __future__ import annotations

from typing import Any

from django.utils.translation import gettext as _

from cifarsite.core.numbers import decimal
from classifier.images.crops import Crop, stored_crop
from classifier.models import UNKNOWN, Prediction, class_title

SHOWN = 10


def earlier_answers(present: Prediction) -> list[Prediction]:
    """The photo's other finished answers, newest first, at most ``SHOWN``; each with its ``part``."""
    rows = (
        present.photo.predictions.filter(is_current=False, status=Prediction.Status.DONE)
        .exclude(pk=present.pk)
        .select_related("model")
        .defer("model__card")
        .order_by("-pk")[:SHOWN]
    )
    return list(rows)


def part_of(prediction: Prediction) -> Crop | None:
    """The part of the photo that was looked at; None: all of it."""
    return stored_crop(prediction.crop)


def difference(before: Prediction, now: Prediction) -> str:
    """One sentence on what the second of two finished answers says otherwise than the first."""
    figures: dict[str, Any] = {
        "before": _said(before),
        "now": _said(now),
        "before_percent": decimal(100 * (before.confidence or 0), 1),
        "now_percent": decimal(100 * (now.confidence or 0), 1),
    }
    if _word(before) != _word(now):
        return _("%(before)s (%(before_percent)s %%) before, %(now)s (%(now_percent)s %%) now.") % figures
    if before.probabilities == now.probabilities:
        return _("Exactly the same prediction: %(now)s, %(now_percent)s %%.") % figures
    return _("Still %(now)s: %(before_percent)s %% before, %(now_percent)s %% now.") % figures


def _word(prediction: Prediction) -> str:
    foreign = prediction.verdict == Prediction.Verdict.UNKNOWN
    return prediction.verdict if foreign else prediction.label


def _said(prediction: Prediction) -> str:
    if prediction.verdict == Prediction.Verdict.UNKNOWN:
        return _("%(none)s, closest to %(label)s") % {
            "none": class_title(UNKNOWN, prediction.project_id),
            "label": class_title(prediction.label),
        }
    return class_title(prediction.label)
