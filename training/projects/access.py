"""Who may see a project, and what staff may do.

A project that is open is everybody's; another one its members' and staff's. Staff in none of the three
groups may do everything, as superusers may; whoever is in one of them may do what their groups say.
"""

from __future__ import annotations

import re
from typing import Any

from django.apps import AppConfig
from django.contrib.auth.models import AnonymousUser, Group
from django.db.models import Q, QuerySet
from django.http import Http404

from training.models import DEFAULT_PROJECT, Project, ProjectClass
from training.models.projects import SLUG

# What each group does: say what is in people's photos; projects, training and promotion; the site itself.
REVIEWERS, TRAINERS, OPERATORS = "reviewers", "trainers", "operators"
ROLES = (REVIEWERS, TRAINERS, OPERATORS)


def make_groups(sender: AppConfig, using: str, apps: Any = None, **_: Any) -> None:
    """Make the groups that are missing, at the end of ``migrate``."""
    try:
        groups = (apps.get_model("auth", "Group") if apps else Group).objects.using(using)
    except LookupError:  # an earlier state of the tables
        return
    for name in ROLES:
        groups.get_or_create(name=name)


def may_review(user: Any) -> bool:
    """Accept and reject what people say about their photos."""
    return _has_role(user, REVIEWERS)


def may_train(user: Any) -> bool:
    """Change projects, their classes and images; train, promote, roll back."""
    return _has_role(user, TRAINERS)


def may_operate(user: Any) -> bool:
    """See how the site is, reclassify, look at drift."""
    return _has_role(user, OPERATORS)


def _has_role(user: Any, role: str) -> bool:
    if not (user.is_active and user.is_staff):
        return False
    if user.is_superuser:
        return True
    if not hasattr(user, "_roles"):  # once a request
        user._roles = set(user.groups.filter(name__in=ROLES).values_list("name", flat=True))
    return role in user._roles or not user._roles


def visible_projects(user: Any) -> QuerySet[Project]:
    """The projects that a person may see and upload to, the default one first."""
    if isinstance(user, AnonymousUser) or not user.is_authenticated:
        return Project.objects.none()
    if user.is_staff:
        return Project.objects.all()
    # A subquery and no join: no row comes twice.
    own = Project.members.through.objects.filter(user=user).values("project")
    return Project.objects.filter(Q(is_open=True) | Q(pk__in=own))


def find_project(user: Any, slug: str) -> Project | None:
    """The project named ``slug``, where there is one that this person may see."""
    # What is no slug is asked of no database: PostgreSQL takes no NUL.
    return visible_projects(user).filter(pk=slug).first() if is_slug(slug) else None


def is_slug(text: str) -> bool:
    return re.match(SLUG, text) is not None


def get_project(user: Any, slug: str = "") -> Project:
    """The project named ``slug``, CIFAR-10's where none is named.

    Raises:
        Http404: there is none that this person may see.
    """
    project = find_project(user, slug or DEFAULT_PROJECT)
    if project is None:
        raise Http404
    return project


def class_names(project: Project | str) -> list[str]:
    """The names of a project's classes today, in order. A model's own stand in ``ModelVersion.classes``."""
    slug = project if isinstance(project, str) else project.pk
    rows = ProjectClass.objects.filter(project=slug).order_by("position", "id")
    return list(rows.values_list("name", flat=True))
