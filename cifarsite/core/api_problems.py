"""What the API answers when it cannot do what was asked: RFC 9457's problem+json."""

from __future__ import annotations

from typing import Any, Literal

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


# Every code of an error, by what it is about; programs may rely on each. docs/api.md says what to do.
OF_FILES = (
    *("too_large", "too_many_pixels", "not_an_image", "unsupported_format", "truncated", "empty"),
    *("quota", "busy", "storage_full"),
)
OF_ARCHIVES = (
    *("archive_empty", "archive_too_large", "not_an_archive", "archive_damaged", "too_many_entries"),
    *("entries_overlap", "truth_invalid"),
)
OF_PROJECTS = (
    *("slug", "slug_taken", "project_name", "class_name", "class_taken", "too_many_classes", "fixed"),
    *("no_folders", "no_match"),
)
OF_REQUESTS = (
    *("bad_request", "bad_cursor", "bad_crop", "invalid", "parameter", "dataset", "webhook"),
    *("idempotency_key_reused", "still_at_work", "asked_too_often", "wrong_state", "refused"),
    *("unauthorised", "scope", "staff_only", "csrf", "not_found", "method_not_allowed", "rate"),
    *("away", "error", "too_late", "address_too_long", "headers_too_long"),
)
CODES = (*OF_FILES, *OF_ARCHIVES, *OF_PROJECTS, *OF_REQUESTS)


class ErrorAnswer(Schema):
    """One of several things that are wrong."""

    model_config = ConfigDict(title="Error")

    where: str = Field(description="The parameter, member or file.", examples=["file.0"])
    filename: str | None = Field(description="Of a file, as it was sent.", examples=["notes.pdf"])
    code: Literal[CODES] = Field(examples=["unsupported_format"])  # type: ignore[valid-type]
    detail: str


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
    code: Literal[CODES] = Field(  # type: ignore[valid-type]
        description="For programs: never changes with the sentence. More may be added.",
        examples=["not_found"],
    )
    errors: list[ErrorAnswer] = Field([], description="Each place, where there are several.")


def error_entry(
    where: str, detail: str, *, code: str = "invalid", filename: str | None = None
) -> dict[str, Any]:
    """One of a problem's ``errors``, always in this shape."""
    return {"where": where, "filename": filename, "code": code, "detail": detail}


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
