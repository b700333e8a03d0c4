"""A person's own numbers, their data to take home, and the end of their account."""

from __future__ import annotations

from typing import Any, cast

from allauth.account.decorators import reauthentication_required
from django.conf import settings
from django.contrib import messages
from django.contrib.auth import logout
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from cifarsite.core.pages import next_page, whole_number
from cifarsite.core.webhooks import WebhookRefused
from classifier.accounts import audit
from classifier.accounts.middleware import time_zones
from classifier.accounts.tokens import TokenRefused, make_token, revoke_token
from classifier.models import User
from classifier.pages.batches import SignedInRequest
from classifier.photos import daily_counts
from classifier.photos.access import ACCESS_PERIOD
from classifier.photos.history import UNDO
from classifier.privacy import account_data
from classifier.uploads import webhooks


@login_required
@require_safe
@never_cache
def account(request: SignedInRequest) -> HttpResponse:
    return show(request)


def show(request: HttpRequest, status: int = 200, **more: Any) -> HttpResponse:
    """The account's page; ``more``: what became of a form on it."""
    context = {"webhooks_are_on": bool(settings.WEBHOOK_SECRET), **more}
    return render(request, "classifier/accounts/account.html", context, status=status)


@login_required
@require_POST
def time_zone(request: SignedInRequest) -> HttpResponse:
    """Choose the time zone of all times and days on the pages; empty: the site's own."""
    name = request.POST.get("time_zone", "").strip()
    if name and name not in time_zones():
        said = _("There is no time zone '%(name)s'. Choose one from the list, such as Asia/Ho_Chi_Minh.")
        messages.error(request, said % {"name": name[:64]})
    else:
        request.user.time_zone = name
        request.user.save(update_fields=["time_zone"])
        messages.success(request, _("The time zone was saved."))
    return redirect(next_page(request, "classifier:account"))


@login_required
@require_safe
@never_cache
def numbers(request: SignedInRequest) -> HttpResponse:
    """Counts by class, corrections, agreement with the model from month to month."""
    return render(
        request, "classifier/accounts/numbers.html", {"numbers": account_data.numbers(request.user)}
    )


@require_safe
def privacy(request: HttpRequest) -> HttpResponse:
    """What is stored, for how long, and who sees it, in plain words; the figures are the code's own."""
    context = {
        "undo_minutes": UNDO.seconds // 60,
        "look_minutes": ACCESS_PERIOD.seconds // 60,
        "photo_days": settings.KEEP_PHOTOS_DAYS,
        "archive_days": settings.KEEP_ARCHIVES_DAYS,
        "paused_days": settings.KEEP_PAUSED_DAYS,
        "archives_mb": settings.QUOTA_ARCHIVES_MB,
        "address_days": audit.KEEP_ADDRESSES.days,
        "unconfirmed_days": account_data.UNCONFIRMED.days,
        "session_days": settings.SESSION_COOKIE_AGE // 86_400,
    }
    return render(request, "classifier/accounts/privacy.html", context)


@login_required
@require_safe
def export(request: SignedInRequest) -> HttpResponseBase:
    """Everything that the site has of this person, as one ZIP, streamed."""
    response = StreamingHttpResponse(account_data.export(request.user), content_type="application/zip")
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
                account_data.delete_account(user)
            except account_data.LastAdministrator as error:
                wrong = str(error)
            else:
                logout(request)
                messages.success(request, _("Your account and all your photos were deleted."))
                return redirect("classifier:upload")
    context = {"wrong": wrong, "photos": daily_counts.photos(user)}
    return render(request, "classifier/accounts/account_delete.html", context, status=400 if wrong else 200)


@login_required
@require_POST
@never_cache
@reauthentication_required  # type: ignore[untyped-decorator]
def token_make(request: HttpRequest) -> HttpResponse:
    """Make a token and show it, this once."""
    person = cast(User, request.user)
    days = request.POST.get("days", "")
    try:
        if days and whole_number(days) is None:
            raise TokenRefused(_("Enter the token's validity as a whole number of days."))
        token, secret = make_token(
            person,
            name=request.POST.get("name", "")[:100],
            scopes=request.POST.getlist("scopes"),
            days=whole_number(days),
        )
    except TokenRefused as refusal:
        return show(request, 400, token_error=str(refusal))
    return show(request, 201, new_token=token, new_secret=secret)


@login_required
@require_POST
def token_revoke(request: HttpRequest, pk: int) -> HttpResponse:
    person = cast(User, request.user)
    token = get_object_or_404(person.api_tokens, pk=pk)
    if revoke_token(token, by=person):
        messages.success(request, _("The token '%(name)s' was revoked.") % {"name": token.name})
    return redirect("classifier:account")


@login_required
@require_POST
@never_cache
@reauthentication_required  # type: ignore[untyped-decorator]
def webhook_save(request: HttpRequest) -> HttpResponse:
    """Keep the address that is told of batches and show its new secret, this once; or remove it."""
    person = cast(User, request.user)
    if "remove" in request.POST:
        webhooks.remove_address(person)
        audit.record("webhook_changed", by=person, request=request)
        messages.success(request, _("The webhook was removed. No more messages are sent."))
        return redirect("classifier:account")
    url = request.POST.get("url", "").strip()
    try:
        secret = webhooks.set_address(person, url)
    except WebhookRefused as refusal:
        return show(request, 400, webhook_error=str(refusal), webhook_url=url)
    audit.record("webhook_changed", by=person, request=request)
    return show(request, 201, webhook_secret=secret)
