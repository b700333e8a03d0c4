"""What a person reads when a part that the site stands on is away: it passes, and nothing is lost."""

from __future__ import annotations

import sys

from django.db import InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponse
from django.views.decorators.csrf import requires_csrf_token
from django.views.defaults import server_error

from training.storage import StorageAway

AWAY = (OperationalError, InterfaceError, StorageAway)
RETRY_SECONDS = 15


@requires_csrf_token
def error_page(request: HttpRequest) -> HttpResponse:
    """503 where the database or the store of files is away; 500 for every fault of our own."""
    if not isinstance(sys.exc_info()[1], AWAY):
        return server_error(request)
    response = server_error(request, template_name="503.html")
    response.status_code = 503
    response.headers["Retry-After"] = str(RETRY_SECONDS)
    return response
