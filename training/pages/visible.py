"""What of the projects a person may see and change: others' rows are not there for them."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import get_object_or_404, redirect
from django.utils.translation import gettext as _

from cifarsite.core.pages import View, next_page, staff_only
from training.models import ModelVersion, Project, TrainingJob
from training.projects.access import get_project, may_train, visible_projects
from training.projects.refusals import ProjectRefused


def refuse_others(request: HttpRequest) -> None:
    """Raises PermissionDenied for whoever may not train."""
    if not may_train(request.user):
        raise PermissionDenied(_("This is for staff of the group 'trainers'."))


def trainers_change(view: View) -> View:
    """Staff see the page; those who train, promote and roll back post to it."""

    @staff_only
    @wraps(view)
    def checked(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        if request.method == "POST":
            refuse_others(request)
        return view(request, *args, **kwargs)

    return checked


def find_model(request: HttpRequest, pk: int) -> ModelVersion:
    """Raises Http404 where there is none that this person may see."""
    # A dataset's manifest may be long, and no page shows it.
    rows = ModelVersion.objects.select_related("project", "job", "dataset")
    rows = rows.defer("dataset__manifest", "job__traceback", "job__live")
    return get_object_or_404(rows.filter(project__in=visible_projects(request.user)), pk=pk)


def find_job(request: HttpRequest, pk: int) -> TrainingJob:
    """Raises Http404 where there is none that this person may see."""
    rows = TrainingJob.objects.select_related("project", "dataset", "requested_by")
    rows = rows.defer("dataset__manifest").filter(project__in=visible_projects(request.user))
    return get_object_or_404(rows, pk=pk)


def chosen_project(request: HttpRequest) -> Project | None:
    """The project that the address or the form names; None: none is named.

    Raises:
        Http404: there is none that this person may see.
    """
    asked = request.POST if request.method == "POST" else request.GET
    slug = asked.get("project", "")
    return get_project(request.user, slug) if slug else None


def shown_projects(request: HttpRequest, project: Project | None) -> QuerySet[Project]:
    """The chosen project, or all that the person may see; for an ``__in``."""
    rows = visible_projects(request.user)
    return rows.filter(pk=project.pk) if project else rows


def project_context(request: HttpRequest, project: Project | None) -> dict[str, Any]:
    """What the filter by project shows."""
    return {"project": project, "projects": list(visible_projects(request.user).only("slug", "name"))}


def trainers_only(view: View) -> View:
    """For staff who may change projects, with the project instead of its slug; 404 where they see none."""

    @staff_only
    @wraps(view)
    def checked(request: HttpRequest, slug: str, *args: Any, **kwargs: Any) -> HttpResponseBase:
        refuse_others(request)
        return view(request, get_project(request.user, slug), *args, **kwargs)

    return checked


def carry_out(
    request: HttpRequest,
    project: Project,
    change: Callable[[], Any],
    said: Callable[[Any], str],
    url: str = "",
) -> HttpResponse:
    """Make a change and say so, or say why not; then back to where the form was."""
    try:
        came_of_it = change()
    except ProjectRefused as refusal:
        messages.error(request, str(refusal.detail))
    else:
        messages.success(request, said(came_of_it))
        if url:
            return redirect(url)
    return redirect(next_page(request, project.get_absolute_url()))
