"""The classes of a project: add, rename, merge, reorder, delete.

Models keep the names that they were trained with, so a change here never changes an answer.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from django.db import transaction
from django.db.models import Max
from django.utils.translation import gettext as _

from training.models import DEFAULT_PROJECT, ModelVersion, Project, ProjectClass, ProjectImage, ProjectImport
from training.models.projects import LONGEST_CLASS_NAME, MOST_CLASSES, class_key
from training.projects import images
from training.projects.refusals import ProjectRefused

# What answers and corrections say beside classes.
RESERVED = {"unknown", "not_sure"}
# Parts of one sign: emoji of several persons, letters of Indic and Persian words, flags of regions.
JOINERS = {"\u200c", "\u200d", *map(chr, range(0xE0020, 0xE0080))}
NAME_SHOWN = 60


@dataclass(frozen=True)
class Uses:
    """What goes with a class, and what knows it.

    Attributes:
        images: they are removed with it.
        models: how many model versions were trained with it; they keep it.
    """

    images: int
    models: int

    def __bool__(self) -> bool:
        return bool(self.images or self.models)


def clean_name(name: str) -> str:
    """The name as it is kept: composed accents, single spaces, nothing around it.

    Raises:
        ProjectRefused: no class may have this name.
    """
    name = unicodedata.normalize("NFC", name).strip()
    shown = {"name": name[:NAME_SHOWN]}
    if not name:
        raise ProjectRefused("class_name", _("A class has no name: type one."))
    if any(_is_invisible(character) for character in name):
        raise ProjectRefused(
            "class_name",
            _("'%(name)s' contains control characters or invisible marks: type the name anew without them.")
            % {"name": "".join(c for c in shown["name"] if not _is_invisible(c))},
        )
    name = " ".join(name.split())
    # A ligature may be many letters when names are compared.
    if max(len(name), len(class_key(name)) // 2) > LONGEST_CLASS_NAME:
        raise ProjectRefused(
            "class_name",
            _("'%(name)s…' is longer than %(limit)d characters: shorten the name of this class.")
            % (shown | {"limit": LONGEST_CLASS_NAME}),
        )
    if "/" in name or "\\" in name or name in (".", ".."):
        raise ProjectRefused(
            "class_name",
            _("'%(name)s' cannot be a class, since it reads as a path: use a name without slashes.") % shown,
        )
    if class_key(name) in RESERVED:
        raise ProjectRefused(
            "class_name",
            _(
                "'%(name)s' is reserved for answers that name no class: choose another name, such as "
                "'other things'."
            )
            % shown,
        )
    return name


def _is_invisible(character: str) -> bool:
    kind = unicodedata.category(character)
    return kind in ("Cc", "Cs", "Zl", "Zp") or (kind == "Cf" and character not in JOINERS)


def refuse_fixed(project: Project | str) -> None:
    """Raises ``ProjectRefused`` for CIFAR-10, whose classes and images come with the data set."""
    if (project if isinstance(project, str) else project.pk) == DEFAULT_PROJECT:
        raise ProjectRefused(
            "fixed",
            _(
                "CIFAR-10's classes and images come with the data set and cannot be changed: create a "
                "project for classes of your own."
            ),
        )


def hold(project: Project) -> None:
    """Until the transaction ends, nobody else changes classes of this project or adds images to it."""
    Project.objects.select_for_update().filter(pk=project.pk).first()


def add(project: Project, names: Iterable[str]) -> list[ProjectClass]:
    """Add classes behind the others, in this order.

    Raises:
        ProjectRefused: a name cannot be used, two are the same, one is there already, or there are too many.
    """
    cleaned = [clean_name(name) for name in names]
    seen: dict[str, str] = {}
    for name in cleaned:
        if earlier := seen.get(class_key(name)):
            raise ProjectRefused(
                "class_taken",
                _("'%(first)s' and '%(second)s' count as the same class: keep one of them.")
                % {"first": earlier, "second": name},
            )
        seen[class_key(name)] = name
    with transaction.atomic():
        hold(project)
        known = project.classes.filter(key__in=seen).first() if len(seen) <= MOST_CLASSES else None
        if known:
            raise ProjectRefused(
                "class_taken",
                _("There is a class '%(name)s' already: choose another name.") % {"name": known.name},
            )
        return list(find_or_add(project, cleaned).values())


def find_or_add(project: Project, names: Sequence[str]) -> dict[str, ProjectClass]:
    """The classes of these names by their keys; those that are missing are added.

    Args:
        names: from ``clean_name``; a class that is written otherwise keeps its own spelling.

    Raises:
        ProjectRefused: there would be too many, or the project's classes are fixed.
    """
    wanted: dict[str, str] = {}
    for name in names:
        wanted.setdefault(class_key(name), name)
    with transaction.atomic():
        hold(project)
        known = {row.key: row for row in project.classes.all()}
        new = [name for key, name in wanted.items() if key not in known]
        if new:
            refuse_fixed(project)
            refuse_too_many(len(known) + len(new))
            last = project.classes.aggregate(last=Max("position"))["last"]
            first = 0 if last is None else last + 1
            rows = [
                ProjectClass(project=project, position=position, name=name, key=class_key(name))
                for position, name in enumerate(new, first)
            ]
            known |= {row.key: row for row in ProjectClass.objects.bulk_create(rows)}
    return {key: known[key] for key in wanted}


def refuse_too_many(count: int) -> None:
    if count > MOST_CLASSES:
        raise ProjectRefused(
            "too_many_classes",
            _(
                "There would be %(count)d classes, and a project has at most %(limit)d: is each folder "
                "named like a class? Merge some, or split the images into several projects."
            )
            % {"count": count, "limit": MOST_CLASSES},
        )


def rename(row: ProjectClass, name: str) -> ProjectClass:
    """Give a class another name.

    Raises:
        ProjectRefused: the name cannot be used, or another class has it.
    """
    refuse_fixed(row.project_id)
    name = clean_name(name)
    with transaction.atomic():
        hold(row.project)
        _refuse_while_importing(row.project)
        other = row.project.classes.filter(key=class_key(name)).exclude(pk=row.pk).first()
        if other:
            raise ProjectRefused(
                "class_taken",
                _("There is a class '%(name)s' already: merge the two classes instead.")
                % {"name": other.name},
            )
        row.name = name
        row.save()
    return row


def merge(row: ProjectClass, into: ProjectClass) -> int:
    """Move all images of a class into another one, and delete it. Returns how many images it was.

    Raises:
        ProjectRefused: it is the same class, or one of another project.
    """
    refuse_fixed(row.project_id)
    if row.pk == into.pk or row.project_id != into.project_id:
        raise ProjectRefused("class_name", _("Choose another class of this project to merge this one into."))
    with transaction.atomic():
        hold(row.project)
        _refuse_while_importing(row.project)
        moved = ProjectImage.objects.filter(label=row).update(label=into)
        images.count(Counter({into.pk: moved}))
        row.delete()
    return moved


def reorder(project: Project, ids: Sequence[int]) -> None:
    """Put the classes into this order; the next model's outputs have it.

    Raises:
        ProjectRefused: ``ids`` are not those of all classes, each once.
    """
    refuse_fixed(project)
    with transaction.atomic():
        hold(project)
        rows = {row.pk: row for row in project.classes.all()}
        if sorted(ids) != sorted(rows):
            raise ProjectRefused(
                "class_order",
                _("The classes have changed meanwhile: reload the page, then put them in order again."),
            )
        for position, pk in enumerate(ids):
            rows[pk].position = position
        ProjectClass.objects.bulk_update(rows.values(), ["position"])


def move(row: ProjectClass, by: int) -> None:
    """Move a class so many places up (negative) or down, as far as that goes."""
    ids = list(row.project.classes.values_list("pk", flat=True))
    at = ids.index(row.pk)
    ids.insert(min(max(at + by, 0), len(ids) - 1), ids.pop(at))
    reorder(row.project, ids)


def sort_by_name(project: Project) -> None:
    rows = sorted(project.classes.all(), key=lambda row: row.key)
    reorder(project, [row.pk for row in rows])


def uses(row: ProjectClass) -> Uses:
    """What goes with a class where it is deleted, and what knows it."""
    trained = ModelVersion.objects.filter(project=row.project_id).values_list("classes", flat=True)
    return Uses(
        images=ProjectImage.objects.filter(label=row).count(),
        models=sum(row.name in names for names in trained),
    )


def delete(row: ProjectClass, *, confirmed: str = "") -> int:
    """Delete a class with its images. Returns how many images it was.

    Args:
        confirmed: the class's name, typed by the person, wherever something goes with it or knows it.

    Raises:
        ProjectRefused: it was not confirmed; the sentence says what goes with it.
    """
    refuse_fixed(row.project_id)
    used = uses(row)
    if used and class_key(confirmed.strip()) != row.key:
        raise ProjectRefused(
            "not_confirmed",
            _(
                "With '%(name)s' its images go for good (images: %(images)d; models that know it and keep "
                "it: %(models)d). Type the name of the class to delete it, or merge it into another one."
            )
            % {"name": row.name, "images": used.images, "models": used.models},
        )
    with transaction.atomic():
        hold(row.project)
        _refuse_while_importing(row.project)
        removed = images.remove(ProjectImage.objects.filter(label=row))
        row.delete()
    return removed


def _refuse_while_importing(project: Project) -> None:
    """A worker that adds images knows the classes by their names: it would make this one anew."""
    State = ProjectImport.State
    if project.imports.filter(state__in=[State.QUEUED, State.RUNNING]).exists():
        raise ProjectRefused(
            "importing",
            _("Images are being imported into this project: wait until that is done, or cancel it."),
        )
