"""manage.py orphans: files without rows and rows without files."""

from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from classifier.models import Photo
from classifier.operations import orphaned_files
from classifier.photos.history import remove_photos
from training.models import RemovedFile

# Where more rows than this share miss their file, the storage is more likely away than the files.
MOST_LOST = 0.1


class Command(BaseCommand):
    help = (
        "List files that belong to no row of the database, and rows whose files are missing. Changes nothing "
        "without --remove or --remove-rows. The sweeper removes such files once a day, some at a time."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--remove", action="store_true", help="Remove the files that belong to no row.")
        parser.add_argument(
            "--remove-rows", action="store_true", help="Remove the photos whose display copy is missing."
        )

    def handle(self, *args: Any, **options: Any) -> None:
        strays = rows = removed = 0
        lost = []
        for found in orphaned_files.everything():
            strays += len(found.strays)
            rows += found.rows
            lost += found.lost
            for name in found.strays:
                self.stdout.write(f"no row   {name}")
            for _photo, name in found.lost:
                self.stdout.write(f"no file  {name}")
            if options["remove"]:
                removed += orphaned_files.remove_strays(found)
        gone = orphaned_files.lost_photos(lost)
        self.stdout.write(
            f"{strays} files older than {settings.ORPHAN_HOURS} h belong to no row"
            f"{f', {removed} were removed' if options['remove'] else ''}; {len(lost)} files of {rows} photos "
            f"are missing, {len(gone)} of them display copies."
        )
        if waiting := RemovedFile.objects.count():
            self.stdout.write(f"{waiting} files or folders wait for the sweeper, which removes them.")
        if options["remove_rows"]:
            self._remove_rows(gone, rows)

    def _remove_rows(self, gone: list[Any], rows: int) -> None:
        if len(gone) > max(1, MOST_LOST * rows):
            raise CommandError(
                f"{len(gone)} of {rows} photos have no file: check that the storage is available "
                "and the right one. Nothing was removed."
            )
        removed = remove_photos(Photo.objects.filter(pk__in=gone))
        self.stdout.write(f"{removed} photos were removed.")
