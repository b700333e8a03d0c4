"""Reading what addresses and forms carry, which may be anything."""

from __future__ import annotations

import re

from django.http import HttpRequest
from django.utils.http import url_has_allowed_host_and_scheme


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
