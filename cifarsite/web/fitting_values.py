"""Numbers and texts that no column of any database holds are refused before a page looks for them."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import BadRequest
from django.http import Http404, HttpRequest, QueryDict

from cifarsite.core.pages import Middleware

PREFIX = "/api/v1/"
LARGEST = 2**63 - 1
NUL = "\0"
FORM = "application/x-www-form-urlencoded"


class FittingValues(Middleware):
    """Middleware: an address with a number beyond 64 bits does not exist; NUL is no part of a text."""

    def process_view(self, request: HttpRequest, view: Any, args: Any, kwargs: dict[str, Any]) -> None:
        for value in kwargs.values():
            if (isinstance(value, int) and value > LARGEST) or (isinstance(value, str) and NUL in value):
                raise Http404
        if request.path_info.startswith(PREFIX):
            return  # the API looks at what its schema names
        # A form that comes with files is looked at where somebody has read it: it may be large.
        posted = hasattr(request, "_post") or request.content_type == FORM
        if holds_nul(request.GET) or (posted and holds_nul(request.POST)):
            raise BadRequest("The request holds a NUL character, which is not allowed in a text.")

    def process_exception(self, request: HttpRequest, error: Exception) -> None:
        # Python's limit for the digits of a number in JSON; forms of libraries expect other errors.
        if type(error) is ValueError and "integer string conversion" in str(error):
            raise BadRequest("A number in the request has too many digits.") from error


def holds_nul(sent: QueryDict) -> bool:
    return any(NUL in name or any(NUL in value for value in values) for name, values in sent.lists())
