from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from classifier.backups import BackupError, back_up


class Command(BaseCommand):
    help = "Back up the database and all stored files into a folder, while the site runs."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("folder", type=Path, help="The same one each time: files are copied once.")
        parser.add_argument("--keep", type=int, default=0, metavar="N", help="Keep the last N; default: all.")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            done = back_up(options["folder"], keep=options["keep"])
        except (BackupError, OSError) as error:
            raise CommandError(str(error)) from error
        self.stdout.write(
            f"{done.folder}: {done.rows:,} rows, {done.files:,} files ({done.copied:,} of them new)."
        )
