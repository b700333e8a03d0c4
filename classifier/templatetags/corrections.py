"""What people said about photos, looked up once a page."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django import template

from classifier.feedback import corrections
from classifier.models import Correction, Photo, Prediction, User, class_title
from classifier.photos import labels
from classifier.photos.labels import Label
from classifier.photos.projects import classes_by_project
from training.data.withdrawals import models_trained_on
from training.models import ModelVersion
from training.projects.access import class_names

register = template.Library()


@register.simple_tag
def answers(project: str, prediction: Prediction | None = None) -> dict[str, list[Label]]:
    """What a person can say is in a photo of this project.

    Returns:
        ``buttons``, with keys, and ``more``: classes to choose from a list, empty where the buttons are all
        there are. Of many classes, the ten that the model holds likeliest have buttons.
    """
    classes = class_names(project)
    all_of_them = labels.answers(classes, project)
    if len(classes) <= labels.FEW_CLASSES:
        return {"buttons": all_of_them, "more": []}
    known = {label.name: label for label in all_of_them}
    likeliest = [row.name for row in prediction.ranked if row.name in known] if prediction else classes
    ten = [known[name]._replace(key=key) for name, key in zip(likeliest, labels.KEYS, strict=False)]
    return {"buttons": [*ten, *all_of_them[len(classes) :]], "more": all_of_them[: len(classes)]}


@register.simple_tag
def answers_by_project(predictions: Iterable[Prediction]) -> list[tuple[str, list[Label]]]:
    """(project, what a person can say is in its photos) of the photos of a page."""
    slugs = dict.fromkeys(prediction.project_id for prediction in predictions)
    classes = classes_by_project(slugs)
    return [(slug, labels.answers(classes[slug], slug)) for slug in slugs]


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
def label_text(label: str, project: str) -> str:
    """A label for people: the class's name, or 'none of these'."""
    return class_title(label, project)
