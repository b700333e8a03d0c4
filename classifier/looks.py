"""A member of staff looks at one person's photo: with a reason, on record, and not for long."""

from __future__ import annotations

from django.http import HttpRequest
from django.utils.translation import gettext as _

from classifier.audit import record
from classifier.media import LOOKED_AT
from classifier.models import Photo, User

SHORTEST_REASON = 10


class LookRefused(Exception):
    """The photo stays closed; the message says why."""


def look_at(photo: Photo, *, by: User, reason: str, request: HttpRequest | None = None) -> None:
    """Open a photo to ``by`` for fifteen minutes: the line of the audit log is what opens it.

    Raises:
        LookRefused: not staff, or no reason that says anything.
    """
    if not by.is_staff:
        raise LookRefused(_("This is for staff."))
    reason = " ".join(reason.split())
    if len(reason) < SHORTEST_REASON:
        raise LookRefused(_("Say in a few words why: the reason stays in the audit log."))
    record(LOOKED_AT, by=by, detail=f"{photo.pk}: {reason}", request=request)
