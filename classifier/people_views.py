"""A person's own numbers, their data to take home, and the end of their account."""

from __future__ import annotations

from typing import Any

from allauth.account.decorators import reauthentication_required
from django.conf import settings
from django.contrib import messages
from django.contrib.auth import logout
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_safe

from classifier import audit, day_counts, people
from classifier.batch_views import SignedInRequest
from classifier.history import UNDO
from classifier.media import LOOK


@login_required
@require_safe
@never_cache
def numbers(request: SignedInRequest) -> HttpResponse:
    """Counts by class, corrections, agreement with the model from month to month."""
    return render(request, "classifier/numbers.html", {"numbers": people.numbers(request.user)})


@require_safe
def privacy(request: HttpRequest) -> HttpResponse:
    """What is stored, for how long, and who sees it, in plain words; the figures are the code's own."""
    context = {
        "undo_minutes": UNDO.seconds // 60,
        "look_minutes": LOOK.seconds // 60,
        "photo_days": settings.KEEP_PHOTOS_DAYS,
        "archive_days": settings.KEEP_ARCHIVES_DAYS,
        "address_days": audit.KEEP_ADDRESSES.days,
        "unconfirmed_days": people.UNCONFIRMED.days,
        "session_days": settings.SESSION_COOKIE_AGE // 86_400,
    }
    return render(request, "classifier/privacy.html", context)


@login_required
@require_safe
def export(request: SignedInRequest) -> HttpResponseBase:
    """Everything that the site has of this person, as one ZIP, streamed."""
    response = StreamingHttpResponse(people.export(request.user), content_type="application/zip")
    response.headers["Content-Disposition"] = 'attachment; filename="my-data.zip"'
    response.headers["Cache-Control"] = "private, no-store"
    return response


@login_required
@reauthentication_required  # type: ignore[untyped-decorator]
@require_http_methods(["GET", "HEAD", "POST"])
@never_cache
def delete(request: HttpRequest) -> HttpResponse:
    """Ask, then remove the account and everything in it."""
    user: Any = request.user
    wrong = ""
    if request.method == "POST":
        if request.POST.get("username", "").strip() != user.get_username():
            wrong = _("That is not your user name. Nothing was deleted.")
        else:
            try:
                people.delete_account(user)
            except people.LastAdministrator as error:
                wrong = str(error)
            else:
                logout(request)
                messages.success(request, _("Your account and all your photos are gone."))
                return redirect("classifier:upload")
    context = {"wrong": wrong, "photos": day_counts.photos(user)}
    return render(request, "classifier/account_delete.html", context, status=400 if wrong else 200)
