"""Pages about predictions: reclassify a photo, classify a part of it, show earlier predictions."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpResponse, HttpResponseBase
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from cifarsite.core.storage import StorageUnavailable
from classifier.accounts import rate_limits
from classifier.images.crops import PRESETS, Crop, CropRefused, read_crop, stored_crop
from classifier.images.heatmap import draw
from classifier.models import Explanation, Photo, Prediction
from classifier.pages.batches import SignedInRequest
from classifier.photos.access import find_photo, photos_seen_by, serve
from classifier.predictions.explanation_text import scale
from classifier.predictions.explanations import request_explanation
from classifier.predictions.queue import PredictionLimitReached, ask_again
from training.models import EmbeddingIndex


@login_required
@require_POST
def photo_ask(request: SignedInRequest, pk: UUID) -> HttpResponse:
    """Ask today's model again: about the whole photo, or the part that the form names."""
    photo = get_object_or_404(photos_seen_by(request.user), pk=pk, owner=request.user)
    if wait := rate_limits.seconds_to_wait(request, 1):
        messages.error(request, rate_limits.wait_in_words(wait))
        return redirect(photo)
    try:
        ask_again(photo, posted_crop(request, photo))
    except (CropRefused, PredictionLimitReached) as error:
        messages.error(request, str(error))
    except StorageUnavailable:
        raise
    except (OSError, ValueError):
        messages.error(request, _("The stored photo cannot be read. Upload it again."))
    return redirect(photo)


def posted_crop(request: SignedInRequest, photo: Photo) -> Crop | None:
    """The part that was pressed or typed in, in percent; None where the form names none."""
    preset = PRESETS.get(request.POST.get("preset", ""))
    if preset:
        return read_crop(preset[1], photo, whole=100)
    if "left" in request.POST:
        # A comma, too, may stand before the decimals.
        figures = {name: str(text).replace(",", ".") for name, text in request.POST.items()}
        return read_crop(figures, photo, whole=100)
    return None


@login_required
@require_safe
def photo_earlier_input(request: SignedInRequest, pk: UUID, number: int) -> HttpResponseBase:
    """What the model saw when it gave an earlier answer."""
    photo = find_photo(request, pk)
    prediction = get_object_or_404(photo.predictions, pk=number)
    name = f"{photo.filename}-input"
    return serve(
        request, photo, prediction.input, filename=name, version=prediction.input_sha256, max_age=3600
    )


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
@never_cache
def photo_why(request: SignedInRequest, pk: UUID) -> HttpResponse:
    """POST asks why; GET is the part of the page that tells, as far as it is known.

    204 where nothing changed since ``state``, so that nothing is drawn or read out again.
    """
    photo = find_photo(request, pk)
    prediction = photo.prediction
    if request.method == "POST":
        if photo.owner_id != request.user.pk:
            raise Http404
        wait = rate_limits.seconds_to_wait(request, 1)
        if wait:
            messages.error(request, rate_limits.wait_in_words(wait))
        elif prediction.status == Prediction.Status.DONE:
            request_explanation(prediction)
        if not request.headers.get("HX-Request"):
            return redirect(f"{photo.get_absolute_url()}#why")
    context = {"photo": photo, "prediction": prediction, **why_context(prediction), "fragment": True}
    if request.method == "GET" and request.GET.get("state") == context["why_state"]:
        return HttpResponse(status=204)
    return render(request, "classifier/predictions/_why.html", context)


def why_context(prediction: Prediction) -> dict[str, Any]:
    """What the result page says about the reasons of its answer."""
    rows = Explanation.objects.filter(prediction=prediction).defer("pictures")
    explanation = rows.first() if prediction.status == Prediction.Status.DONE else None
    if explanation is None:
        return {"explanation": None, "why_state": "", "why_goes_on": False}
    index = None
    if explanation.neighbours == Explanation.Neighbours.COLLECTING:
        index = EmbeddingIndex.objects.filter(model=prediction.model_id).first()
    state = f"{explanation.status}-{explanation.neighbours}-{index.done if index else 0}"
    return {
        "explanation": explanation,
        "index": index,
        "why_state": state,
        "why_goes_on": not explanation.is_over or index is not None,
    }


@login_required
@require_safe
def photo_heat(request: SignedInRequest, pk: UUID, number: int) -> HttpResponse:
    """The heat map of one of the model's classes, by its place, to lie over the photo."""
    photo = find_photo(request, pk)
    explanation = explanation_of(photo)
    prediction = photo.prediction
    label = prediction.classes[number] if number < len(prediction.classes) else ""
    if label not in explanation.maps:
        raise Http404
    size, part = (photo.width, photo.height), stored_crop(prediction.crop)
    content = draw(explanation.maps[label], scale(explanation), size, part)
    return private_png(content)


@login_required
@require_safe
def photo_nearest(request: SignedInRequest, pk: UUID) -> HttpResponse:
    """The nearest training images, side by side."""
    explanation = explanation_of(find_photo(request, pk))
    if not explanation.pictures:
        raise Http404
    return private_png(bytes(explanation.pictures))


def explanation_of(photo: Photo) -> Explanation:
    return get_object_or_404(Explanation, prediction__photo=photo, prediction__is_current=True)


def private_png(content: bytes) -> HttpResponse:
    headers = {"Cache-Control": "private, no-cache", "X-Content-Type-Options": "nosniff"}
    return HttpResponse(content, content_type="image/png", headers=headers)
