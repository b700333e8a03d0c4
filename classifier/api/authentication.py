"""Who asks: a token in the Authorization header, or the session of somebody who is signed in."""

from __future__ import annotations

from typing import cast

from django.conf import settings
from django.http import HttpRequest
from django.utils.translation import gettext as _
from ninja.security import APIKeyCookie, HttpBearer
from ninja.utils import check_csrf

from cifarsite.core.api_problems import Caller, Problem
from classifier.accounts import rate_limits
from classifier.accounts.audit import client_address
from classifier.accounts.tokens import find_token
from classifier.models import ApiToken, User

CHALLENGE = 'Bearer realm="api"'


class BearerToken(HttpBearer):
    """``Authorization: Bearer TOKEN``, a token from the account page."""

    def __call__(self, request: HttpRequest) -> Caller | None:
        header = request.headers.get("Authorization", "")
        return self.authenticate(request, header) if header else None

    def authenticate(self, request: HttpRequest, token: str) -> Caller:
        scheme, _space, secret = token.partition(" ")
        found = find_token(secret.strip()) if scheme.lower() == "bearer" else None
        if found is None:
            # Counted on the address, or tokens could be guessed without end.
            count(request)
            raise unauthorised(
                _("This token is unknown, expired or revoked. Make a new one on your account page."),
                'error="invalid_token"',
            )
        count(request, found.owner, found)
        return Caller(found.owner, frozenset(found.scopes), found)


class SessionCookie(APIKeyCookie):
    """The site's own session, for the documentation page: writes carry the CSRF token."""

    param_name = settings.SESSION_COOKIE_NAME

    def __call__(self, request: HttpRequest) -> Caller | None:
        person = request.user
        if not person.is_authenticated:
            count(request)
            return None
        if check_csrf(request) is not None:
            raise Problem(
                403, "csrf", _("The CSRF token is missing or wrong: reload the page, or use a token.")
            )
        return self.authenticate(request, None)

    def authenticate(self, request: HttpRequest, key: str | None) -> Caller:
        person = cast(User, request.user)
        count(request, person)
        scopes = {ApiToken.Scope.PREDICT, ApiToken.Scope.READ}
        if person.is_staff:
            scopes.add(ApiToken.Scope.TRAIN)
        return Caller(person, frozenset(map(str, scopes)))


def count(
    request: HttpRequest, user: User | None = None, token: ApiToken | None = None, cost: int = 1
) -> None:
    """Count a request on its limits, and keep for the answer's headers how much of them is left."""
    try:
        limits = rate_limits.consume(rate_limits.subjects(client_address(request), user, token), cost)
    except rate_limits.RateLimitExceeded as refusal:
        request.rate_limits = refusal.limits  # type: ignore[attr-defined]
        raise
    request.rate_limits = limits  # type: ignore[attr-defined]


def unauthorised(detail: str, reason: str = "") -> Problem:
    challenge = f"{CHALLENGE}, {reason}" if reason else CHALLENGE
    return Problem(401, "unauthorised", detail, headers={"WWW-Authenticate": challenge})


def person_of(request: HttpRequest, scope: str) -> User:
    """The person who asks, if they may; a 403 otherwise."""
    return cast(User, cast(Caller, request.auth).needs(scope))  # type: ignore[attr-defined]


def spend_more(request: HttpRequest, cost: int) -> None:
    """Count a request that does the work of several."""
    if cost > 0:
        caller = cast(Caller, request.auth)  # type: ignore[attr-defined]
        count(request, caller.user, caller.token, cost)
