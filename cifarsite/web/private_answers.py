"""What somebody signed in is shown is kept by no cache, on the way or in a browser that others use too."""

from __future__ import annotations

from django.conf import settings
from django.http import HttpRequest, HttpResponseBase

from cifarsite.core.pages import Middleware

KEPT_NOWHERE = "private, no-store"


class PrivateAnswers(Middleware):
    """Middleware: answers to a session or a token that say nothing else about caches say 'no-store'."""

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        response = self.get_response(request)
        if settings.SESSION_COOKIE_NAME in request.COOKIES or "Authorization" in request.headers:
            response.headers.setdefault("Cache-Control", KEPT_NOWHERE)
        return response
