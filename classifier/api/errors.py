"""What all answers of the API share: errors that reach no operation look like the others, HEAD is GET."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from django.http import HttpRequest, HttpResponse, HttpResponseBase, JsonResponse
from django.utils.translation import gettext as _

from cifarsite.core.pages import Middleware
from classifier.accounts import rate_limits

PREFIX = "/api/v1/"
# After what time it is worth asking what became of work that was taken in.
ASK_AGAIN_SECONDS = "1"
PROBLEM_TYPE = "application/problem+json"
MOST_FILES = 100
# The body of such an error is a page; these say something to a program too.
KEPT_HEADERS = ("Allow", "Retry-After", "WWW-Authenticate", "Vary")


class ProblemsOnly(Middleware):
    """Middleware: below the API's prefix every error is problem+json, and headers say when to ask again
    and how often."""

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        if not request.path_info.startswith(PREFIX):
            return self.get_response(request)
        response = self.in_shape(self.answer(request))
        if response.status_code == HTTPStatus.ACCEPTED:
            response.headers.setdefault("Retry-After", ASK_AGAIN_SECONDS)
        for name, value in rate_limits.headers(getattr(request, "rate_limits", [])).items():
            response.headers[name] = value
        return response

    def in_shape(self, response: HttpResponseBase) -> HttpResponseBase:
        """An error that is a page becomes problem+json."""
        if response.status_code < HTTPStatus.BAD_REQUEST or response.headers.get(
            "Content-Type", ""
        ).startswith(PROBLEM_TYPE):
            return response
        status = response.status_code
        code, detail = {
            404: ("not_found", _("There is no such address: see /api/docs.")),
            405: (
                "method_not_allowed",
                _("This address does not support this method: see the Allow header."),
            ),
            413: ("too_large", _("The request is too large: send fewer files at once.")),
            503: ("away", _("A part of the site does not respond at the moment. Try again in a minute.")),
        }.get(
            status,
            (
                "error",
                _("The site could not process this request. The error has been logged; try again later."),
            ),
        )
        kept = {name: response.headers[name] for name in KEPT_HEADERS if name in response.headers}
        return problem_response(status, code, detail, headers=kept)

    def answer(self, request: HttpRequest) -> HttpResponseBase:
        """HEAD is GET of which the server sends the headers alone."""
        if request.method != "HEAD":
            return self.get_response(request)
        request.method = "GET"
        try:
            return self.get_response(request)
        finally:
            request.method = "HEAD"


def problem_body(status: int, code: str, detail: str) -> dict[str, Any]:
    """The shape of every error."""
    return {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "code": code,
    }


def problem_response(
    status: int, code: str, detail: str, *, headers: dict[str, str] | None = None, **extra: Any
) -> HttpResponse:
    body = {**problem_body(status, code, detail), **extra}
    return JsonResponse(body, status=status, content_type=PROBLEM_TYPE, headers=headers)
