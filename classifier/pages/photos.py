"""The pages that a person sees; each view calls the function that does the work."""

from __future__ import annotations

from typing import Any, BinaryIO, cast
from uuid import UUID

from django.conf import settings
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse, HttpResponseBase, JsonResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.templatetags.static import static
from django.urls import reverse
from django.utils.translation import check_for_language
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_http_methods, require_POST, require_safe
from django.views.i18n import set_language

from cifarsite.core.pages import STOP_POLLING, next_page
from classifier.accounts import audit, rate_limits
from classifier.images.errors import ImageRefused
from classifier.images.formats import ACCEPT, FORMAT_NAMES, limits_by_format
from classifier.models import Photo
from classifier.pages.batches import STATUS_OF, SignedInRequest
from classifier.pages.history import say_deleted
from classifier.pages.predictions import why_context
from classifier.photos import projects
from classifier.photos.access import find_photo, photos_seen_by, serve
from classifier.photos.history import delete_photos, history, neighbours, restore_photos
from classifier.uploads.photos import upload_photo
from training import workers
from training.models import DEFAULT_PROJECT
from training.registry import model_store

RECENT = 6


@require_http_methods(["GET", "HEAD", "POST"])
def upload(request: HttpRequest) -> HttpResponse:
    """What this is, for strangers; the upload page for people who are signed in."""
    if request.method == "POST":
        return upload_many(cast("SignedInRequest", request))
    if not request.user.is_authenticated:
        return render(request, "classifier/uploads/landing.html", {"formats": FORMAT_NAMES})
    request = cast("SignedInRequest", request)
    context = {"recent": history(request.user)[:RECENT], **upload_context(request)}
    return render(request, "classifier/uploads/upload.html", context)


@login_required
def upload_many(request: SignedInRequest) -> HttpResponse:
    """Take the files, and say what became of each."""
    files = request.FILES.getlist("file")
    if wait := rate_limits.seconds_to_wait(request, max(1, len(files))):
        return upload_later(request, wait)
    accepted, refused = take_files(request, files)
    if not accepted and not refused:
        refused.append({"filename": "", "code": "empty", "detail": _("Choose one or more photos first.")})
    status = 201 if accepted else STATUS_OF.get(refused[0]["code"], 400)
    if request.accepts("application/json") and not request.accepts("text/html"):
        return JsonResponse(upload_answer(accepted, refused), status=status)
    if len(accepted) == 1 and not refused:
        return redirect(accepted[0])
    context = {"accepted": accepted, "refused": refused, **upload_context(request)}
    response = render(
        request, "classifier/uploads/uploaded.html", context, status=200 if accepted else status
    )
    if status == 503:
        response.headers["Retry-After"] = "60"
    return response


def take_files(request: SignedInRequest, files: list[Any]) -> tuple[list[Photo], list[dict[str, Any]]]:
    """Each by itself, so that a refused one does not stop the others: the photos, and the refusals."""
    accepted: list[Photo] = []
    refused: list[dict[str, Any]] = []
    try:
        project = projects.project_for_upload(request.user, request.POST.get("project", ""))
    except projects.NoModel as refusal:
        return [], [{"filename": "", "code": refusal.code, "detail": str(refusal)}]
    projects.remember(request, project)
    for file in files:
        try:
            accepted.append(upload_photo(request.user, cast("BinaryIO", file), project=project.pk))
        except ImageRefused as error:
            audit.record_refusal("upload_refused", by=request.user, detail=error.code, request=request)
            refused.append({"filename": file.name, "code": error.code, "detail": error.detail})
    return accepted, refused


def upload_later(request: HttpRequest, seconds: int) -> HttpResponse:
    """Nothing of this is taken now. The script sends it again by itself; without it a reload does."""
    sentence = (
        _("You send photos faster than the site accepts them.") + " " + rate_limits.wait_in_words(seconds)
    )
    refusal = {"filename": "", "code": "rate", "detail": sentence}
    if request.accepts("application/json") and not request.accepts("text/html"):
        response: HttpResponse = JsonResponse(upload_answer([], [refusal]), status=429)
    else:
        response = render(request, "classifier/uploads/upload_later.html", {"sentence": sentence}, status=429)
    response.headers["Retry-After"] = str(seconds)
    return response


def upload_answer(accepted: list[Photo], refused: list[dict[str, Any]]) -> dict[str, Any]:
    """What the upload page's script reads; it sends one file a request."""
    photo = accepted[0] if accepted else None
    return {
        "photo": photo
        and {
            "id": photo.pk,
            "url": photo.get_absolute_url(),
            "thumbnail_url": reverse("classifier:photo-thumbnail", args=[photo.pk]),
            "status_url": reverse("classifier:photo-status", args=[photo.pk]),
        },
        "error": refused[0] if refused else None,
    }


def upload_context(request: SignedInRequest) -> dict[str, Any]:
    choices = list(projects.uploadable(request.user))
    project = projects.last_chosen(request, choices)
    return {
        "projects": choices,
        "project": project,
        "limit_mb": settings.UPLOAD_MAX_MB,
        "limits_by_format": limits_by_format(settings.UPLOAD_MAX_MEGAPIXELS),
        "accept": ACCEPT,
        **worker_context(project.pk if project else DEFAULT_PROJECT),
    }


def worker_context(project: str) -> dict[str, Any]:
    """Is there somebody who answers for this project?"""
    alive = workers.is_alive("predict")
    return {
        "worker_alive": alive,
        "worker_seen": None if alive else workers.last_seen("predict"),
        "champion": model_store.champion(project),
    }


@login_required
@require_safe
@never_cache
def photo(request: SignedInRequest, pk: UUID) -> HttpResponse:
    """A photo beside what the model saw, and the answer."""
    found = find_photo(request, pk)
    prediction = found.prediction
    prediction.owner = found.owner
    newer, older = neighbours(prediction) if found.owner == request.user else (None, None)
    context = {"photo": found, "prediction": prediction, "newer": newer, "older": older}
    context |= worker_context(found.project_id)
    context |= why_context(prediction)
    return render(request, "classifier/photos/photo.html", context)


@login_required
@require_safe
@never_cache
def photo_status(request: SignedInRequest, pk: UUID) -> HttpResponse:
    """The answer alone, as the result page asks for it until it is there.

    204 where nothing changed since ``state``, so that nothing is drawn or read out again.
    """
    found = find_photo(request, pk)
    prediction = found.prediction
    context = {"photo": found, "prediction": prediction, "fragment": True}
    context |= worker_context(found.project_id)
    context |= why_context(prediction)
    state = f"{prediction.status}-{'alive' if context['worker_alive'] else 'alone'}"
    if not prediction.is_over and request.GET.get("state") == state:
        return HttpResponse(status=204)
    template = (
        "classifier/photos/_short_answer.html" if "short" in request.GET else "classifier/photos/_answer.html"
    )
    return render(request, template, context, status=STOP_POLLING if prediction.is_over else 200)


@login_required
@require_safe
def photo_file(request: SignedInRequest, pk: UUID, kind: str) -> HttpResponseBase:
    """The display copy or the thumbnail."""
    found = find_photo(request, pk)
    return serve(
        request,
        found,
        getattr(found, kind),
        filename=found.filename,
        version=f"{found.pixel_sha256}-{kind}",
        max_age=3600,
    )


@login_required
@require_safe
def photo_input(request: SignedInRequest, pk: UUID) -> HttpResponseBase:
    """What the model saw, to the pixel."""
    found = find_photo(request, pk)
    prediction = found.prediction
    name = f"{found.filename}-input"
    return serve(request, found, prediction.input, filename=name, version=prediction.input_sha256, max_age=0)


@login_required
@require_POST
def photo_delete(request: SignedInRequest, pk: UUID) -> HttpResponse:
    if not delete_photos(request.user, [pk]):
        get_object_or_404(photos_seen_by(request.user), pk=pk, owner=request.user)
    audit.record("photos_deleted", by=request.user, detail="1", request=request)
    say_deleted(request, 1, f"undo:{pk}")
    return redirect(next_page(request, "classifier:history"))


@login_required
@require_POST
def photo_restore(request: SignedInRequest, pk: UUID) -> HttpResponse:
    if not restore_photos(request.user, [pk]):
        get_object_or_404(photos_seen_by(request.user), pk=pk, owner=request.user)
    return redirect("classifier:photo", pk)


@require_POST
def language(request: HttpRequest) -> HttpResponseBase:
    """Choose a language: for this browser, and for the account of whoever is signed in."""
    code = request.POST.get("language", "")
    if request.user.is_authenticated and code in dict(settings.LANGUAGES) and check_for_language(code):
        request.user.language = code
        request.user.save(update_fields=["language"])
    return set_language(request)


@require_GET
def manifest(request: HttpRequest) -> JsonResponse:
    """Lets a phone put the site on its home screen."""
    icons = [
        {"src": static(f"brand/icon-{size}.png"), "sizes": f"{size}x{size}", "type": "image/png"}
        for size in (192, 512)
    ]
    icons.append({**icons[1], "purpose": "maskable"})
    content = {
        "name": "cifarsite",
        "short_name": "cifarsite",
        "description": _("Upload a photo to find out which of ten things it shows."),
        "start_url": "/",
        "display": "standalone",
        "background_color": "#f6f4ee",
        "theme_color": "#f6f4ee",
        "icons": icons,
    }
    return JsonResponse(content, content_type="application/manifest+json")
