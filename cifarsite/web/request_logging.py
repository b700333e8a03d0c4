"""Each request gets an id, which goes with it to the worker, and one line in the log."""

from __future__ import annotations

import re
import time
import uuid

import structlog
from django.conf import settings
from django.http import HttpRequest, HttpResponseBase

from cifarsite.core.metrics import REQUEST_SECONDS
from cifarsite.core.pages import Middleware

log = structlog.get_logger(__name__)

HEADER = "X-Request-ID"
ACCEPTED = re.compile(r"[A-Za-z0-9-]{8,64}")
# Asked every few seconds by machines, and of no interest.
QUIET = ("healthz", "readyz", "metrics")


class RequestLines(Middleware):
    """Middleware, outermost: what the others do is measured too."""

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        request_id = self.request_id(request)
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(request_id=request_id)
        started = time.perf_counter()
        try:
            response = self.get_response(request)
            self.note(request, response.status_code, time.perf_counter() - started)
        finally:
            structlog.contextvars.clear_contextvars()
        response.headers[HEADER] = request_id
        return response

    def request_id(self, request: HttpRequest) -> str:
        """The one that a proxy of our own gave it; from anybody else it is not believed."""
        given = request.headers.get(HEADER, "") if settings.TRUSTED_PROXIES else ""
        return given if ACCEPTED.fullmatch(given) else str(uuid.uuid4())

    def note(self, request: HttpRequest, status: int, seconds: float) -> None:
        # The pattern, not the address: that may hold a key from a mail, and is without end for metrics.
        match = request.resolver_match
        route = f"/{match.route}" if match else "unknown"
        method = request.method if request.method in ("GET", "HEAD", "POST", "DELETE", "OPTIONS") else "other"
        REQUEST_SECONDS.labels(method, route, str(status)).observe(seconds)
        if route.strip("/") in QUIET and status < 400:
            return
        # Whoever it is was asked for by then, or is not needed: no query for the log's sake.
        caller = getattr(request, "auth", None)  # whom a token belongs to
        person = getattr(caller, "user", None) or getattr(request, "_cached_user", None)
        line = log.error if status >= 500 and status not in (503, 507) else log.info
        line(
            "request",
            method=method,
            route=route,
            status=status,
            milliseconds=round(seconds * 1000, 1),
            person=getattr(person, "pk", None),
        )
