"""manage.py project: make a project, bring labelled images into it."""

from __future__ import annotations

import io
import sys
import time
from argparse import ArgumentParser
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from django.core.management.base import BaseCommand, CommandError
from django.utils.translation import gettext as _

from classifier.uploads import import_plan, import_worker, project_imports
from classifier.uploads.errors import Rejected
from training.models import Project, ProjectImport
from training.projects import images, lifecycle
from training.projects.refusals import ProjectRefused


class Command(BaseCommand):
    help = "Make a project of your own classes, and import images into it."

    def add_arguments(self, parser: ArgumentParser) -> None:
        acts = parser.add_subparsers(dest="act", required=True)
        create = acts.add_parser("create", help="make a project")
        create.add_argument("name", metavar="NAME")
        create.add_argument(
            "--slug", default="", metavar="S", help="its name in addresses; else made of NAME"
        )
        bring = acts.add_parser(
            "import", help="import a ZIP archive or a folder, with a folder for each class"
        )
        bring.add_argument("slug", metavar="SLUG")
        bring.add_argument("path", metavar="PATH", type=Path)
        bring.add_argument(
            "--labels", metavar="CSV", type=Path, help="filename,label: instead of folders (ZIP)"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            if options["act"] == "create":
                project = lifecycle.create(options["name"], slug=options["slug"])
                self.stdout.write(project.pk)
            else:
                self.bring_in(options["slug"], options["path"], options["labels"])
        except (ProjectRefused, Rejected) as refusal:
            raise CommandError(str(refusal.detail)) from refusal
        except OSError as error:
            raise CommandError(_("%(file)s cannot be read: %(why)s.") % why(error)) from error

    def bring_in(self, slug: str, path: Path, labels: Path | None) -> None:
        project = Project.objects.filter(pk=slug).first()
        if project is None:
            known = ", ".join(Project.objects.values_list("pk", flat=True)[:20])
            raise CommandError(
                _("There is no project '%(slug)s'; there are: %(known)s.") % {"slug": slug, "known": known}
            )
        if labels and path.is_dir():
            raise CommandError(_("A table of labels goes with a ZIP archive: pack the folder first."))
        found = failed = 0
        for archive in import_plan.pack(path) if path.is_dir() else opened(path):
            table = io.BytesIO(labels.read_bytes()) if labels else None
            row = project_imports.import_archive(
                project, archive, filename=path.name, by=None, labels=table, wake_workers=False
            )
            self.follow(row)
            found, failed = found + row.added + row.duplicates, failed + row.failed
            self.tell(row)
        for warning in images.warnings(project):
            self.stderr.write(self.style.WARNING(str(warning)))
        if failed and not found:
            raise CommandError(_("Nothing was imported."))

    def follow(self, row: ProjectImport) -> None:
        """Do the work here; where a worker has it, watch."""
        begun = time.monotonic()
        while not row.is_over:
            if not import_worker.import_slice("manage.py project", only=row):
                time.sleep(0.2)
            row.refresh_from_db()
            if sys.stderr.isatty():
                rate = row.cursor / max(time.monotonic() - begun, 0.001)
                share = row.cursor / max(row.total, 1)
                bar = f"[{'#' * round(30 * share):.<30}] {share:4.0%}  {rate:.0f}/s"
                end = "\n" if row.cursor == row.total else ""
                self.stderr.write(f"\r{row.filename} {bar}", ending=end)

    def tell(self, row: ProjectImport) -> None:
        for error in row.errors:
            self.stderr.write(f"{error['filename']}: {error['detail']}")
        if row.failed > len(row.errors):
            self.stderr.write(_("... and %(n)d more.") % {"n": row.failed - len(row.errors)})
        if row.error_detail:
            self.stderr.write(row.error_detail)
        figures = {"added": row.added, "duplicates": row.duplicates, "failed": row.failed}
        said = _("%(added)d images added, %(duplicates)d were there already, %(failed)d files refused.")
        self.stdout.write(said % figures)


def opened(path: Path) -> Iterator[BinaryIO]:
    with path.open("rb") as file:
        yield file


def why(error: OSError) -> dict[str, Any]:
    return {"file": error.filename or _("A file"), "why": error.strerror or error}
