"""What the result page says about an answer besides the answer: hints, parts, earlier answers."""

from __future__ import annotations

from typing import Any

from django import template
from django.utils.formats import number_format
from django.utils.translation import gettext as _

from classifier import reasons
from classifier.crops import PRESETS, Crop, stored_crop
from classifier.earlier import difference, earlier_answers
from classifier.image_quality import BLURRED, DARK
from classifier.models import CLASS_CHOICES, Explanation, Photo, Prediction
from classifier.receipts import receipt_of
from training.charts import decimal
from training.engine.data import IMAGE_SHAPE

register = template.Library()


@register.simple_tag
def hints_for(photo: Photo, prediction: Prediction) -> list[str]:
    """What may stand in the way of a good answer, as sentences; see ``classifier.image_quality``.

    Whether the object is small cannot be told reliably (docs/experiments.md). But small ones are
    seldom recognised: so where the whole photo was not, the hint says what then helps.
    """
    hints = []
    if prediction.verdict != Prediction.Verdict.RECOGNISED and not prediction.crop:
        hints.append(_("If the object is small in the photo, point at it and ask again."))
    if photo.brightness is not None and photo.brightness < DARK:
        hints.append(_("The photo is dark. With more light the answer would be more reliable."))
    if photo.sharpness is not None and photo.sharpness < BLURRED:
        hints.append(_("The photo looks blurred. A sharper one would be answered more reliably."))
    return hints


@register.simple_tag
def part_of(prediction: Prediction) -> Crop | None:
    """The part of the photo that was looked at; None: all of it."""
    return stored_crop(prediction.crop)


@register.simple_tag
def parts_to_ask() -> list[tuple[str, Any]]:
    """(name, text) of the parts that can be asked about with one press."""
    return [(name, text) for name, (text, _figures) in PRESETS.items()]


@register.simple_tag
def earlier_than(prediction: Prediction) -> list[tuple[Prediction, str]]:
    """(earlier answer, what the present one says otherwise), newest first."""
    return [(row, difference(row, prediction)) for row in earlier_answers(prediction)]


@register.filter
def pixels(share: float, side: int) -> str:
    """A share of a side in pixels, written with a point: it is an attribute of a drawing."""
    return f"{share * side:.1f}"


@register.simple_tag
def receipt_lines(prediction: Prediction) -> list[tuple[Any, Any, bool]]:
    """(what, figure, is it a hash or a name) of an answer's receipt, in reading order."""
    receipt = receipt_of(prediction)
    part = stored_crop(prediction.crop)
    lines = [
        (_("Model's file, sha256"), receipt["model_sha256"], True),
        (_("Way from photo to input"), receipt["preprocessing"], True),
        (_("Input's pixels, sha256"), receipt["input_sha256"], True),
        (_("Looked at"), _part_in_words(part) if part else _("the whole photo"), False),
    ]
    names = {
        "temperature": _("Calibration, temperature"),
        "set_threshold": _("A label is likely from this probability on"),
        "score_threshold": _("None of the ten below this score"),
        "rise": _("Calibration, rise"),
        "fall": _("Calibration, fall"),
        "shift": _("Calibration, shift"),
        "score_kind": _("How the score is made"),
    }
    for name, value in {**receipt["calibration"], **receipt["thresholds"]}.items():
        lines.append((names.get(name, name.replace("_", " ").capitalize()), _figure(value), False))
    if receipt["score"] is not None:
        lines.append((_("This photo's score"), _figure(receipt["score"]), False))
    if receipt["labels"]:
        texts = dict(CLASS_CHOICES)
        lines.append((_("Likely labels"), ", ".join(str(texts[name]) for name in receipt["labels"]), False))
    return [line for line in lines if line[1] not in (None, "")]


def _part_in_words(part: Crop) -> str:
    figures = {name: number_format(percent) for name, percent in part.percents.items()}
    return (
        _("%(width)s × %(height)s %% of the photo, from %(left)s %% of the left and %(top)s %% of the top")
        % figures
    )


def _figure(value: Any) -> Any:
    """A number in the reader's way; what is none as text."""
    if isinstance(value, float):
        return decimal(value, 4)
    return value if value is None or isinstance(value, (str, int)) else str(value)


@register.simple_tag
def reasons_for(explanation: Explanation, prediction: Prediction) -> list[reasons.Reason]:
    """What speaks for the answer, and for the second label where the two are close."""
    return reasons.reasons(explanation, prediction)


@register.simple_tag
def full_colour(explanation: Explanation) -> str:
    """The factor on the odds that the strongest colour of the heat maps stands for."""
    return reasons.factor(reasons.scale(explanation))


@register.simple_tag
def nearest_of(explanation: Explanation) -> list[dict[str, Any]]:
    """The nearest training images: label, text, cosine, and where each is on the strip of pictures."""
    texts, side = dict(CLASS_CHOICES), IMAGE_SHAPE[0]
    strip = str(side * len(explanation.nearest))
    return [
        {**row, "text": texts[row["label"]], "x": str(side * place), "strip": strip}
        for place, row in enumerate(explanation.nearest)
    ]


@register.simple_tag
def neighbours_in_words(explanation: Explanation, prediction: Prediction) -> list[str]:
    """What the nearest training images say, in sentences."""
    found = reasons.reasons(explanation, prediction)
    said = reasons.comparison(found, explanation) or _("Of the %(n)d nearest: %(votes)s.") % {
        "n": len(explanation.nearest),
        "votes": reasons.votes(explanation),
    }
    return [said, sentence] if (sentence := reasons.nearness(explanation)) else [said]
