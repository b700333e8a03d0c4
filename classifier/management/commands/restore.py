from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from classifier.backups import BackupError, newest, restore


class Command(BaseCommand):
    help = "Restore a backup: stop web and workers first, and start them afterwards."
    # There may be no database to check.
    requires_system_checks = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("folder", type=Path, help="A backup, or the folder of all: then the newest.")
        parser.add_argument("--replace", action="store_true", help="Lose what the database holds now.")

    def handle(self, *args: Any, **options: Any) -> None:
        folder = options["folder"]
        try:
            made = folder if (folder / "manifest.json").exists() else newest(folder)
            done = restore(made, replace=options["replace"])
        except (BackupError, OSError) as error:
            raise CommandError(str(error)) from error
        self.stdout.write(
            f"{done.folder}: {done.rows:,} rows and {done.files:,} files are back ({done.copied:,} written)."
        )
