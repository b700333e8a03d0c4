"""What commands name: a project, a dataset version."""

from __future__ import annotations

from django.core.management.base import CommandError

from training.models import DEFAULT_PROJECT, DatasetVersion, Project


def find_project(slug: str) -> str:
    if not Project.objects.filter(pk=slug).exists():
        known = ", ".join(Project.objects.values_list("slug", flat=True)[:20])
        raise CommandError(f"There is no project '{slug}'; there are: {known}.")
    return slug


def find_dataset(wanted: str, project: str = DEFAULT_PROJECT) -> DatasetVersion:
    """A project's version by number or by name; 'newest': the last that was frozen."""
    rows = DatasetVersion.objects.filter(project=project).defer("manifest")
    if wanted == "newest":
        found = (rows.exclude(images=None) if project == DEFAULT_PROJECT else rows).first()
    else:
        found = rows.filter(name=wanted).first()
        if found is None and wanted.isascii() and wanted.isdecimal() and len(wanted) < 10:
            found = rows.filter(pk=int(wanted)).first()
    if found is None:
        known = ", ".join(f"{row.pk} ({row.name})" for row in rows[:20]) or "none"
        raise CommandError(f"There is no dataset version '{wanted}'; there are: {known}.")
    return found
