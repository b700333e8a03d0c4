"""The health page, for staff."""

from __future__ import annotations

from django.contrib.auth.decorators import login_required
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from classifier.health import COUNTED, LATELY, WAITS, health


@login_required
@require_safe
@never_cache
def health_page(request: HttpRequest, *, template: str = "classifier/health.html") -> HttpResponse:
    """The whole page, or the part of it that refreshes itself."""
    if not request.user.is_staff:
        raise PermissionDenied(_("Only staff may look at the health of the site."))
    limits = {"counted": COUNTED, "waits": WAITS, "minutes": LATELY.seconds // 60}
    return render(request, template, {"health": health(), **limits})
