"""The images on a project's page: show, relabel, move and remove them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.http import FileResponse, Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import get_object_or_404, redirect
from django.utils.cache import get_conditional_response
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST, require_safe

from cifarsite.core.keyset import BadCursor
from cifarsite.core.pages import next_page, staff_only, whole_number
from cifarsite.core.storage import StorageUnavailable
from training.models import Project, ProjectClass, ProjectImage
from training.pages.visible import carry_out, trainers_only
from training.projects import images
from training.projects.access import visible_projects

DOUBTFUL_SHOWN = 60
A_DAY = 86_400


def tiles(
    request: HttpRequest, project: Project, rows: list[ProjectClass], found: dict[int, int]
) -> dict[str, Any]:
    """One page of images of one class, or those whose label is doubtful."""
    if request.GET.get("show") == "doubtful":
        # Their ids first: thousands of whole rows would be sorted for sixty.
        ids = list(images.doubtful(project).order_by().values_list("pk", flat=True)[:DOUBTFUL_SHOWN])
        pairs = ProjectImage.objects.filter(pk__in=ids).select_related("label", "near_duplicate_of__label")
        return {"doubtful": list(pairs.order_by("near_duplicate_of", "pk")), "chosen": None}
    number = whole_number(request.GET.get("class", ""))
    chosen = next((row for row in rows if row.pk == number), rows[0] if rows else None)
    if chosen is None:
        return {"chosen": None}
    split = request.GET.get("split", "")
    shown = ProjectImage.objects.filter(project=project, label=chosen)
    if split in ProjectImage.Split.values:
        shown = shown.filter(split=split)
    try:
        page = images.page(shown, request.GET.get("cursor", ""))
    except BadCursor as error:
        raise Http404 from error
    count = found.get(chosen.pk, 0)
    splits = ProjectImage.Split.choices
    return {"chosen": chosen, "count": count, "page": page, "split": split, "splits": splits}


@trainers_only
@require_POST
def images_change(request: HttpRequest, project: Project) -> HttpResponse:
    """Relabel the chosen images, move them to another split, or remove them."""
    ids = _ids(request)
    form, act = request.POST, request.POST.get("act", "")
    if not ids:
        messages.warning(request, _("Choose images first."))
        return redirect(next_page(request, project.get_absolute_url()))
    if act.startswith("label") or act == "relabel":
        number = whole_number(form.get("label", "") if act == "relabel" else act.removeprefix("label-"))
        into = get_object_or_404(project.classes, pk=number or 0)
        do: Callable[[], Any] = lambda: images.relabel(project, ids, into)  # noqa: E731
        said = _("Images moved to '%(name)s': %(n)d.")
        return carry_out(request, project, do, lambda n: said % {"name": into, "n": n})
    if act == "move":
        move = lambda: images.move(project, ids, form.get("split", ""))  # noqa: E731
        said = _("Images in another split now, with those that look like them: %(n)d.")
        return carry_out(request, project, move, lambda n: said % {"n": n})
    remove = lambda: images.remove(project.images.filter(pk__in=ids))  # noqa: E731
    return carry_out(request, project, remove, lambda n: _("Images removed: %(n)d.") % {"n": n})


def _ids(request: HttpRequest) -> list[UUID]:
    found = []
    for text in request.POST.getlist("ids")[: images.AT_ONCE]:
        try:
            found.append(UUID(text))
        except ValueError:
            continue
    return found


@staff_only
@require_safe
def image_file(request: HttpRequest, slug: str, pk: UUID) -> HttpResponseBase:
    """The image as it is kept. Its content never changes under its id."""
    rows = ProjectImage.objects.filter(project__in=visible_projects(request.user), project=slug)
    image = get_object_or_404(rows, pk=pk)
    etag = f'"{image.sha256[:32]}"'
    response: HttpResponseBase | None = get_conditional_response(request, etag=etag)
    if response is None:
        try:
            response = FileResponse(image.file.open("rb"))
        except StorageUnavailable:
            raise
        except OSError as error:
            raise Http404("The file is missing.") from error
    response.headers["ETag"] = etag
    # Shown to staff: it may be a person's photo, which they may take back.
    response.headers["Cache-Control"] = f"private, max-age={A_DAY if image.photo is None else 0}"
    response.headers["X-Content-Type-Options"] = "nosniff"
    return response
