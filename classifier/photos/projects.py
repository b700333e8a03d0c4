"""The projects of a person: those to upload to, and those that their photos are in."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.db.models import Exists, OuterRef, Q, QuerySet
from django.http import Http404
from django.utils.translation import gettext_lazy as _

from classifier.models import User
from classifier.photos import daily_counts
from training.models import DEFAULT_PROJECT, ModelVersion, Project, ProjectClass
from training.projects.access import get_project, is_slug, visible_projects

# Of the choices of a filter: a page stays a page.
CLASSES_SHOWN = 2_000
# Where the project that a person chose last is kept in their session.
LAST = "project"


class NoModel(Exception):
    """Nothing answers for this project yet; the message says what to do."""

    code = "no_model"


def uploadable(user: User) -> QuerySet[Project]:
    """The projects that a person may see and that have a model which answers.

    The default one counts in any case: where its model is not installed yet, photos wait for it.
    """
    live = ModelVersion.objects.filter(project=OuterRef("pk"), is_champion=True)
    return visible_projects(user).filter(Q(Exists(live)) | Q(pk=DEFAULT_PROJECT)).order_by("name", "slug")


def project_for_upload(user: User, slug: str = "") -> Project:
    """The project named ``slug``, the default one where none is named.

    Raises:
        Http404: there is none that this person may see.
        NoModel: it takes no photos yet.
    """
    project = get_project(user, slug)
    refuse_without_model(project)
    return project


def refuse_without_model(project: Project) -> None:
    """Raises ``NoModel`` where nothing answers for a project of one's own."""
    if project.pk != DEFAULT_PROJECT and not project.models.filter(is_champion=True).exists():
        raise NoModel(
            _(
                "The project '%(project)s' has no model yet, so it cannot classify photos. "
                "Ask its staff to train a model and promote it."
            )
            % {"project": project.name}
        )


def known(user: User) -> QuerySet[Project]:
    """What a person may filter by: projects that they see, and those that their photos are in."""
    seen = visible_projects(user).values("pk")
    return Project.objects.filter(Q(pk__in=seen) | Q(pk__in=daily_counts.projects(user))).order_by(
        "name", "slug"
    )


def find_known(user: User, slug: str) -> Project:
    """Raises ``Http404`` where it is none that ``known`` holds."""
    project = known(user).filter(pk=slug).first() if is_slug(slug) else None
    if project is None:
        raise Http404
    return project


def labels_known(slugs: list[str]) -> list[str]:
    """The names of classes of these projects, today's and those of the models that answer."""
    today = ProjectClass.objects.filter(project__in=slugs).order_by("project_id", "position", "id")
    names = dict.fromkeys(today.values_list("name", flat=True)[:CLASSES_SHOWN])
    live = ModelVersion.objects.filter(project__in=slugs, is_champion=True).order_by("pk")
    for classes in live.values_list("classes", flat=True):
        names |= dict.fromkeys(classes)
    return list(names)


def classes_by_project(slugs: Iterable[str]) -> dict[str, list[str]]:
    """The names of the classes of each of these projects today, in order; one query."""
    found: dict[str, list[str]] = {slug: [] for slug in slugs}
    rows = ProjectClass.objects.filter(project__in=found).order_by("position", "id")
    for slug, name in rows.values_list("project_id", "name"):
        found[slug].append(name)
    return found


def last_chosen(request: Any, choices: list[Project]) -> Project | None:
    """What is offered first: the project of the address, the one chosen last, or the first of ``choices``."""
    wanted = [request.GET.get("project", ""), request.session.get(LAST, ""), DEFAULT_PROJECT]
    by_slug = {project.pk: project for project in choices}
    return next((by_slug[slug] for slug in wanted if slug in by_slug), choices[0] if choices else None)


def remember(request: Any, project: Project) -> None:
    """The next upload page offers this project first."""
    if request.session.get(LAST, DEFAULT_PROJECT) != project.pk:
        request.session[LAST] = project.pk
