from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from classifier.operations.backup import newest, restore
from classifier.operations.database_dumps import BackupError


class Command(BaseCommand):
    help = "Restore a backup: stop web and workers first, and start them afterwards."
    # There may be no database to check.
    requires_system_checks = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "folder", type=Path, help="A backup, or the folder of all backups: then the newest is used."
        )
        parser.add_argument("--replace", action="store_true", help="Delete what the database holds now.")
        parser.add_argument(
            "--leave-out-damaged",
            action="store_true",
            help="Restore without the files that are missing in the backup or damaged; they are listed.",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        folder = options["folder"]
        try:
            made = folder if (folder / "manifest.json").exists() else newest(folder)
            done = restore(made, replace=options["replace"], leave_out_damaged=options["leave_out_damaged"])
        except (BackupError, OSError) as error:
            raise CommandError(str(error)) from error
        self.stdout.write(
            f"{done.folder}: {done.rows:,} rows and {done.files:,} files were restored "
            f"({done.copied:,} written)."
        )
        for name in done.damaged:
            self.stdout.write(f"left out  {name}")
        if done.damaged:
            self.stdout.write(
                f"{len(done.damaged):,} files were left out: 'manage.py orphans' lists the photos that they "
                "belong to, and removes them with --remove-rows."
            )
