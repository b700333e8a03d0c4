"""What a person can do with an answer: ask again, point at a part, look at earlier ones."""

from __future__ import annotations

from uuid import UUID

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpResponse, HttpResponseBase
from django.shortcuts import get_object_or_404, redirect
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST, require_safe

from classifier import rates
from classifier.batch_views import SignedInRequest
from classifier.crops import PRESETS, Crop, CropRefused, read_crop
from classifier.media import photos_seen_by, serve
from classifier.models import Photo
from classifier.predictions import AskedTooOften, ask_again


@login_required
@require_POST
def photo_ask(request: SignedInRequest, pk: UUID) -> HttpResponse:
    """Ask today's model again: about the whole photo, or the part that the form names."""
    photo = get_object_or_404(photos_seen_by(request.user), pk=pk, owner=request.user)
    if wait := rates.seconds_to_wait(request, 1):
        messages.error(request, rates.wait_in_words(wait))
        return redirect(photo)
    try:
        ask_again(photo, posted_crop(request, photo))
    except (CropRefused, AskedTooOften) as error:
        messages.error(request, str(error))
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
    photo = get_object_or_404(photos_seen_by(request.user), pk=pk)
    prediction = get_object_or_404(photo.predictions, pk=number)
    name = f"{photo.filename}-input"
    return serve(request, prediction.input, filename=name, version=prediction.input_sha256, max_age=3600)
