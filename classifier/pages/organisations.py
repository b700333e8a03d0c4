"""The two steps of signing in with an organisation's account, around django-allauth's own."""

from __future__ import annotations

import logging
from typing import Any

from allauth.core.ratelimit import consume_or_429
from allauth.socialaccount.providers.oauth2.client import OAuth2Error
from allauth.socialaccount.providers.openid_connect import views
from django.core.exceptions import ImproperlyConfigured
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from requests import RequestException

from classifier.accounts.audit import record_refusal
from classifier.accounts.organisations import refused

logger = logging.getLogger(__name__)

# What a provider that is away, or that says something else than OpenID Connect, comes to.
NO_PROVIDER = (RequestException, OAuth2Error, KeyError, TypeError, ValueError, ImproperlyConfigured)


@never_cache
def start(request: HttpRequest, provider_id: str) -> HttpResponse:
    """Lead to the provider by a page: a form may lead to this site alone, says the content policy."""
    limited: HttpResponse | None = consume_or_429(request, action="login")
    if limited:
        return limited
    response = _ask(views.login, request, provider_id)
    if response.status_code == 302:
        return render(request, "account/leaving.html", {"address": response.headers["Location"]})
    return response


@never_cache
def finish(request: HttpRequest, provider_id: str) -> HttpResponse:
    return _ask(views.callback, request, provider_id)


def _ask(view: Any, request: HttpRequest, provider_id: str) -> HttpResponse:
    try:
        response: HttpResponse = view(request, provider_id)
    except NO_PROVIDER as error:
        logger.warning("The provider %s does not answer as it should: %s.", provider_id, type(error).__name__)
        record_refusal("sign_in_failed", by=None, detail=provider_id, request=request)
        sentence = _("Your organisation's sign-in does not respond at the moment. Try again in a minute.")
        response = refused(request, sentence, status=503)
        response.headers["Retry-After"] = "60"
    return response
