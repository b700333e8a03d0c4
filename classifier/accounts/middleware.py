"""The language and the time zone that a person chose go with the account, whatever the browser says."""

import zoneinfo
from contextlib import nullcontext
from functools import cache

from django.conf import settings
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils import timezone, translation

from cifarsite.core.pages import Middleware


class AccountLanguageMiddleware(Middleware):
    """Speak the account's language; the browser's choice stands where none is kept."""

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        language = getattr(request.user, "language", "")
        if language and language in dict(settings.LANGUAGES):
            translation.activate(language)
            request.LANGUAGE_CODE = translation.get_language()
        return self.get_response(request)


@cache
def time_zones() -> tuple[str, ...]:
    """Names of zones that a person may choose, in their order; found once, since it reads many files."""
    return tuple(sorted(name for name in zoneinfo.available_timezones() if "/" in name or name == "UTC"))


class AccountTimeZoneMiddleware(Middleware):
    """Show times and days in the account's time zone; the API's are always UTC."""

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        name = "" if request.path.startswith("/api/") else getattr(request.user, "time_zone", "")
        # A name may leave the database of zones.
        known = name and name in time_zones()
        with timezone.override(zoneinfo.ZoneInfo(name)) if known else nullcontext():
            return self.get_response(request)
