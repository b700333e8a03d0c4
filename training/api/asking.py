"""Who asks, for which project, and which page: what the routers share."""

from __future__ import annotations

from typing import Any, cast

from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext as _

from cifarsite.core.api_problems import Caller, Problem
from training.models import ModelVersion
from training.projects import access
from training.projects.access import may_train, visible_projects

PAGE_SIZE = 50


def caller(request: HttpRequest) -> Caller:
    """Who asks; set by the API's authentication."""
    return cast(Caller, request.auth)  # type: ignore[attr-defined]


def trainer(request: HttpRequest) -> Any:
    """The person, if they may train, promote and roll back; a 403 otherwise."""
    person = caller(request).needs("train", staff=True)
    if not may_train(person):
        raise Problem(403, "staff_only", _("This is for staff of the group 'trainers'."))
    return person


def find_project(person: Any, slug: str) -> str:
    """The slug of a project that this person may see; 404 where there is none."""
    if access.find_project(person, slug) is None:
        raise Problem(404, "not_found", _("There is no project '%(project)s'.") % {"project": slug})
    return slug


def projects_of(person: Any, slug: str) -> Any:
    """The project of that slug, or all that this person may see; for an ``__in``."""
    return [find_project(person, slug)] if slug else visible_projects(person).values("pk")


def find_model(person: Any, model_id: int) -> ModelVersion:
    version = ModelVersion.objects.filter(pk=model_id, project__in=visible_projects(person)).first()
    if version is None:
        raise Problem(404, "not_found", _("There is no such model."))
    return version


def page_of(member: str, rows: QuerySet[Any], cursor: str) -> dict[str, Any]:
    """The page of rows, newest first, that follows the row that ``cursor`` names."""
    if cursor:
        if not (cursor.isascii() and cursor.isdecimal()):
            raise Problem(400, "bad_cursor", _("This cursor is damaged: begin with the first page."))
        rows = rows.filter(pk__lt=int(cursor))
    found = list(rows.order_by("-pk")[: PAGE_SIZE + 1])
    more = len(found) > PAGE_SIZE
    return {member: found[:PAGE_SIZE], "next_cursor": str(found[PAGE_SIZE - 1].pk) if more else None}
