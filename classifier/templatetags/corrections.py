"""What people said about photos, looked up once a page."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django import template

from classifier import corrections
from classifier.models import ANSWER_CHOICES, CLASS_CHOICES, Correction, Photo, Prediction, User
from training.datasets import models_trained_on
from training.models import ModelVersion

register = template.Library()


@register.simple_tag
def answers() -> list[tuple[str, Any, str]]:
    """(label, its translation, key on the keyboard) of what a person can say."""
    keys = [*"1234567890", "n", "u"]
    return [(label, text, key) for (label, text), key in zip(ANSWER_CHOICES, keys, strict=True)]


@register.simple_tag
def said(prediction: Prediction) -> str:
    """The label that 'right' agrees to."""
    return corrections.said(prediction)


@register.simple_tag
def correction_of(photo: Photo, user: User) -> Correction | None:
    """What this person said about the photo."""
    return photo.corrections.filter(by_id=user.pk).first()


@register.simple_tag
def corrections_of(predictions: Iterable[Prediction], user: User) -> dict[Any, Correction]:
    """What this person said about the photos of a page, by the photo's id."""
    ids = [prediction.photo_id for prediction in predictions]
    return {c.photo_id: c for c in Correction.objects.filter(photo__in=ids, by_id=user.pk)}


@register.filter
def of_photo(found: dict[Any, Correction], photo_id: Any) -> Correction | None:
    return found.get(photo_id)


@register.simple_tag
def consent_of(user: User) -> bool | None:
    """True, False, or None where the person has not been asked."""
    return corrections.consent(user)


@register.simple_tag
def trained_models(photo: Photo) -> list[ModelVersion]:
    """The models that were trained with this photo."""
    return list(models_trained_on(photo.pk)[:20])


@register.filter
def answer_name(label: str) -> Any:
    """The translation of a label."""
    return dict(ANSWER_CHOICES).get(label, label)


@register.filter
def is_class(label: str) -> bool:
    return label in dict(CLASS_CHOICES)
