"""What the pages of both apps share."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from django.contrib.auth.decorators import login_required
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponseBase
from django.utils.translation import gettext as _

# htmx stops to ask when it is answered with this.
STOP_POLLING = 286

View = Callable[..., HttpResponseBase]


def staff_only(view: View) -> View:
    """302 to the sign-in for strangers, 403 for people who are not staff."""

    @login_required
    @wraps(view)
    def checked(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        if not request.user.is_staff:
            raise PermissionDenied(_("This is for staff."))
        return view(request, *args, **kwargs)

    return checked
