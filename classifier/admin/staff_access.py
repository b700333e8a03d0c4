"""Pictures in the admin: those that the viewer may see, and the page that opens another one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.db.models import Exists, OuterRef, QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from classifier.models import Photo, User
from classifier.photos.access import AccessRefused, grant_access, photos_seen_by
from training.admin.base import ModelAdmin

if TYPE_CHECKING:
    Base = ModelAdmin
else:
    Base = object


class LookForm(forms.Form):
    """Why somebody's photo has to be looked at."""

    reason = forms.CharField(
        label=gettext_lazy("Reason"),
        help_text=gettext_lazy(
            "The audit log keeps the reason with your name. Don't name other people in it."
        ),
        max_length=500,
        widget=forms.Textarea(attrs={"rows": 2}),
    )


class OnlySeen(Base):
    """Rows know whether their photo may be shown: ``may_see``."""

    path_to_photo = "photo"

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        assert isinstance(request.user, User)
        seen = photos_seen_by(request.user).filter(pk=OuterRef(self.path_to_photo))
        rows: QuerySet[Any] = super().get_queryset(request).annotate(may_see=Exists(seen.order_by()))
        return rows


class StaffAccess(OnlySeen):
    """Adds 'Open this photo', which asks for a reason and records it."""

    path_to_photo = "pk"

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.staff_access_view)
        return [
            path("<path:object_id>/staff-access/", view, name="classifier_photo_staff_access"),
            *super().get_urls(),
        ]

    def staff_access_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        photo = self.get_object(request, unquote(object_id))
        if not self.has_view_permission(request, photo):
            raise PermissionDenied
        if photo is None or photo.deleted_at:
            raise Http404
        form = LookForm(request.POST or None)
        if form.is_valid():
            assert isinstance(request.user, User)
            try:
                grant_access(photo, by=request.user, reason=form.cleaned_data["reason"], request=request)
            except AccessRefused as refusal:
                form.add_error("reason", str(refusal))
            else:
                return redirect(reverse("admin:classifier_photo_change", args=[photo.pk]))
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": _("Open this photo"),
            "question": _(
                "Photos are private to their owners. If you give a reason, you can view this photo "
                "for fifteen minutes; the audit log records who viewed it, when and why."
            ),
            "rows": [photo.filename],
            "form": form,
            "button": _("Open the photo"),
        }
        return TemplateResponse(request, "admin/confirm.html", context)


def thumbnail(photo: Photo, classes: str, may_see: bool) -> SafeString | str:
    """A small picture from the private view; a dash where the viewer may not see it."""
    if photo.deleted_at or not may_see:
        return "–"
    url = reverse("classifier:photo-thumbnail", args=[photo.pk])
    return format_html('<img class="{}" src="{}" alt="{}" loading="lazy">', classes, url, photo.filename)


def way_to(photo: Photo, may_see: bool) -> SafeString | str:
    """The link to the photo's page, or to the form that opens it."""
    if photo.deleted_at:
        return "–"
    if may_see:
        return format_html('<a href="{}">{}</a>', photo.get_absolute_url(), _("Open"))
    url = reverse("admin:classifier_photo_staff_access", args=[photo.pk])
    return format_html('<a href="{}">{}</a>', url, _("Open this photo, giving a reason"))
