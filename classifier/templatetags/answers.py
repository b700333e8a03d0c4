"""What the result page says about an answer besides the answer: hints, parts, earlier answers."""

from __future__ import annotations

from typing import Any

from django import template
from django.utils.formats import number_format
from django.utils.translation import gettext as _

from cifarsite.core.numbers import decimal
from classifier.images.crops import PRESETS, Crop, stored_crop
from classifier.images.quality import BLURRED, DARK
from classifier.models import UNKNOWN, Explanation, Photo, Prediction, class_title
from classifier.photos.labels import in_words
from classifier.predictions import explanation_text
from classifier.predictions.previous import difference, earlier_answers
from classifier.predictions.provenance import provenance_of
from training.engine.data.cifar10 import IMAGE_SHAPE

register = template.Library()


@register.simple_tag
def hints_for(photo: Photo, prediction: Prediction) -> list[str]:
    """What may stand in the way of a good answer, as sentences; see ``classifier.images.quality``.

    Whether the object is small cannot be told reliably (docs/experiments.md). But small ones are
    seldom recognised: so where the whole photo was not, the hint says what then helps.
    """
    hints = []
    if prediction.verdict != Prediction.Verdict.RECOGNISED and not prediction.crop:
        hints.append(_("If the object is small in the photo, select it and classify that part."))
    if photo.brightness is not None and photo.brightness < DARK:
        hints.append(_("The photo is dark. A brighter photo gives a more reliable prediction."))
    if photo.sharpness is not None and photo.sharpness < BLURRED:
        hints.append(_("The photo looks blurred. A sharper photo gives a more reliable prediction."))
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
def provenance_lines(prediction: Prediction) -> list[tuple[Any, Any, bool]]:
    """(what, figure, is it a hash or a name) of an answer's provenance, in reading order."""
    provenance = provenance_of(prediction)
    part = stored_crop(prediction.crop)
    lines = [
        (_("Model's file, sha256"), provenance["model_sha256"], True),
        (_("Preprocessing"), provenance["preprocessing"], True),
        (_("Input's pixels, sha256"), provenance["input_sha256"], True),
        (_("Part classified"), _part_in_words(part) if part else _("the whole photo"), False),
    ]
    texts = {
        "temperature": _("Calibration, temperature"),
        "set_threshold": _("Probability threshold of the prediction set"),
        "score_threshold": _("Score threshold of '%(verdict)s'")
        % {"verdict": class_title(UNKNOWN, prediction.project_id)},
        "rise": _("Beta calibration, a"),
        "fall": _("Beta calibration, b"),
        "shift": _("Beta calibration, c"),
        "score_kind": _("Scoring method"),
    }
    for name, value in {**provenance["calibration"], **provenance["thresholds"]}.items():
        lines.append((texts.get(name, name.replace("_", " ").capitalize()), _figure(value), False))
    if provenance["score"] is not None:
        lines.append((_("This photo's score"), _figure(provenance["score"]), False))
    if provenance["labels"]:
        names = in_words([class_title(name) for name in provenance["labels"]])
        lines.append((_("Labels in the prediction set"), names, False))
    return [line for line in lines if line[1] not in (None, "")]


def _part_in_words(part: Crop) -> str:
    figures = {name: number_format(percent) for name, percent in part.percents.items()}
    return (
        _("%(width)s × %(height)s %% of the photo, from %(left)s %% of the left and %(top)s %% of the top")
        % figures
    )


def _figure(value: Any) -> Any:
    """A number in the reader's way; what is none as text."""
    if isinstance(value, float):
        return decimal(value, 4)
    return value if value is None or isinstance(value, (str, int)) else str(value)


@register.simple_tag
def reasons_for(explanation: Explanation, prediction: Prediction) -> list[explanation_text.Reason]:
    """What speaks for the answer, and for the second label where the two are close."""
    return explanation_text.reasons(explanation, prediction)


@register.simple_tag
def full_colour(explanation: Explanation) -> str:
    """The factor on the odds that the strongest colour of the heat maps stands for."""
    return explanation_text.factor(explanation_text.scale(explanation))


@register.simple_tag
def nearest_of(explanation: Explanation, prediction: Prediction) -> list[dict[str, Any]]:
    """The nearest training images: text, colour, cosine, and where each is on the strip of pictures."""
    colours = {row.name: row.colour for row in prediction.ranked}
    side = IMAGE_SHAPE[0]
    strip = str(side * len(explanation.nearest))
    return [
        {
            **row,
            "text": class_title(row["label"]),
            "colour": colours.get(row["label"], ""),
            "x": str(side * place),
            "strip": strip,
        }
        for place, row in enumerate(explanation.nearest)
    ]


@register.simple_tag
def neighbours_in_words(explanation: Explanation, prediction: Prediction) -> list[str]:
    """What the nearest training images say, in sentences."""
    found = explanation_text.reasons(explanation, prediction)
    said = explanation_text.comparison(found, explanation) or _("Of the %(n)d nearest: %(votes)s.") % {
        "n": len(explanation.nearest),
        "votes": explanation_text.votes(explanation),
    }
    return [said, sentence] if (sentence := explanation_text.nearness(explanation)) else [said]
