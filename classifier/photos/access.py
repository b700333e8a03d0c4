"""A photo's files, handed to its owner; to staff only where the owner or a line of the audit log allows."""

from __future__ import annotations

from datetime import timedelta
from pathlib import PurePath
from uuid import UUID

from django.db.models import Exists, OuterRef, Q, QuerySet
from django.db.models.fields.files import FieldFile
from django.http import FileResponse, Http404, HttpRequest, HttpResponseBase
from django.shortcuts import get_object_or_404
from django.utils import timezone
from django.utils.cache import get_conditional_response
from django.utils.translation import gettext as _

from cifarsite.core.storage import StorageUnavailable
from classifier.accounts.audit import record, record_refusal
from classifier.models import AuditEntry, Correction, Photo, User
from classifier.photos.files import open_for_download

# The line of the audit log that opens one photo to one member of staff, and for how long.
ACCESS_GRANTED = "photo_looked_at"
ACCESS_PERIOD = timedelta(minutes=15)


def photos_seen_by(user: User) -> QuerySet[Photo]:
    """The photos that a person may view: their own.

    Staff also see photos for review, and for fifteen minutes one that they asked for with a reason;
    see ``classifier.photos.access``. They may only view it; only its owner changes a photo.
    """
    photos = Photo.objects.filter(deleted_at=None).select_related("owner", "project")
    if not user.is_staff:
        return photos.filter(owner=user)
    return photos.filter(Q(owner=user) | _for_review() | Q(pk__in=granted_to(user)))


def photos_for_review() -> QuerySet[Photo]:
    """Photos that their owner corrected and lets be used; what others say of them opens nothing."""
    return Photo.objects.filter(_for_review(), deleted_at=None)


def _for_review() -> Q:
    own = Correction.objects.filter(photo=OuterRef("pk"), by=OuterRef("owner"))
    return Q(Exists(own), owner__consent__given=True)


def granted_to(user: User) -> list[UUID]:
    """Ids of the photos to which the person has staff access now."""
    lines = AuditEntry.objects.filter(
        kind=ACCESS_GRANTED, by=user, created_at__gt=timezone.now() - ACCESS_PERIOD
    )
    return [UUID(detail[:36]) for detail in lines.values_list("detail", flat=True)]


def serve(
    request: HttpRequest, photo: Photo, file: FieldFile, *, filename: str, version: str, max_age: int
) -> HttpResponseBase:
    """Stream a stored file of a photo; a model input as a PNG.

    Args:
        filename: the original name; the answer carries it with the stored file's own ending.
        version: changes whenever the content does.
        max_age: seconds for which the owner's browser may keep it without asking again; others' keep
            nothing, since what they may see ends.
    """
    etag = f'"{version}"'
    response: HttpResponseBase | None = get_conditional_response(request, etag=etag)
    if response is None:
        try:
            opened, ending = open_for_download(file)
        except StorageUnavailable:
            raise
        except (OSError, ValueError, SyntaxError) as error:
            raise Http404("The file is missing.") from error
        name = f"{PurePath(filename).stem or 'photo'}{ending}"
        response = FileResponse(opened, filename=name)
    response.headers["ETag"] = etag
    kept = f"max-age={max_age}" if photo.owner == request.user else "no-store"
    response.headers["Cache-Control"] = f"private, {kept}"
    response.headers["X-Content-Type-Options"] = "nosniff"
    return response


SHORTEST_REASON = 10


class AccessRefused(Exception):
    """The photo stays closed; the message says why."""


def grant_access(photo: Photo, *, by: User, reason: str, request: HttpRequest | None = None) -> None:
    """Open a photo to ``by`` for fifteen minutes: the line of the audit log is what opens it.

    Raises:
        AccessRefused: not staff, or no reason that says anything.
    """
    if not by.is_staff:
        raise AccessRefused(_("This is for staff."))
    reason = " ".join(reason.split())
    if len(reason) < SHORTEST_REASON:
        raise AccessRefused(_("Give a short reason: the audit log keeps it."))
    record(ACCESS_GRANTED, by=by, detail=f"{photo.pk}: {reason}", request=request)


def find_photo(request: HttpRequest, pk: UUID) -> Photo:
    """A photo that the viewer may see. Staff access is recorded, at most a line a
    minute for the same part.

    Raises:
        Http404: it does not exist, for them.
    """
    assert isinstance(request.user, User)
    photo = get_object_or_404(photos_seen_by(request.user), pk=pk)
    if photo.owner_id != request.user.pk and not photos_for_review().filter(pk=pk).exists():
        part = request.resolver_match.url_name if request.resolver_match else ""
        record_refusal("photo_read", by=request.user, detail=f"{pk}: {part}", request=request)
    return photo
