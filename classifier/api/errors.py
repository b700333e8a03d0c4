"""Errors that never reach an operation look like the others: Django's own 404, 405, 413 and 500."""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse, HttpResponseBase, JsonResponse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

PREFIX = "/api/v1/"
PROBLEM_TYPE = "application/problem+json"
TOO_LARGE = gettext_lazy("The request is larger than %(limit)d MB: send fewer files at once.")
MOST_FILES = 100
# What the form adds to its files.
FORM_BYTES = 1024 * 1024
# The body of such an error is a page; these say something to a program too.
KEPT_HEADERS = ("Allow", "Retry-After", "WWW-Authenticate", "Vary")


class ProblemsOnly:
    """Middleware: below the API's prefix every error is problem+json."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        # Before a byte of it is read: what is larger fits no operation.
        most = max(MOST_FILES * settings.UPLOAD_MAX_MB, settings.BATCH_MAX_MB) * 1024 * 1024 + FORM_BYTES
        sent = request.META.get("CONTENT_LENGTH") or "0"
        if request.path_info.startswith(PREFIX) and sent.isdecimal() and int(sent) > most:
            return problem_response(413, "too_large", TOO_LARGE % {"limit": most // 1024 // 1024})
        response = self.get_response(request)
        if (
            response.status_code < HTTPStatus.BAD_REQUEST
            or not request.path_info.startswith(PREFIX)
            or response.headers.get("Content-Type", "").startswith(PROBLEM_TYPE)
        ):
            return response
        status = response.status_code
        code, detail = {
            404: ("not_found", _("There is no such address: see /api/docs.")),
            405: ("method_not_allowed", _("This address does not know this method: see Allow.")),
            413: ("too_large", _("The request is too large: send fewer files at once.")),
            503: ("away", _("A part of the site does not answer at the moment. Try again in a minute.")),
        }.get(status, ("error", _("The site could not do this. It has been noted; try again later.")))
        kept = {name: response.headers[name] for name in KEPT_HEADERS if name in response.headers}
        return problem_response(status, code, detail, headers=kept)


def problem_response(
    status: int, code: str, detail: str, *, headers: dict[str, str] | None = None, **extra: Any
) -> HttpResponse:
    """An answer in the shape of every error."""
    body = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "code": code,
        **extra,
    }
    return JsonResponse(body, status=status, content_type=PROBLEM_TYPE, headers=headers)
