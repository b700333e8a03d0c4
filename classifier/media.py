"""A photo's files, handed to its owner; to staff only where the owner or a line of the audit log allows."""

from __future__ import annotations

from datetime import timedelta
from pathlib import PurePath
from uuid import UUID

from django.db.models import Exists, OuterRef, Q, QuerySet
from django.db.models.fields.files import FieldFile
from django.http import FileResponse, Http404, HttpRequest, HttpResponseBase
from django.utils import timezone
from django.utils.cache import get_conditional_response

from classifier.models import AuditEntry, Correction, Photo, User
from training.storage import StorageAway

# The line of the audit log that opens one photo to one member of staff, and for how long.
LOOKED_AT = "photo_looked_at"
LOOK = timedelta(minutes=15)


def photos_seen_by(user: User) -> QuerySet[Photo]:
    """The photos that a person may look at: their own.

    Staff also see photos that wait for review, by their owner's consent, and for fifteen minutes
    one that they asked for with a reason; see ``classifier.looks``.
    """
    photos = Photo.objects.filter(deleted_at=None).select_related("owner")
    if not user.is_staff:
        return photos.filter(owner=user)
    corrected = Exists(Correction.objects.filter(photo=OuterRef("pk")))
    for_review = Q(owner__consent__given=True) & Q(corrected)
    return photos.filter(Q(owner=user) | for_review | Q(pk__in=looked_at_by(user)))


def looked_at_by(user: User) -> list[UUID]:
    """Ids of the photos whose look is recorded and not over."""
    lines = AuditEntry.objects.filter(kind=LOOKED_AT, by=user, created_at__gt=timezone.now() - LOOK)
    return [UUID(detail[:36]) for detail in lines.values_list("detail", flat=True)]


def serve(
    request: HttpRequest, file: FieldFile, *, filename: str, version: str, max_age: int
) -> HttpResponseBase:
    """Stream a stored file.

    Args:
        filename: the original name; the answer carries it with the stored file's own ending.
        version: changes whenever the content does.
        max_age: seconds for which the person's own browser may keep it without asking again.
    """
    etag = f'"{version}"'
    response: HttpResponseBase | None = get_conditional_response(request, etag=etag)
    if response is None:
        try:
            opened = file.open("rb")
        except StorageAway:
            raise
        except (OSError, ValueError) as error:
            raise Http404("The file is gone.") from error
        ending = PurePath(file.name or "").suffix
        name = f"{PurePath(filename).stem or 'photo'}{ending}"
        response = FileResponse(opened, filename=name)
    response.headers["ETag"] = etag
    response.headers["Cache-Control"] = f"private, max-age={max_age}"
    response.headers["X-Content-Type-Options"] = "nosniff"
    return response
