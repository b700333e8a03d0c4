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

from classifier import audit, rates
from classifier.answer_views import why_context
from classifier.batch_views import SignedInRequest
from classifier.history import delete_photos, history, neighbours, restore_photos
from classifier.history_views import next_page, say_deleted
from classifier.image_refusals import ImageRefused
from classifier.media import photos_seen_by, serve
from classifier.models import Photo
from classifier.readiness import missing_parts
from classifier.uploads import upload_photo
from training import leases, model_store

# htmx stops to ask when it is answered with this.
STOP_POLLING = 286
STATUS_OF = {
    "too_large": 413,
    "too_many_pixels": 413,
    "quota": 413,
    "rate": 429,
    "busy": 503,
    "storage_full": 507,
}
RECENT = 6


@require_http_methods(["GET", "HEAD", "POST"])
def upload(request: HttpRequest) -> HttpResponse:
    """What this is, for strangers; the upload page for people who are signed in."""
    if request.method == "POST":
        return upload_many(cast("SignedInRequest", request))
    if not request.user.is_authenticated:
        return render(request, "classifier/landing.html")
    context = {"recent": history(request.user)[:RECENT], **upload_context()}
    return render(request, "classifier/upload.html", context)


@login_required
def upload_many(request: SignedInRequest) -> HttpResponse:
    """Take each file by itself, so that a refused one does not stop the others."""
    accepted: list[Photo] = []
    refused: list[dict[str, Any]] = []
    files = request.FILES.getlist("file")
    if wait := rates.seconds_to_wait(request, max(1, len(files))):
        return upload_later(request, wait)
    for file in files:
        try:
            accepted.append(upload_photo(request.user, cast("BinaryIO", file)))
        except ImageRefused as error:
            audit.record_refusal("upload_refused", by=request.user, detail=error.code, request=request)
            refused.append({"filename": file.name, "code": error.code, "detail": error.detail})
    if not accepted and not refused:
        refused.append({"filename": "", "code": "empty", "detail": _("Choose one or more photos first.")})
    status = 201 if accepted else STATUS_OF.get(refused[0]["code"], 400)
    if request.accepts("application/json") and not request.accepts("text/html"):
        return JsonResponse(upload_answer(accepted, refused), status=status)
    if len(accepted) == 1 and not refused:
        return redirect(accepted[0])
    context = {"accepted": accepted, "refused": refused, **upload_context()}
    response = render(request, "classifier/uploaded.html", context, status=200 if accepted else status)
    if status == 503:
        response.headers["Retry-After"] = "60"
    return response


def upload_later(request: HttpRequest, seconds: int) -> HttpResponse:
    """Nothing of this is taken now. The script sends it again by itself; without it a reload does."""
    sentence = _("You send photos faster than the site takes them.") + " " + rates.wait_in_words(seconds)
    refusal = {"filename": "", "code": "rate", "detail": sentence}
    if request.accepts("application/json") and not request.accepts("text/html"):
        response: HttpResponse = JsonResponse(upload_answer([], [refusal]), status=429)
    else:
        response = render(request, "classifier/upload_later.html", {"sentence": sentence}, status=429)
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


def upload_context() -> dict[str, Any]:
    return {
        "limit_mb": settings.UPLOAD_MAX_MB,
        "limit_megapixels": settings.UPLOAD_MAX_MEGAPIXELS,
        **worker_context(),
    }


def worker_context() -> dict[str, Any]:
    """Is there somebody who answers?"""
    alive = leases.is_alive("predict")
    return {
        "worker_alive": alive,
        "worker_seen": None if alive else leases.last_seen("predict"),
        "champion": model_store.champion(),
    }


@login_required
@require_safe
@never_cache
def photo(request: SignedInRequest, pk: UUID) -> HttpResponse:
    """A photo beside what the model saw, and the answer."""
    found = get_object_or_404(photos_seen_by(request.user), pk=pk)
    prediction = found.prediction
    prediction.owner = found.owner
    newer, older = neighbours(prediction) if found.owner == request.user else (None, None)
    context = {"photo": found, "prediction": prediction, "newer": newer, "older": older, **worker_context()}
    context |= why_context(prediction)
    return render(request, "classifier/photo.html", context)


@login_required
@require_safe
@never_cache
def photo_status(request: SignedInRequest, pk: UUID) -> HttpResponse:
    """The answer alone, as the result page asks for it until it is there.

    204 where nothing changed since ``state``, so that nothing is drawn or read out again.
    """
    found = get_object_or_404(photos_seen_by(request.user), pk=pk)
    prediction = found.prediction
    context = {"photo": found, "prediction": prediction, "fragment": True, **worker_context()}
    context |= why_context(prediction)
    state = f"{prediction.status}-{'alive' if context['worker_alive'] else 'alone'}"
    if not prediction.is_over and request.GET.get("state") == state:
        return HttpResponse(status=204)
    template = "classifier/_short_answer.html" if "short" in request.GET else "classifier/_answer.html"
    return render(request, template, context, status=STOP_POLLING if prediction.is_over else 200)


@login_required
@require_safe
def photo_file(request: SignedInRequest, pk: UUID, kind: str) -> HttpResponseBase:
    """The display copy or the thumbnail."""
    found = get_object_or_404(photos_seen_by(request.user), pk=pk)
    return serve(
        request,
        getattr(found, kind),
        filename=found.filename,
        version=f"{found.pixel_sha256}-{kind}",
        max_age=3600,
    )


@login_required
@require_safe
def photo_input(request: SignedInRequest, pk: UUID) -> HttpResponseBase:
    """What the model saw, to the pixel."""
    found = get_object_or_404(photos_seen_by(request.user), pk=pk)
    prediction = found.prediction
    name = f"{found.filename}-input"
    return serve(request, prediction.input, filename=name, version=prediction.input_sha256, max_age=0)


@login_required
@require_POST
def photo_delete(request: SignedInRequest, pk: UUID) -> HttpResponse:
    if not delete_photos(request.user, [pk]):
        get_object_or_404(photos_seen_by(request.user), pk=pk, owner=request.user)
    audit.record("photos_deleted", by=request.user, detail="1", request=request)
    say_deleted(request, 1, f"undo:{pk}")
    return redirect(next_page(request))


@login_required
@require_POST
def photo_restore(request: SignedInRequest, pk: UUID) -> HttpResponse:
    if not restore_photos(request.user, [pk]):
        get_object_or_404(photos_seen_by(request.user), pk=pk, owner=request.user)
    return redirect("classifier:photo", pk)


@login_required
@require_safe
@never_cache
def account(request: SignedInRequest) -> HttpResponse:
    return render(request, "classifier/account.html")


@require_POST
def language(request: HttpRequest) -> HttpResponseBase:
    """Choose a language: for this browser, and for the account of whoever is signed in."""
    code = request.POST.get("language", "")
    if request.user.is_authenticated and code in dict(settings.LANGUAGES) and check_for_language(code):
        request.user.language = code
        request.user.save(update_fields=["language"])
    return set_language(request)


@require_safe
def healthz(request: HttpRequest) -> HttpResponse:
    """This process answers."""
    return HttpResponse("ok", content_type="text/plain")


@require_safe
@never_cache
def readyz(request: HttpRequest) -> JsonResponse:
    """The site can do its work: 200, or 503 and what is missing."""
    missing = missing_parts()
    return JsonResponse({"ready": not missing, "missing": missing}, status=503 if missing else 200)


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
        "description": _("Upload a photo and learn which of ten things is in it."),
        "start_url": "/",
        "display": "standalone",
        "background_color": "#f6f4ee",
        "theme_color": "#f6f4ee",
        "icons": icons,
    }
    return JsonResponse(content, content_type="application/manifest+json")
