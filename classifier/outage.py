"""What a person reads when a part that the site stands on is away: it passes, and nothing is lost."""

from __future__ import annotations

import logging
import sys

from django.db import InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponse
from django.views.decorators.csrf import requires_csrf_token
from django.views.defaults import server_error

from training.storage import StorageAway

logger = logging.getLogger(__name__)

AWAY = (OperationalError, InterfaceError, StorageAway)
RETRY_SECONDS = 15


@requires_csrf_token
def error_page(request: HttpRequest) -> HttpResponse:
    """503 where the database or the store of files is away; 500 for every fault of our own."""
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
