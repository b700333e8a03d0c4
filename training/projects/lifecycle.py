"""Create a project, rename it, open or close it, delete it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from django.contrib.auth import get_user_model
from django.db import IntegrityError, transaction
from django.db.models import PROTECT, Model
from django.utils.text import slugify
from django.utils.translation import gettext as _

from training.models import DEFAULT_PROJECT, Project, ProjectImport
from training.models.projects import ProjectClass
from training.projects import classes, images, removals
from training.projects.refusals import ProjectRefused

LONGEST_NAME = 100
LONGEST_SLUG = 50
# Tables of what people and models did: it stays, so that every answer can be traced to its model.
NOT_COUNTED = {"predictions"}


def create(
    name: str,
    *,
    by: Any = None,
    slug: str = "",
    class_names: Sequence[str] = (),
    is_open: bool = True,
    members: Iterable[Any] = (),
) -> Project:
    """Make a project.

    Args:
        slug: its name in addresses; made of ``name`` where it is empty.
        class_names: its first classes, in order; imports add more.
        members: who may use it where it is not open to everybody.

    Raises:
        ProjectRefused: a name or the slug cannot be used, or the slug is taken (``slug_taken``), if only by
            the files of a project that was deleted a moment ago.
    """
    name = clean_name(name)
    slug = slug.strip() or slug_of(name)
    if slug != slugify(slug) or "_" in slug or not slug[0].isalnum() or len(slug) > LONGEST_SLUG:
        raise ProjectRefused(
            "slug",
            _(
                "'%(slug)s' cannot be used in addresses: choose 1 to %(limit)d lower-case letters, digits "
                "and hyphens, such as 'my-fruit'."
            )
            % {"slug": slug[:LONGEST_SLUG], "limit": LONGEST_SLUG},
        )
    taken = ProjectRefused(
        "slug_taken",
        _("There is a project '%(slug)s' already: choose another name or slug.") % {"slug": slug},
    )
    if Project.objects.filter(pk=slug).exists():
        raise taken
    try:
        with transaction.atomic():
            project = Project(slug=slug, name=name, is_open=is_open, created_by=by)
            project.save(force_insert=True)
            # After the row: who deletes one of this name has committed by now.
            if removals.is_being_removed(slug):
                raise ProjectRefused(
                    "slug_taken",
                    _(
                        "The files of a deleted project '%(slug)s' are still being removed: try again in a "
                        "few minutes, or choose another slug."
                    )
                    % {"slug": slug},
                )
            project.members.set(members)
            if class_names:
                classes.add(project, class_names)
    except IntegrityError as error:
        raise taken from error
    return project


def clean_name(name: str) -> str:
    """Raises ``ProjectRefused`` where a project cannot be called so."""
    name = " ".join(name.split())
    if not name or len(name) > LONGEST_NAME or not name.isprintable():
        raise ProjectRefused(
            "project_name",
            _("Give the project a name of 1 to %(limit)d characters.") % {"limit": LONGEST_NAME},
        )
    return name


def slug_of(name: str) -> str:
    """A name for addresses, where the letters allow it.

    Raises:
        ProjectRefused: they do not: a slug has to be chosen.
    """
    plain = name.replace("đ", "d").replace("Đ", "D").replace("_", "-")
    slug = slugify(plain)[:LONGEST_SLUG].strip("-")
    if not slug:
        raise ProjectRefused(
            "slug",
            _("'%(name)s' makes no address: choose a slug of lower-case letters, digits and hyphens.")
            % {"name": name},
        )
    return slug


def change(
    project: Project, *, name: str | None = None, is_open: bool | None = None, members: str | None = None
) -> Project:
    """Rename a project, open or close it, or say who its members are.

    Args:
        members: user names, separated by spaces, commas or lines; those that are not named go.

    Raises:
        ProjectRefused: the name cannot be used, CIFAR-10 cannot be closed, or a member is unknown.
    """
    if is_open is False and project.pk == DEFAULT_PROJECT:
        raise ProjectRefused("fixed", _("CIFAR-10 is the default and stays open to everybody."))
    with transaction.atomic():
        if name is not None:
            project.name = clean_name(name)
        if is_open is not None:
            project.is_open = is_open
        project.save(update_fields=["name", "is_open"])
        if members is not None:
            project.members.set(find_members(members))
    return project


def find_members(text: str) -> list[Any]:
    """The people of these user names. Raises ``ProjectRefused`` for one that nobody has."""
    names = set(text.replace(",", " ").split())
    users = list(get_user_model()._default_manager.filter(username__in=names))
    missing = names - {user.get_username() for user in users}
    if missing:
        raise ProjectRefused(
            "member",
            _("Nobody here is called '%(name)s': check the user names of the members.")
            % {"name": min(missing)[:150]},
        )
    return users


def uses(project: Project) -> dict[str, int]:
    """What was done with a project, by the plural name of the table: it keeps the project from deletion."""
    found = {}
    for relation in Project._meta.related_objects:
        table: type[Model] = relation.related_model
        if relation.on_delete is not PROTECT or str(table._meta.verbose_name_plural) in NOT_COUNTED:
            continue
        count = table._base_manager.filter(**{relation.field.name: project}).count()
        if count:
            found[str(table._meta.verbose_name_plural)] = count
    return found


def delete(project: Project, *, confirmed: str = "") -> int:
    """Delete a project that has no models, jobs or photos, with its classes and images.

    One that has stays: answers name the model that gave them, and the history of promotions cannot be
    changed. It can be closed to everybody instead. Running imports are cancelled. The files go after the
    rows, the last of them with the sweeper; until then no project can be called so.

    Args:
        confirmed: its slug, typed by the person.

    Returns:
        How many images went with it.

    Raises:
        ProjectRefused: it is in use, or was not confirmed; the sentence says what goes with it.
    """
    classes.refuse_fixed(project)
    used = uses(project)
    if used:
        raise ProjectRefused(
            "in_use",
            _(
                "This project is in use and cannot be deleted (%(uses)s), since answers must be traceable to "
                "their model. Close it to everybody but its members instead."
            )
            % {"uses": ", ".join(f"{name}: {count}" for name, count in used.items())},
        )
    if confirmed.strip() != project.pk:
        raise ProjectRefused(
            "not_confirmed",
            _(
                "With this project everything in it goes for good (classes: %(classes)d, images: "
                "%(images)d). Type '%(slug)s' to delete it."
            )
            % {
                "classes": project.classes.count(),
                "images": images.total(project),
                "slug": project.pk,
            },
        )
    slug = project.pk
    with transaction.atomic():
        classes.hold(project)
        archives = ProjectImport.objects.filter(project=project).values_list("archive", "labels")
        names = [name for pair in archives for name in pair if name]
        # Nobody of a group of images is left to inherit, and no class to be counted.
        rows = project.images.order_by()
        removed = rows._raw_delete(rows.db)
        project.imports.all().delete()
        ProjectClass.objects.filter(project=project).delete()
        project.delete()
        removals.remove_later([*names, removals.folder_of(slug)])
    return removed
