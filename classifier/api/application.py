"""The API as a whole: its description, how it reports errors, and its OpenAPI schema."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import RequestDataTooBig, SuspiciousOperation
from django.db import DataError, OperationalError
from django.http import Http404, HttpRequest, HttpResponse, UnreadablePostError
from django.http.multipartparser import MultiPartParserError
from django.utils.translation import gettext as _
from ninja import NinjaAPI
from ninja.errors import AuthenticationError, HttpError, ValidationError
from ninja.openapi.schema import OpenAPISchema
from ninja.router import BoundRouter

from cifarsite.core.api_problems import Problem, error_entry
from cifarsite.core.storage import is_full
from classifier.accounts.idempotency import KeyReused, StillAtWork
from classifier.accounts.rate_limits import RateLimitExceeded
from classifier.api.authentication import BearerToken, SessionCookie, unauthorised
from classifier.api.batches import batches
from classifier.api.errors import PROBLEM_TYPE, problem_body, problem_response
from classifier.api.history import photos
from classifier.api.invalid import place, refuse_unknown_parameters, sentence
from classifier.api.projects import projects
from classifier.images.formats import FORMAT_NAMES
from training.api import models, training_jobs

DESCRIPTION = """
Upload photos and learn which class of a project is in them. The project `cifar10`, meant wherever none
is named, has CIFAR-10's ten: airplane, automobile, bird, cat, deer, dog, frog, horse, ship or truck.

**Signing in.** Make a token on your account page and send it as `Authorization: Bearer TOKEN`.
Scopes: `predict` (upload, correct, delete), `read` (look), `train` (staff: train, promote).
In a browser in which you are signed in, this page works without a token.

**Errors** are `application/problem+json` with a `code` for programs and a `detail` for people.

**Rates.** Every answer that counts says in `RateLimit` how many requests are left (`r`) and for how many
seconds (`t`), and in `RateLimit-Policy` how many there are (`q`) in a window of seconds (`w`). 429 names in
`Retry-After` the seconds until it is worth asking again. A file costs as much as a request.

**Versions.** Members may be added to answers at any time; nothing is removed or renamed within `v1`.
"""
HEADERS = {
    202: {"Retry-After": {"description": "Seconds.", "schema": {"type": "integer", "minimum": 1}}},
    401: {"WWW-Authenticate": {"description": "How to sign in.", "schema": {"type": "string"}}},
    429: {"Retry-After": {"description": "Seconds.", "schema": {"type": "integer", "minimum": 1}}},
    503: {"Retry-After": {"description": "Seconds.", "schema": {"type": "integer", "minimum": 1}}},
}
# Every answer has them that counts on a limit; good ones and 429 say so.
RATES = {
    "RateLimit": {
        "description": "How many requests are left, `r`, for `t` seconds: a minute's limit and a day's.",
        "schema": {"type": "string"},
        "example": '"token-minute";r=299;t=42, "token-day";r=19999;t=3600',
    },
    "RateLimit-Policy": {
        "description": "How many requests there are, `q`, in a window of `w` seconds.",
        "schema": {"type": "string"},
        "example": '"token-minute";q=300;w=60, "token-day";q=20000;w=86400',
    },
}
EXAMPLES = {
    400: ("not_an_image", f"This file is not an image. Upload a file of one of these kinds: {FORMAT_NAMES}."),
    401: ("unauthorised", "Send a token: 'Authorization: Bearer TOKEN'."),
    403: ("scope", "This needs a token with the scope 'predict'. Make one on your account page."),
    404: ("not_found", "There is no such photo, or it is not yours."),
    409: ("wrong_state", "Job #7 is succeeded: only a running one can be stopped."),
    413: ("quota", "You have 100000 photos, which is the limit. Delete some and try again."),
    422: ("invalid", "wait: It must be 30 or less."),
    429: ("rate", "You ask too often. Try again in 12 s."),
    503: ("busy", "The site cannot take photos in at the moment. Nothing was stored; try again in a minute."),
    507: ("storage_full", "The site has no space left for photos. Nothing was stored; try again later."),
}


class Api(NinjaAPI):
    """Ninja's API with errors documented as what they are, and no parameter passed over in silence."""

    def _get_bound_routers(self) -> list[BoundRouter]:
        is_first = self._bound_routers_cache is None
        routers = super()._get_bound_routers()
        if is_first:
            for router in routers:
                refuse_unknown_parameters(router.path_operations.values())
        return routers

    def get_openapi_schema(self, **options: Any) -> OpenAPISchema:
        schema = super().get_openapi_schema(**options)
        schema["components"]["headers"] = RATES
        for path in schema["paths"].values():
            for operation in path.values():
                for parameter in operation["parameters"]:
                    _give_one_example(parameter)
                form = operation.get("requestBody", {}).get("content", {}).get("multipart/form-data")
                if form:
                    _leave_out_null(form["schema"]["properties"])
                operation["responses"] = {
                    str(status): _described(int(status), response)
                    for status, response in sorted(operation["responses"].items(), key=lambda r: int(r[0]))
                }
        return schema


api = Api(
    title="cifarsite",
    version="1.0.0",
    description=DESCRIPTION.strip(),
    urls_namespace="api",
    docs_url=None,
    openapi_url="/openapi.json",
    auth=[BearerToken(), SessionCookie()],
    servers=[{"url": "/", "description": "This site"}],
    openapi_extra={
        "tags": [
            {"name": "Photos", "description": "Upload, look, correct, delete."},
            {"name": "Batches", "description": "Thousands of photos in one ZIP archive."},
            {"name": "Projects", "description": "Classes of your own and their labelled images."},
            {"name": "Models", "description": "Which model answers, and how good it is."},
            {"name": "Training jobs", "description": "Train new models. For staff."},
        ]
    },
)
api.add_router("", photos)
api.add_router("", batches)
api.add_router("", projects)
api.add_router("", models)
api.add_router("", training_jobs)


@api.exception_handler(Problem)
def answer_problem(request: HttpRequest, problem: Problem) -> HttpResponse:
    return problem_response(
        problem.status, problem.code, problem.detail, headers=problem.headers, **problem.extra
    )


@api.exception_handler(AuthenticationError)
def answer_stranger(request: HttpRequest, error: AuthenticationError) -> HttpResponse:
    return answer_problem(request, unauthorised(_("Send a token: 'Authorization: Bearer TOKEN'.")))


@api.exception_handler(RateLimitExceeded)
def answer_too_often(request: HttpRequest, error: RateLimitExceeded) -> HttpResponse:
    detail = _("You send requests too often. Try again in %(seconds)d s.") % {"seconds": error.seconds}
    return problem_response(429, "rate", detail, headers={"Retry-After": str(error.seconds)})


@api.exception_handler(ValidationError)
def answer_invalid(request: HttpRequest, error: ValidationError) -> HttpResponse:
    """One sentence about all that is wrong, and a list that names each place."""
    by_place: dict[str, dict[str, Any]] = {}
    for entry in error.errors:
        where = place(entry["loc"])
        by_place.setdefault(where, error_entry(where, sentence(entry)))
    found = list(by_place.values())
    detail = " ".join(f"{entry['where']}: {entry['detail']}" for entry in found)
    return problem_response(422, "invalid", detail, errors=found)


@api.exception_handler(HttpError)
def answer_http_error(request: HttpRequest, error: HttpError) -> HttpResponse:
    if str(error).startswith("Cannot parse request body"):
        return problem_response(error.status_code, "bad_request", _("The request's body is not JSON."))
    return problem_response(error.status_code, "bad_request", _("%(error)s.") % {"error": error})


@api.exception_handler(Http404)
def answer_not_found(request: HttpRequest, error: Http404) -> HttpResponse:
    return problem_response(404, "not_found", _("This object does not exist, or it is not yours."))


@api.exception_handler(KeyReused)
def answer_key_reused(request: HttpRequest, error: KeyReused) -> HttpResponse:
    return problem_response(422, "idempotency_key_reused", str(error))


@api.exception_handler(StillAtWork)
def answer_still_at_work(request: HttpRequest, error: StillAtWork) -> HttpResponse:
    return problem_response(409, "still_at_work", str(error), headers={"Retry-After": "1"})


@api.exception_handler(SuspiciousOperation)
def answer_suspicious(request: HttpRequest, error: SuspiciousOperation) -> HttpResponse:
    """Django's own bounds: too many fields or files, a body that is too large."""
    status = 413 if isinstance(error, RequestDataTooBig) else 400
    return problem_response(status, "bad_request", _("%(error)s") % {"error": error})


@api.exception_handler(MultiPartParserError)
@api.exception_handler(UnreadablePostError)
def answer_unreadable(request: HttpRequest, error: Exception) -> HttpResponse:
    return problem_response(400, "bad_request", _("The request's body is damaged or ended too early."))


@api.exception_handler(DataError)
@api.exception_handler(OverflowError)
def answer_unfitting(request: HttpRequest, error: Exception) -> HttpResponse:
    """A value that the operation takes and no column holds."""
    detail = _("A number is too large, or a text contains a NUL character: send another value.")
    return problem_response(422, "invalid", detail, errors=[])


@api.exception_handler(OSError)
@api.exception_handler(OperationalError)
def answer_full_disk(request: HttpRequest, error: Exception) -> HttpResponse:
    if not is_full(error):
        raise error
    detail = _("The site has no space left for photos. Nothing was stored; try again later.")
    return problem_response(507, "storage_full", detail)


def _give_one_example(parameter: dict[str, Any]) -> None:
    # OpenAPI wants a map of examples beside a parameter, and ninja gives JSON Schema's list.
    examples = parameter.pop("examples", None)
    if isinstance(examples, list) and examples:
        parameter["example"] = examples[0]


def _leave_out_null(members: dict[str, Any]) -> None:
    # A member of a form is left out; it cannot be null.
    for member in members.values():
        if "anyOf" in member:
            member.update(next(shape for shape in member.pop("anyOf") if shape["type"] != "null"))


def _described(status: int, response: dict[str, Any]) -> dict[str, Any]:
    rates = {name: {"$ref": f"#/components/headers/{name}"} for name in RATES}
    named = {**response.get("headers", {}), **HEADERS.get(status, {})}
    if status < 400 or status == 429:
        named |= rates
    if named:
        response["headers"] = named
    if status < 400:
        return response
    example = problem_body(status, *EXAMPLES[status])
    content = response["content"].pop("application/json")
    response["content"] = {PROBLEM_TYPE: {**content, "example": example}}
    return response
