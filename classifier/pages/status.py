"""How the site fares: for staff, and for whatever watches it."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from cifarsite.core.pages import staff_only
from classifier.monitoring.readiness import missing_parts
from classifier.monitoring.status import COUNTED, LATELY, WAITS, health


@staff_only
@require_safe
@never_cache
def health_page(request: HttpRequest, *, template: str = "classifier/monitoring/health.html") -> HttpResponse:
    """The whole page, or the part of it that refreshes itself."""
    limits = {"counted": COUNTED, "waits": WAITS, "minutes": LATELY.seconds // 60}
    return render(request, template, {"health": health(), **limits})


@require_safe
def healthz(request: HttpRequest) -> HttpResponse:
    """This process answers."""
    return HttpResponse("ok", content_type="text/plain")


@require_safe
@never_cache
def readyz(request: HttpRequest) -> JsonResponse:
    """The site can do its work: 200, or 503 and what is missing.

    ``?for=answers`` asks besides whether a worker answers photos; without one they are only taken in.
    """
    wanted = request.GET.get("for", "")
    if wanted not in ("", "answers"):
        said = {"ready": False, "missing": {"for": "Ask for 'answers', or leave it out."}}
        return JsonResponse(said, status=400)
    missing = missing_parts(answers=wanted == "answers")
    return JsonResponse({"ready": not missing, "missing": missing}, status=503 if missing else 200)
