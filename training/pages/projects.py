"""The pages of projects: all of them, one with its classes and images, and what staff change there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.db.models import Count, OuterRef, QuerySet, Subquery, Sum
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from cifarsite.core import audit
from cifarsite.core.pages import whole_number
from training.models import DEFAULT_PROJECT, ModelVersion, Project, ProjectClass, TrainingJob
from training.pages.project_images import tiles
from training.pages.visible import carry_out, refuse_others, trainers_only
from training.projects import classes, images, lifecycle
from training.projects.access import get_project, may_train, visible_projects
from training.projects.refusals import ProjectRefused

PROJECTS_SHOWN = 200
ROWS_SHOWN = 5

View = Callable[..., HttpResponseBase]


@login_required
@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def projects_page(request: HttpRequest) -> HttpResponse:
    """The projects that a person may see; staff make another one here."""
    refusal, given = None, request.POST
    if request.method == "POST":
        refuse_others(request)
        names = [line for line in given.get("classes", "").splitlines() if line.strip()]
        try:
            project = lifecycle.create(
                given.get("name", ""), slug=given.get("slug", ""), class_names=names, by=request.user
            )
        except ProjectRefused as error:
            refusal = error
        else:
            audit.record("project_created", by=request.user, detail=project.pk)
            messages.success(request, _("Project '%(name)s' is ready.") % {"name": project})
            return redirect(project)
    context = {
        "rows": _rows(request.user),
        "refusal": refusal,
        "given": given,
        "may": may_train(request.user),
    }
    status = 409 if refusal and refusal.code == "slug_taken" else 400 if refusal else 200
    return render(request, "training/projects/projects.html", context, status=status)


def _rows(user: Any) -> QuerySet[Project]:
    def of_classes(what: Count | Sum) -> Subquery:
        rows = ProjectClass.objects.filter(project=OuterRef("pk")).order_by().values("project")
        return Subquery(rows.annotate(n=what).values("n"))

    live = ModelVersion.objects.filter(project=OuterRef("pk"), is_champion=True)
    rows = visible_projects(user).annotate(
        class_count=of_classes(Count("*")),
        image_count=of_classes(Sum("image_count")),
        champion_id=Subquery(live.values("pk")[:1]),
        champion_name=Subquery(live.values("name")[:1]),
    )
    return rows[:PROJECTS_SHOWN]


@login_required
@never_cache
@require_safe
def project_page(request: HttpRequest, slug: str) -> HttpResponse:
    """One project. Images are private to those whose photos they may be: staff alone see them."""
    project = get_project(request.user, slug)
    rows = list(project.classes.all())
    found = {row.pk: row.image_count for row in rows}
    context = {
        "project": project,
        "classes": rows,
        "class_counts": class_counts(rows, found),
        "image_count": sum(found.values()),
        "is_fixed": project.pk == DEFAULT_PROJECT,
        "champion": project.models.filter(is_champion=True).defer("card").first(),
        "may": may_train(request.user),
    }
    if not request.user.is_staff:
        return render(request, "training/projects/project_open.html", context)
    if not context["is_fixed"]:
        context |= tiles(request, project, rows, found)
        context["warnings"] = images.warnings(project, found, rows)
        by_name = {row.name: found.get(row.pk, 0) for row in rows}
        context["missing"] = images.missing_for_training(project.pk, by_name)
        context["imports"] = list(project.imports.select_related("requested_by").defer("errors")[:ROWS_SHOWN])
    context["models"] = project.models.defer("card")[:ROWS_SHOWN]
    context["jobs"] = TrainingJob.objects.filter(project=project).defer("traceback", "live")[:ROWS_SHOWN]
    context["members"] = project.members.order_by("username")
    return render(request, "training/projects/project.html", context)


def class_counts(rows: list[ProjectClass], found: dict[int, int]) -> list[tuple[ProjectClass, int, float]]:
    """(class, images, percent of the largest class) of each."""
    most = max(found.values(), default=0) or 1
    return [(row, n, 100 * n / most) for row in rows for n in (found.get(row.pk, 0),)]


@trainers_only
@require_POST
def project_change(request: HttpRequest, project: Project) -> HttpResponse:
    """Rename, open or close it, name its members."""
    form = request.POST
    said = _("The project is changed.")
    return carry_out(
        request,
        project,
        lambda: lifecycle.change(
            project,
            name=form.get("name", ""),
            is_open="is_open" in form or project.pk == DEFAULT_PROJECT,
            members=form.get("members", ""),
        ),
        lambda _project: said,
    )


@trainers_only
@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def project_delete(request: HttpRequest, project: Project) -> HttpResponse:
    """What goes with it, and the field to type its slug into."""
    refusal = None
    if request.method == "POST":
        slug = project.pk
        try:
            count = lifecycle.delete(project, confirmed=request.POST.get("confirmed", ""))
        except ProjectRefused as error:
            refusal = error
        else:
            audit.record("project_deleted", by=request.user, detail=f"{slug}: {count} images")
            messages.success(request, _("The project and its images are deleted."))
            return redirect("training:projects")
    context = {
        "project": project,
        "refusal": refusal,
        "uses": lifecycle.uses(project),
        "class_count": project.classes.count(),
        "image_count": images.total(project),
    }
    return render(request, "training/projects/delete.html", context, status=400 if refusal else 200)


@trainers_only
@require_POST
def classes_change(request: HttpRequest, project: Project) -> HttpResponse:
    """Add classes, a line each, or sort all by name."""
    if request.POST.get("act") == "sort":
        return carry_out(
            request, project, lambda: classes.sort_by_name(project), lambda _n: _("Sorted by name.")
        )
    names = [line for line in request.POST.get("names", "").splitlines() if line.strip()]
    return carry_out(
        request,
        project,
        lambda: classes.add(project, names or [""]),
        lambda rows: ngettext("%(n)d class added.", "%(n)d classes added.", len(rows)) % {"n": len(rows)},
    )


@trainers_only
@require_POST
def class_change(request: HttpRequest, project: Project, pk: int) -> HttpResponse:
    """Rename a class, merge it into another, move it, or delete it."""
    row = get_object_or_404(project.classes.select_related("project"), pk=pk)
    form, act = request.POST, request.POST.get("act")
    if act == "rename":
        return carry_out(
            request, project, lambda: classes.rename(row, form.get("name", "")), lambda _r: _("Renamed.")
        )
    if act in ("up", "down"):
        by = -1 if act == "up" else 1
        return carry_out(request, project, lambda: classes.move(row, by), lambda _n: _("Moved."))
    if act == "merge":
        into = get_object_or_404(project.classes, pk=whole_number(form.get("into", "")) or 0)
        said = _("'%(name)s' is now part of '%(into)s'.") % {"name": row, "into": into}
        url = f"{project.get_absolute_url()}?class={into.pk}"
        return carry_out(request, project, lambda: classes.merge(row, into), lambda _n: said, url)
    said = _("Class '%(name)s' is deleted.") % {"name": row}
    url = project.get_absolute_url()
    delete = lambda: classes.delete(row, confirmed=form.get("confirmed", ""))  # noqa: E731
    return carry_out(request, project, delete, lambda _n: said, url)
