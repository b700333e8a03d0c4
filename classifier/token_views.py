"""The account page's tokens: make one, which is shown once, and revoke one."""

from __future__ import annotations

from typing import cast

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST

from classifier.models import User
from classifier.tokens import TokenRefused, make_token, revoke_token


@login_required
@require_POST
@never_cache
def token_make(request: HttpRequest) -> HttpResponse:
    """Make a token and show it, this once."""
    person = cast(User, request.user)
    days = request.POST.get("days", "")
    try:
        if days and not (days.isascii() and days.isdecimal()):
            raise TokenRefused(_("Say in days, as a whole number, how long the token is valid."))
        token, secret = make_token(
            person,
            name=request.POST.get("name", "")[:100],
            scopes=request.POST.getlist("scopes"),
            days=int(days[:9]) if days else None,
        )
    except TokenRefused as refusal:
        return render(request, "classifier/account.html", {"token_error": str(refusal)}, status=400)
    context = {"new_token": token, "new_secret": secret}
    return render(request, "classifier/account.html", context, status=201)


@login_required
@require_POST
def token_revoke(request: HttpRequest, pk: int) -> HttpResponse:
    person = cast(User, request.user)
    token = get_object_or_404(person.api_tokens, pk=pk)
    if revoke_token(token, by=person):
        messages.success(request, _("The token '%(name)s' opens nothing any more.") % {"name": token.name})
    return redirect("classifier:account")
