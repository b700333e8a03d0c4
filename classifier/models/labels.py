"""Names of classes: as they are kept, and as people read them."""

from __future__ import annotations

from typing import Any, NamedTuple

from django.db import models
from django.utils.translation import gettext_lazy as _

from training.models import DEFAULT_PROJECT
from training.models.projects import LONGEST_CLASS_NAME

UNKNOWN, NOT_SURE = "unknown", "not_sure"
# Names of classes that are translated: CIFAR-10's, and what stands beside classes. Other names are a
# project's own and stay as they are.
TRANSLATED = {
    "airplane": _("airplane"),
    "automobile": _("automobile"),
    "bird": _("bird"),
    "cat": _("cat"),
    "deer": _("deer"),
    "dog": _("dog"),
    "frog": _("frog"),
    "horse": _("horse"),
    "ship": _("ship"),
    "truck": _("truck"),
    UNKNOWN: _("none of these"),
    NOT_SURE: _("not sure"),
}


def class_title(label: str, project: str = "") -> str:
    """A class's name for people, in their language where it is one of CIFAR-10's.

    Args:
        project: whose class it is; CIFAR-10's 'unknown' is 'none of the ten'.
    """
    if label == UNKNOWN:
        return str(_("none of the ten") if project == DEFAULT_PROJECT else TRANSLATED[UNKNOWN])
    return str(TRANSLATED.get(label, label))


class LabelField(models.CharField):  # type: ignore[type-arg]
    """The name of a class of some project, 'unknown' or 'not_sure'; ``get_..._display`` for people."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("max_length", LONGEST_CLASS_NAME)
        super().__init__(*args, **kwargs)

    def deconstruct(self) -> Any:
        name, _path, args, kwargs = super().deconstruct()
        return name, "django.db.models.CharField", args, kwargs

    def contribute_to_class(self, cls: Any, name: str, private_only: bool = False) -> None:
        super().contribute_to_class(cls, name, private_only)
        setattr(cls, f"get_{name}_display", lambda row: class_title(getattr(row, name)))


class Ranked(NamedTuple):
    """A class, its name for people, its probability from 0 to 1, and its colour."""

    name: str
    text: str
    probability: float
    colour: str
