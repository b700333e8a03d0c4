"""What the API answers when it cannot do what was asked: RFC 9457's problem+json."""

from __future__ import annotations

from typing import Any

from django.utils.functional import Promise
from django.utils.translation import gettext as _
from ninja import Schema
from pydantic import ConfigDict, Field


class Problem(Exception):
    """Ends a request with a problem.

    Args:
        status: of HTTP.
        code: for programs; stays the same when the sentence changes.
        detail: a sentence that says what to do.
        headers: of the answer, such as Retry-After.
        extra: further members of the answer's body.
    """

    def __init__(
        self,
        status: int,
        code: str,
        detail: str | Promise,
        *,
        headers: dict[str, str] | None = None,
        **extra: Any,
    ) -> None:
        super().__init__(status, code, detail)
        self.status = status
        self.code = code
        self.detail = str(detail)
        self.headers = headers or {}
        self.extra = extra


class ProblemAnswer(Schema):
    """An error, as application/problem+json (RFC 9457)."""

    model_config = ConfigDict(title="Problem", extra="allow")

    type: str = Field(description="A URI that names the kind of problem.", examples=["about:blank"])
    title: str = Field(description="The status in words.", examples=["Not Found"])
    status: int = Field(description="The HTTP status.", examples=[404])
    detail: str = Field(
        description="What is wrong and what to do, in the language of Accept-Language.",
        examples=["There is no such photo, or it is not yours."],
    )
    code: str = Field(description="For programs: never changes with the sentence.", examples=["not_found"])


def problems(*statuses: int) -> dict[int, type[ProblemAnswer]]:
    """The documented answers of an operation besides its good ones."""
    # What any operation may answer: no sign-in, not allowed, asked too often.
    return dict.fromkeys(sorted({401, 403, 429, *statuses}), ProblemAnswer)


class Caller:
    """Who asks, and what for: ``request.auth`` in every operation."""

    def __init__(self, user: Any, scopes: frozenset[str], token: Any = None) -> None:
        self.user = user
        self.scopes = scopes
        self.token = token

    def needs(self, scope: str, *, staff: bool = False) -> Any:
        """The person, if this token may do it; a 403 otherwise."""
        if scope not in self.scopes:
            raise Problem(
                403,
                "scope",
                _("This needs a token with the scope '%(scope)s'. Make one on your account page.")
                % {"scope": scope},
            )
        if staff and not self.user.is_staff:
            raise Problem(403, "staff_only", _("This is for staff."))
        return self.user
