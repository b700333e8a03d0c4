"""What the pages of both apps share, and what requests pass on their way to them."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import wraps
from typing import Any

from django.contrib.auth.decorators import login_required
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponseBase
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.translation import gettext as _

# htmx stops to ask when it is answered with this.
STOP_POLLING = 286
COLOURS = 30

View = Callable[..., HttpResponseBase]


class Middleware:
    """Passes requests on; a subclass overrides ``__call__``, or adds ``process_view``."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        return self.get_response(request)


def staff_only(view: View) -> View:
    """302 to the sign-in for strangers, 403 for people who are not staff."""

    @login_required
    @wraps(view)
    def checked(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        if not request.user.is_staff:
            raise PermissionDenied(_("This is for staff."))
        return view(request, *args, **kwargs)

    return checked


def whole_number(text: str) -> int | None:
    """The number that a parameter names; None where it is none, or larger than any row's."""
    return int(text) if re.fullmatch("[0-9]{1,18}", text) else None


def next_page(request: HttpRequest, otherwise: str) -> str:
    """Where a form wants to go on, if that is a page of this site; as a path, never as a view's name."""
    wanted = request.POST.get("next", "")
    safe = wanted.startswith("/") and url_has_allowed_host_and_scheme(
        wanted, allowed_hosts={request.get_host()}, require_https=request.is_secure()
    )
    return wanted if safe else otherwise


def colour_of(position: int) -> str:
    """What stands behind ``of-`` for the class at a place: '0' to '29', then again from '0'.

    By their place among the classes, never by their names, which may be anything. ``static/site.css`` has
    a class ``of-0`` to ``of-29``, each with a colour and one of three shapes of the dot; all stand out from
    every background in both themes.
    """
    return str(position % COLOURS)
