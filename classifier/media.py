"""A photo's files, handed to its owner and to staff alone."""

from __future__ import annotations

from pathlib import PurePath

from django.db.models import QuerySet
from django.db.models.fields.files import FieldFile
from django.http import FileResponse, Http404, HttpRequest, HttpResponseBase
from django.utils.cache import get_conditional_response

from classifier.models import Photo, User


def photos_seen_by(user: User) -> QuerySet[Photo]:
    """The photos that a person may look at: staff all of them, others their own."""
    photos = Photo.objects.filter(deleted_at=None).select_related("owner")
    return photos if user.is_staff else photos.filter(owner=user)


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
        except (OSError, ValueError) as error:
            raise Http404("The file is gone.") from error
        ending = PurePath(file.name or "").suffix
        name = f"{PurePath(filename).stem or 'photo'}{ending}"
        response = FileResponse(opened, filename=name)
    response.headers["ETag"] = etag
    response.headers["Cache-Control"] = f"private, max-age={max_age}"
    response.headers["X-Content-Type-Options"] = "nosniff"
    return response
