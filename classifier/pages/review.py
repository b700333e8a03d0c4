"""Saying what is really in a photo, and, for staff, reviewing what people said."""

from __future__ import annotations

import logging
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpResponse, JsonResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from cifarsite.core.pages import next_page, staff_only
from cifarsite.core.storage import StorageUnavailable
from classifier.feedback import corrections, training_photos
from classifier.models import Photo
from classifier.pages.batches import SignedInRequest
from classifier.photos.access import photos_for_review, photos_seen_by
from training.data.dataset_versions import NothingToFreeze
from training.models import DatasetVersion
from training.projects.access import get_project, visible_projects

# Photos that a reviewer put off, the last one reviewed and the project live in the session.
SKIPPED, LAST, PROJECT = "review_skipped", "review_last", "review_project"
SKIPPED_AT_MOST = 200
DATASETS_SHOWN = 50

logger = logging.getLogger(__name__)


@login_required
@require_POST
def photo_correct(request: SignedInRequest, pk: UUID) -> HttpResponse:
    """Note what the person says; no label, or the same one again, takes it back."""
    photo = get_object_or_404(photos_seen_by(request.user), pk=pk, owner=request.user)
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
        return render(request, "classifier/feedback/_correct.html", context)
    if not request.accepts("text/html"):
        return JsonResponse({"label": label, "ask_consent": corrections.consent(request.user) is None})
    return redirect(next_page(request, photo.get_absolute_url()))


@login_required
@require_POST
def consent(request: SignedInRequest) -> HttpResponse:
    """Remember whether photos that this person corrects may train models."""
    given = request.POST.get("given") == "yes"
    corrections.set_consent(request.user, given)
    if given:
        messages.success(
            request,
            _(
                "Thank you. The site may now use photos that you correct to train models. You can "
                "withdraw your consent here."
            ),
        )
    else:
        messages.success(request, _("Saved. From now on none of your photos is used for training."))
    return redirect(next_page(request, "classifier:account"))


@staff_only
@require_safe
@never_cache
def review(request: SignedInRequest) -> HttpResponse:
    """The most valuable photo that waits, its answers, and keys to decide."""
    project = chosen_project(request)
    rows = corrections.waiting(project)
    shown = rows.exclude(photo__in=request.session.get(SKIPPED, [])).first()
    context: dict[str, Any] = {
        "waiting": rows.values("photo").distinct().count(),
        "skipped": len(request.session.get(SKIPPED, [])),
        "last": request.session.get(LAST),
        "correction": shown,
        "projects": list(visible_projects(request.user)),
        "project": project,
    }
    if shown:
        context |= {"photo": shown.photo, "prediction": shown.photo.prediction, **look_at_pixels(shown.photo)}
    return render(request, "classifier/feedback/review.html", context)


def chosen_project(request: SignedInRequest) -> str:
    """The project whose photos are reviewed, kept for the next photo; empty: all."""
    if "project" in request.GET:
        slug = request.GET["project"]
        request.session[PROJECT] = slug and get_project(request.user, slug).pk
    return str(request.session.get(PROJECT, ""))


def look_at_pixels(photo: Photo) -> dict[str, Any]:
    """Is it nearly a test image? Of a photo that cannot be read, that alone is known."""
    try:
        return {
            "near_duplicate_of": corrections.near_test_image(photo, corrections.training_image(photo)),
            "is_readable": True,
        }
    except StorageUnavailable:
        raise
    except (OSError, ValueError, SyntaxError):
        logger.exception("Photo %s needs a review, but its file cannot be read.", photo.pk)
        return {"near_duplicate_of": None, "is_readable": False}


@staff_only
@require_POST
def review_photo(request: SignedInRequest, pk: UUID) -> HttpResponse:
    """Accept a label, reject all, put off, or undo the last decision."""
    photo = get_object_or_404(photos_for_review(), pk=pk)
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
    except corrections.NotAllowed as error:
        messages.error(request, str(error))
        return redirect("classifier:review")
    except StorageUnavailable:
        raise
    except (OSError, ValueError, SyntaxError):
        messages.error(request, _("The stored photo cannot be read: reject or postpone it."))
        return redirect("classifier:review")
    request.session[LAST] = str(pk)
    return redirect("classifier:review")


@staff_only
@require_POST
def review_skipped(request: SignedInRequest) -> HttpResponse:
    """Show again what was put off."""
    request.session[SKIPPED] = []
    return redirect("classifier:review")


@staff_only
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
        "trainable": training_photos.trainable().count(),
        "waiting": corrections.waiting().values("photo").distinct().count(),
    }
    return render(request, "classifier/feedback/datasets.html", context)


def freeze_dataset(request: SignedInRequest) -> None:
    name = request.POST.get("name", "").strip()[:100]
    try:
        version = training_photos.freeze(request.user, name or _("CIFAR-10 and corrections"))
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
