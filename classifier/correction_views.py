"""Saying what is really in a photo, and, for staff, reviewing what people said."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from classifier import corrections
from classifier.batch_views import SignedInRequest
from classifier.media import photos_seen_by
from classifier.models import Photo
from training.datasets import NothingToFreeze
from training.engine.near_duplicates import find_twin
from training.models import DatasetVersion

# Photos that a reviewer put off, and the last one reviewed, live in the session.
SKIPPED, LAST = "review_skipped", "review_last"
SKIPPED_AT_MOST = 200
DATASETS_SHOWN = 50

View = Callable[..., HttpResponse]


def reviewers_only(view: View) -> View:
    """302 to the sign-in for strangers, 403 for people who are not staff."""

    @login_required
    @wraps(view)
    def checked(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        if not request.user.is_staff:
            raise PermissionDenied(_("Only staff may review corrections."))
        return view(request, *args, **kwargs)

    return checked


@login_required
@require_POST
def photo_correct(request: SignedInRequest, pk: UUID) -> HttpResponse:
    """Note what the person says; no label, or the same one again, takes it back."""
    photo = get_object_or_404(photos_seen_by(request.user), pk=pk)
    label = request.POST.get("label", "")
    known = photo.corrections.filter(by=request.user).first()
    if not label or (known and known.label == label and "toggle" in request.POST):
        corrections.take_back(photo, request.user)
        return answer_correction(request, photo, None)
    try:
        corrections.correct(photo, request.user, label)
    except corrections.UnknownLabel as error:
        return HttpResponse(str(error), status=400, content_type="text/plain; charset=utf-8")
    return answer_correction(request, photo, label)


def answer_correction(request: SignedInRequest, photo: Photo, label: str | None) -> HttpResponse:
    """The form anew for htmx, JSON for the tiles' script, otherwise back to the page."""
    if request.headers.get("HX-Request"):
        context = {"photo": photo, "prediction": photo.prediction}
        return render(request, "classifier/corrections/_correct.html", context)
    if not request.accepts("text/html"):
        return JsonResponse({"label": label, "ask_consent": corrections.consent(request.user) is None})
    return redirect(next_or(request, photo.get_absolute_url()))


@login_required
@require_POST
def consent(request: SignedInRequest) -> HttpResponse:
    """Remember whether photos that this person corrects may train models."""
    given = request.POST.get("given") == "yes"
    corrections.set_consent(request.user, given)
    if given:
        messages.success(
            request, _("Thank you. Photos that you correct may train models; you can take it back here.")
        )
    else:
        messages.success(request, _("Noted: none of your photos is used for training from now on."))
    return redirect(next_or(request, "classifier:account"))


def next_or(request: HttpRequest, otherwise: str) -> str:
    wanted = request.POST.get("next", "")
    safe = url_has_allowed_host_and_scheme(
        wanted, allowed_hosts={request.get_host()}, require_https=request.is_secure()
    )
    return wanted if safe else otherwise


@reviewers_only
@require_safe
@never_cache
def review(request: SignedInRequest) -> HttpResponse:
    """The most valuable photo that waits, its answers, and keys to decide."""
    rows = corrections.waiting()
    shown = rows.exclude(photo__in=request.session.get(SKIPPED, [])).first()
    context: dict[str, Any] = {
        "waiting": rows.values("photo").distinct().count(),
        "skipped": len(request.session.get(SKIPPED, [])),
        "last": request.session.get(LAST),
        "correction": shown,
    }
    if shown:
        photo = shown.photo
        context |= {
            "photo": photo,
            "prediction": photo.prediction,
            "tallies": corrections.tallies(photo),
            "twin": find_twin(corrections.training_image(photo)),
        }
    return render(request, "classifier/corrections/review.html", context)


@reviewers_only
@require_POST
def review_photo(request: SignedInRequest, pk: UUID) -> HttpResponse:
    """Accept a label, reject all, put off, or undo the last decision."""
    photo = get_object_or_404(reviewable_photos(), pk=pk)
    act = request.POST.get("act", "")
    skipped: list[str] = request.session.get(SKIPPED, [])
    if act == "skip":
        request.session[SKIPPED] = [*skipped, str(pk)][-SKIPPED_AT_MOST:]
        return redirect("classifier:review")
    if act == "undo":
        corrections.reopen(photo)
        request.session[LAST] = None
        return redirect("classifier:review")
    try:
        if act == "reject":
            corrections.reject(photo, by=request.user)
        else:
            corrections.accept(photo, request.POST.get("label", ""), by=request.user)
    except corrections.UnknownLabel as error:
        return HttpResponse(str(error), status=400, content_type="text/plain; charset=utf-8")
    request.session[LAST] = str(pk)
    return redirect("classifier:review")


def reviewable_photos() -> Any:
    """Photos that somebody corrected, whose owner lets them be used."""
    return Photo.objects.filter(
        deleted_at=None, owner__consent__given=True, corrections__isnull=False
    ).distinct()


@reviewers_only
@require_POST
def review_skipped(request: SignedInRequest) -> HttpResponse:
    """Show again what was put off."""
    request.session[SKIPPED] = []
    return redirect("classifier:review")


@reviewers_only
@require_http_methods(["GET", "HEAD", "POST"])
@never_cache
def datasets_page(request: SignedInRequest) -> HttpResponse:
    """The frozen dataset versions, and the form for another one."""
    if request.method == "POST":
        freeze_dataset(request)
        return redirect("classifier:datasets")
    versions = DatasetVersion.objects.select_related("created_by").prefetch_related("models", "images")
    context = {
        "versions": [describe(version) for version in versions[:DATASETS_SHOWN]],
        "trainable": corrections.trainable().count(),
        "waiting": corrections.waiting().values("photo").distinct().count(),
    }
    return render(request, "classifier/corrections/datasets.html", context)


def freeze_dataset(request: SignedInRequest) -> None:
    name = request.POST.get("name", "").strip()[:100]
    try:
        version = corrections.freeze(request.user, name or _("CIFAR-10 and corrections"))
    except NothingToFreeze as error:
        messages.warning(request, str(error))
        return
    count = len(version.manifest["added"])
    text = ngettext(
        "'%(name)s' holds CIFAR-10 and %(count)d photo.",
        "'%(name)s' holds CIFAR-10 and %(count)d photos.",
        count,
    )
    messages.success(request, text % {"name": version.name, "count": count})


def describe(version: DatasetVersion) -> dict[str, Any]:
    added = version.manifest.get("added", [])
    return {
        "version": version,
        "training": sum(row["part"] == "train" for row in added),
        "measuring": sum(row["part"] == "measure" for row in added),
        "withdrawn": sum(image.withdrawn_at is not None for image in version.images.all()),
    }
