"""What somebody signed in is shown is kept by no cache, on the way or in a browser that others use too."""

from __future__ import annotations

from collections.abc import Callable

from django.conf import settings
from django.http import HttpRequest, HttpResponseBase

KEPT_NOWHERE = "private, no-store"


class PrivateAnswers:
    """Middleware: answers to a session or a token that say nothing else about caches say 'no-store'."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        response = self.get_response(request)
        if settings.SESSION_COOKIE_NAME in request.COOKIES or "Authorization" in request.headers:
            response.headers.setdefault("Cache-Control", KEPT_NOWHERE)
        return response
