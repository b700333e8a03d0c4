"""The images of a project: add, relabel, move, remove, count, and what is doubtful about them.

The same pixels are in a project once. Images that look alike share a group, and all of a group is in one
split: else a model would be measured on what it was trained on. A split never changes by itself.
"""

from __future__ import annotations

import logging
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from django.db import transaction
from django.db.models import Count, F, Q, QuerySet, Value
from django.db.models.functions import Coalesce, Greatest
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from cifarsite.core import keyset
from cifarsite.core.keyset import Order, Page, read_time
from training.engine.data.labelled_images import LEAST_CLASSES
from training.models import Project, ProjectClass, ProjectImage
from training.projects import removals
from training.projects.refusals import ProjectRefused

logger = logging.getLogger(__name__)

T = TypeVar("T")
Split = ProjectImage.Split
PAGE_SIZE = 48
# What a model needs at least.
LEAST_IMAGES = 5
# How many of the classes that lack images are named.
LACKING_NAMED = 5
# Below this many images of a class its figures say little.
FEW_IMAGES = 10
# One class so many times another: the model prefers it.
LOPSIDED = 5
# How many images one request relabels or removes.
AT_ONCE = 10_000
NEWEST = Order("created_at", True, read_time, "id")


@dataclass(frozen=True)
class Warned:
    """What will harm a model, and what to do about it: ``empty``, ``few``, ``lopsided`` or ``doubtful``."""

    kind: str
    sentence: str

    def __str__(self) -> str:
        return self.sentence


def counts(project: Project | str) -> dict[int, int]:
    """Images by class (its id)."""
    return dict(ProjectClass.objects.filter(project=project).order_by().values_list("pk", "image_count"))


def counts_by_name(project: Project | str) -> dict[str, int]:
    """Images by class, in the classes' order."""
    rows = ProjectClass.objects.filter(project=project).order_by("position", "id")
    return dict(rows.values_list("name", "image_count"))


def total(project: Project | str) -> int:
    """How many images a project has."""
    return sum(counts(project).values())


def count(changes: Counter[int]) -> None:
    """Add to the numbers of images of classes (their ids), after their images have changed.

    In the transaction of that change. In one order, so that two of these never wait for each other.
    """
    for label, change in sorted(changes.items()):
        if change:
            # A number that was too small, see ``recount``, keeps no image from being removed.
            number = Greatest(F("image_count") + change, 0)
            ProjectClass.objects.filter(pk=label).update(image_count=number)


def recount() -> dict[str, int]:
    """Put right the numbers of images that are wrong. Returns how many classes it was.

    A version of this site that does not keep them may have run beside this one.
    """
    images = ProjectImage.objects.order_by().values_list("label").annotate(n=Count("*"))
    found, corrected = dict(images), 0
    for label, kept in ProjectClass.objects.order_by("pk").values_list("pk", "image_count"):
        if kept == found.get(label, 0):
            continue
        with transaction.atomic():
            # Who changed images and waits here to write the number comes after this count, and adds to it.
            row = ProjectClass.objects.select_for_update().filter(pk=label).first()
            n = ProjectImage.objects.filter(label=label).count()
            if row and row.image_count != n:
                logger.warning("Class %s had %d images, not %d.", label, n, row.image_count)
                ProjectClass.objects.filter(pk=label).update(image_count=n)
                corrected += 1
    return {"image_counts_corrected": corrected}


def page(rows: QuerySet[ProjectImage], cursor: str = "", size: int = PAGE_SIZE) -> Page[ProjectImage]:
    """One page of images, newest first.

    Raises:
        BadCursor: the cursor is damaged.
    """
    return keyset.page(NEWEST.of(rows), NEWEST, cursor, size)


# --- What is doubtful -------------------------------------------------------------------------


def doubtful(project: Project | str) -> QuerySet[ProjectImage]:
    """Images that look like one with another label: one of the two labels is probably wrong.

    Look-alikes are few, so they are looked through by their own index. ``Coalesce`` keeps SQLite from
    looking through all images of the project instead.
    """
    slug = project if isinstance(project, str) else project.pk
    rows = ProjectImage.objects.filter(near_duplicate_of__gt=uuid.UUID(int=0))
    rows = rows.annotate(slug=Coalesce("project", Value(""))).filter(slug=slug)
    return rows.exclude(label=F("near_duplicate_of__label"))


def missing_for_training(project: str, found: dict[str, int]) -> str:
    """What a project lacks for training, in a sentence that says what to do; empty: nothing.

    Args:
        found: how many images there are of each class, in the classes' order.
    """
    if len(found) < LEAST_CLASSES:
        return _(
            "Training needs at least %(least)s classes, and the project '%(project)s' has %(n)s: import "
            "images of more classes, a folder a class."
        ) % {"least": LEAST_CLASSES, "project": project, "n": len(found)}
    short = [f"{name} ({n})" for name, n in found.items() if n < LEAST_IMAGES]
    if not short:
        return ""
    return _(
        "Training needs at least %(least)s images of each class, and in the project '%(project)s' these have "
        "fewer: %(classes)s. Add images to them, or remove or merge these classes."
    ) % {"least": LEAST_IMAGES, "project": project, "classes": listed(short, LACKING_NAMED)}


def warnings(
    project: Project, found: dict[int, int] | None = None, rows: Iterable[ProjectClass] | None = None
) -> list[Warned]:
    """What will harm a model that is trained on these images; each says what to do.

    Args:
        found: from ``counts``, where it is known already.
        rows: the project's classes, where they are.
    """
    found = counts(project) if found is None else found
    by_name = {row.name: found.get(row.pk, 0) for row in (project.classes.all() if rows is None else rows)}
    if not by_name:
        empty = _("This project has no classes yet: import a ZIP archive with a folder for each class.")
        return [Warned("empty", empty)]
    said = []
    if len(by_name) == 1:
        alone = _("There is one class alone: add images of a second one, since a model needs two.")
        said.append(Warned("few", alone))
    few = [f"{name} ({n})" for name, n in by_name.items() if n < FEW_IMAGES]
    if few:
        sentence = ngettext(
            "%(count)d class has fewer than %(limit)d images: add some to %(names)s.",
            "%(count)d classes have fewer than %(limit)d images: add some to %(names)s.",
            len(few),
        )
        names = {"count": len(few), "limit": FEW_IMAGES, "names": listed(few)}
        said.append(Warned("few", sentence % names))
    most = max(by_name, key=lambda name: by_name[name])
    least = min(by_name, key=lambda name: by_name[name])
    if by_name[most] >= LOPSIDED * max(by_name[least], 1):
        sentence = _(
            "'%(most)s' has %(many)d images and '%(least)s' %(little)d: a model will prefer the large class. "
            "Add images to the small one, or remove some of the large one."
        )
        names = {"most": most, "many": by_name[most], "least": least, "little": by_name[least]}
        said.append(Warned("lopsided", sentence % names))
    pairs = doubtful(project).order_by()[:100].count()
    if pairs:
        sentence = ngettext(
            "%(count)d image looks nearly like one of another class: look at both and correct the label.",
            "%(count)d images look nearly like one of another class: look at both and correct the labels.",
            pairs,
        )
        said.append(Warned("doubtful", sentence % {"count": pairs}))
    return said


def listed(names: Sequence[str], most: int = 8) -> str:
    """The first of these names, and how many more there are."""
    shown = ", ".join(names[:most])
    if len(names) <= most:
        return shown
    return _("%(names)s and %(n)d more") % {"names": shown, "n": len(names) - most}


# --- Changes ----------------------------------------------------------------------------------


def relabel(project: Project, ids: Iterable[uuid.UUID], label: ProjectClass) -> int:
    """Say that these images show another class; each stays in its split. Returns how many it was."""
    if label.project_id != project.pk:
        raise ProjectRefused("class_name", _("Choose a class of this project."))
    with transaction.atomic():
        rows = project.images.filter(pk__in=list(ids)[:AT_ONCE]).exclude(label=label).order_by("pk")
        # Held, so that the classes that they leave are those that are counted.
        found = dict(rows.select_for_update().values_list("pk", "label"))
        for piece in _pieces(list(found)):
            ProjectImage.objects.filter(pk__in=piece).update(label=label)
        changes = Counter({label.pk: len(found)})
        changes.subtract(found.values())
        count(changes)
    return len(found)


def move(project: Project, ids: Iterable[uuid.UUID], split: str) -> int:
    """Put images into another split, each with all that look like it. Returns how many it was.

    Raises:
        ProjectRefused: there is no such split.
    """
    if split not in Split.values:
        raise ProjectRefused("split", _("Choose training, validation or test."))
    with transaction.atomic():
        chosen = project.images.filter(pk__in=list(ids)[:AT_ONCE])
        heads = {head or pk for pk, head in chosen.values_list("pk", "near_duplicate_of")}
        group = project.images.filter(Q(pk__in=heads) | Q(near_duplicate_of__in=heads))
        return group.exclude(split=split).update(split=split)


def remove(rows: QuerySet[ProjectImage]) -> int:
    """Remove images, then their files. Returns how many it was.

    The rest of a group stays one: its next image takes the place of its first.
    """
    with transaction.atomic():
        held = rows.order_by("pk").select_for_update().values_list("pk", "file", "label")
        found = list(held)
        for piece in _pieces([pk for pk, _file, _label in found]):
            _pass_on(piece)
            gone = ProjectImage.objects.filter(pk__in=piece)
            gone._raw_delete(gone.db)  # nothing hangs on it, and Django would load each row first
        changes: Counter[int] = Counter()
        changes.subtract(label for _pk, _file, label in found)
        count(changes)
        removals.remove_later(file for _pk, file, _label in found)
    return len(found)


def remove_of_photos(photos: Iterable[uuid.UUID]) -> int:
    """Remove what was made of people's photos that are deleted or whose consent is withdrawn."""
    return sum(remove(ProjectImage.objects.filter(photo__in=piece)) for piece in _pieces(list(photos)))


def _pass_on(ids: Sequence[uuid.UUID]) -> None:
    """Where the first image of a group goes, the next one becomes what the others look like."""
    left = ProjectImage.objects.filter(near_duplicate_of__in=ids).exclude(pk__in=ids)
    heirs: dict[uuid.UUID | None, uuid.UUID] = {}
    for pk, head in left.order_by("created_at", "id").values_list("pk", "near_duplicate_of"):
        heirs.setdefault(head, pk)
    for head, heir in heirs.items():
        ProjectImage.objects.filter(near_duplicate_of=head).exclude(pk=heir).update(near_duplicate_of=heir)
        ProjectImage.objects.filter(pk=heir).update(near_duplicate_of=None)


def _pieces(ids: Sequence[T], size: int = 500) -> Iterator[Sequence[T]]:
    for start in range(0, len(ids), size):
        yield ids[start : start + size]
