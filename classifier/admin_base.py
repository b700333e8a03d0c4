"""What the admin's tables about photos share."""

from __future__ import annotations

from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from classifier.models import Photo


def thumbnail(photo: Photo, classes: str) -> SafeString | str:
    """A small picture from the private view; deleted photos are shown to nobody."""
    if photo.deleted_at:
        return "–"
    url = reverse("classifier:photo-thumbnail", args=[photo.pk])
    return format_html('<img class="{}" src="{}" alt="{}" loading="lazy">', classes, url, photo.filename)
