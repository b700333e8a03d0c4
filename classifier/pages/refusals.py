"""Requests that no view answers: those that are too large, and those that meet a fault or an outage.

How much a request may send is told before anything reads a byte of it, since a form is read into files.
"""

from __future__ import annotations

import logging
import re
import sys
from typing import Any

from django.conf import settings
from django.db import InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.translation import gettext as _
from django.views.decorators.csrf import requires_csrf_token
from django.views.defaults import server_error

from cifarsite.core.pages import Middleware
from cifarsite.core.storage import StorageUnavailable
from classifier.api.errors import MOST_FILES, PREFIX, problem_response

logger = logging.getLogger(__name__)

AWAY = (OperationalError, InterfaceError, StorageUnavailable)
RETRY_SECONDS = 15

MB = 1024 * 1024
# What most forms need a thousandth of; a piece of an archive is 4 MB.
ORDINARY_MB = 8
# What a form adds to its files.
FORM_MB = 1
PHOTOS = re.compile(r"/(api/v1/photos)?")
ARCHIVES = re.compile(r"/(api/v1/)?(batches/?|projects/.+)")


class BodyLimits(Middleware):
    """Middleware, above all others that look into a form."""

    def process_view(self, request: HttpRequest, *view: Any) -> HttpResponse | None:
        """Called when it is known who asks, and before the form is read for its CSRF token."""
        sent = request.META.get("CONTENT_LENGTH") or "0"
        megabytes = int(sent) / MB if sent.isdecimal() else 0
        if megabytes <= ORDINARY_MB or megabytes <= (most := most_megabytes(request)):
            return None
        return too_large(request, most)


def most_megabytes(request: HttpRequest) -> int:
    """What this address takes from whoever asks."""
    # The API asks who it is before it reads; a page's form is read for its CSRF token first.
    if not (request.path_info.startswith(PREFIX) or request.user.is_authenticated):
        return ORDINARY_MB
    if PHOTOS.fullmatch(request.path_info):
        return MOST_FILES * settings.UPLOAD_MAX_MB + FORM_MB
    if ARCHIVES.fullmatch(request.path_info):
        return settings.BATCH_MAX_MB + ORDINARY_MB
    return ORDINARY_MB


def too_large(request: HttpRequest, most: int) -> HttpResponse:
    detail = _("The request is larger than %(limit)d MB, which is the most that this address takes.")
    sentence = detail % {"limit": most}
    if request.path_info.startswith(PREFIX):
        return problem_response(413, "too_large", sentence)
    return render(request, "413.html", {"sentence": sentence}, status=413)


@requires_csrf_token
def error_page(request: HttpRequest) -> HttpResponse:
    """503 where the database or the store of files is away, which passes; 500 for every fault of our own."""
    away = isinstance(sys.exc_info()[1], AWAY)
    response: HttpResponse
    try:
        response = server_error(request, template_name="503.html" if away else "500.html")
    except Exception:  # without its static files, say: a page about a fault must not be one
        logger.exception("The page about a fault cannot be shown.")
        response = HttpResponse("Something broke here. Try again in a minute.", content_type="text/plain")
    response.status_code = 503 if away else 500
    if away:
        response.headers["Retry-After"] = str(RETRY_SECONDS)
    return response
