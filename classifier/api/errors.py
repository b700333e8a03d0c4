"""Errors that never reach an operation look like the others: Django's own 404, 405, 413 and 500."""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from django.http import HttpRequest, HttpResponse, HttpResponseBase, JsonResponse
from django.utils.translation import gettext as _

PREFIX = "/api/v1/"
PROBLEM_TYPE = "application/problem+json"
# What a page of HTML says; the API says it in its own form.
KEPT_HEADERS = ("Allow", "Retry-After", "WWW-Authenticate", "Vary")


class ProblemsOnly:
    """Middleware: below the API's prefix every error is problem+json."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
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
            413: ("too_large", _("The request is too large.")),
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
