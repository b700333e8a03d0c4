"""Pages on which staff bring labelled images into a project, and follow that."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID

from django.conf import settings
from django.contrib import messages
from django.db.models import Exists, OuterRef
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from cifarsite.core.pages import STOP_POLLING, next_page
from classifier.accounts import audit
from classifier.feedback.training_photos import usable
from classifier.images.formats import ACCEPT
from classifier.models import Batch, BatchItem, User
from classifier.pages.batches import STATUS_OF
from classifier.uploads import project_imports
from classifier.uploads.errors import Rejected
from training import workers
from training.models import Project, ProjectImport
from training.pages.visible import trainers_only
from training.projects import images
from training.projects.refusals import ProjectRefused

BATCHES_OFFERED = 20
ERRORS_SHOWN = 100


@trainers_only
@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def import_page(request: HttpRequest, project: Project) -> HttpResponse:
    """The three ways in: an archive, one of one's own batches, accepted corrections."""
    assert isinstance(request.user, User)
    if request.method == "POST":
        try:
            row = _begin(request, project, request.user)
        except (ProjectRefused, Rejected) as refusal:
            audit.record_refusal("upload_refused", by=request.user, detail=refusal.code, request=request)
            context = _ways(request.user, project) | {"refusal": refusal.detail}
            status = STATUS_OF.get(refusal.code, 400)
            return render(request, "training/projects/import.html", context, status=status)
        return redirect("classifier:project-import", project.pk, row.pk)
    return render(request, "training/projects/import.html", _ways(request.user, project))


def _begin(request: HttpRequest, project: Project, person: User) -> ProjectImport:
    by: dict[str, Callable[[], ProjectImport]] = {
        "batch": lambda: project_imports.import_batch(project, _own_batch(request, person), by=person),
        "corrections": lambda: project_imports.import_corrections(project, by=person),
    }
    if way := by.get(request.POST.get("way", "")):
        return way()
    archive, labels = request.FILES.get("archive"), request.FILES.get("labels")
    if archive is None:
        raise ProjectRefused("archive_missing", _("Choose a ZIP archive first."))
    return project_imports.import_archive(
        project, archive, filename=archive.name or "", by=person, labels=labels
    )


def _own_batch(request: HttpRequest, person: User) -> Batch:
    try:
        pk = UUID(request.POST.get("batch", ""))
    except ValueError:
        raise ProjectRefused("batch", _("Choose one of your batches first.")) from None
    return get_object_or_404(Batch, pk=pk, owner=person)


def _ways(person: User, project: Project) -> dict[str, Any]:
    labelled = BatchItem.objects.filter(batch=OuterRef("pk")).exclude(truth="").exclude(photo=None)
    done = Batch.objects.filter(Exists(labelled), owner=person, state=Batch.State.DONE)
    return {
        "project": project,
        "batches": done[:BATCHES_OFFERED],
        "corrections": usable(project.pk).count(),
        "accept": ACCEPT,
        "limit_mb": settings.BATCH_MAX_MB,
        "limit_files": settings.BATCH_MAX_FILES,
    }


@trainers_only
@never_cache
@require_safe
def import_progress(request: HttpRequest, project: Project, pk: UUID, template: str) -> HttpResponse:
    """How far an import is; the fragment of the page answers 286 once it is over."""
    row = get_object_or_404(project.imports.select_related("requested_by"), pk=pk)
    context = progress_context(row)
    is_fragment = template.startswith("training/projects/_")
    response = render(request, template, context, status=STOP_POLLING if is_fragment and row.is_over else 200)
    if is_fragment and row.is_over:
        response.headers["HX-Refresh"] = "true"
    return response


def progress_context(row: ProjectImport) -> dict[str, Any]:
    return {
        "row": row,
        "project": row.project,
        "percent": 100 * row.cursor / row.total if row.total else 100.0,
        "shown_errors": row.errors[:ERRORS_SHOWN],
        "warnings": images.warnings(row.project) if row.is_over else [],
        "worker_alive": workers.is_alive("batch"),
        "worker_seen": workers.last_seen("batch"),
    }


@trainers_only
@require_POST
def import_cancel(request: HttpRequest, project: Project, pk: UUID) -> HttpResponse:
    """Stop it and remove what it added."""
    row = get_object_or_404(project.imports, pk=pk)
    if project_imports.cancel(row):
        messages.success(request, _("The import is cancelled; nothing of it is kept."))
    else:
        messages.warning(request, _("This import has already finished and cannot be cancelled."))
    return redirect(next_page(request, reverse("classifier:project-import", args=[project.pk, row.pk])))
