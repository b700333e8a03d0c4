"""The admin's tables of projects: to look up; projects are made and changed on their own pages."""

from __future__ import annotations

from django.contrib import admin
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy

from training.admin.base import Internal, LargeTableAdmin, ReadOnly, coloured, linked, shortened
from training.models import Project, ProjectClass, ProjectImage, ProjectImport, RemovedFile


@admin.register(Project)
class ProjectAdmin(ReadOnly, LargeTableAdmin):
    list_display = ("name", "slug", "is_open", "maker", "created_at", "page")
    list_filter = ("is_open", "created_at")
    list_select_related = ("created_by",)
    number_field = ""
    search_fields = ("slug__startswith", "name__istartswith")
    search_help_text = gettext_lazy("The beginning of a project's slug or name.")
    fields = ("name", "slug", "is_open", "members", "created_by", "created_at", "page")
    readonly_fields = ("page",)

    maker = linked("created_by", gettext_lazy("created by"))

    @admin.display(description=gettext_lazy("page"))
    def page(self, project: Project) -> SafeString:
        return format_html('<a href="{}">{}</a>', project.get_absolute_url(), project.name)


@admin.register(ProjectClass)
class ProjectClassAdmin(ReadOnly, LargeTableAdmin):
    list_display = ("name", "project_link", "position", "image_count")
    list_filter = ("project",)
    list_select_related = ("project",)
    ordering = ("project", "position", "id")
    search_fields = ("name__istartswith", "project__slug__exact")
    search_help_text = gettext_lazy("The beginning of a class's name, or a project's whole slug.")

    project_link = linked("project", gettext_lazy("project"))


@admin.register(ProjectImport)
class ProjectImportAdmin(ReadOnly, LargeTableAdmin):
    list_display = (
        *("filename", "project_link", "coloured_state", "person"),
        *("total", "added", "duplicates", "failed", "created_at"),
    )
    list_filter = ("state", "project", "created_at")
    list_select_related = ("project", "requested_by")
    number_field = ""
    uuid_field = "pk"
    search_fields = ("filename__istartswith", "project__slug__exact", "requested_by__username__exact")
    search_help_text = gettext_lazy(
        "The beginning of a file name, a project's whole slug, a whole user name, or an id."
    )
    fields = (
        *("filename", "project", "state", "requested_by", "total", "cursor", "added", "duplicates"),
        *("failed", "errors", "error_detail", "attempt", "worker", "created_at", "finished_at"),
    )

    project_link = linked("project", gettext_lazy("project"))
    coloured_state = coloured("state", gettext_lazy("state"), ordering="state")
    person = linked("requested_by", gettext_lazy("requested by"))


@admin.register(ProjectImage)
class ProjectImageAdmin(Internal):
    """Images of projects; some were made of people's photos, so superusers alone look them up here."""

    list_display = ("filename", "project_link", "label", "split", "digest", "created_at")
    list_filter = ("project", "split", "created_at")
    list_select_related = ("project", "label")
    number_field = ""
    uuid_field = "pk"
    digest_field = "sha256"
    search_fields = ("filename__istartswith", "project__slug__exact")
    search_help_text = gettext_lazy(
        "The beginning of a file name, a project's whole slug, an id, or the sha256 of the pixels."
    )
    fields = ("filename", "project", "label", "split", "sha256", "width", "height", "created_at")

    project_link = linked("project", gettext_lazy("project"))
    digest = shortened("sha256", gettext_lazy("sha256 of the pixels"))


@admin.register(RemovedFile)
class RemovedFileAdmin(Internal):
    """What the sweeper has still to remove; tried in vain: the log says why."""

    list_display = ("name", "tries", "created_at")
    number_field = ""
    search_fields = ("name__startswith",)
    search_help_text = gettext_lazy("The beginning of a file's name.")
    fields = ("name", "tries", "created_at")
