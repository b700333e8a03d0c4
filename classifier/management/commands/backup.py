from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError

from classifier.monitoring.backup_age import note_made
from classifier.operations.backup import back_up
from classifier.operations.database_dumps import BackupError


class Command(BaseCommand):
    help = "Back up the database and all stored files into a folder, while the site runs."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "folder", type=Path, help="Use the same folder each time: each file is copied once."
        )
        parser.add_argument(
            "--keep", type=int, default=0, metavar="N", help="Keep the last N backups; default: all."
        )
        parser.add_argument(
            "--verify",
            action="store_true",
            help="Read every stored file and compare it with its copy; default: compare sizes only.",
        )
        parser.add_argument(
            "--allow-missing",
            action="store_true",
            help="Continue although files named in the database are missing in the storage.",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            done = back_up(
                options["folder"],
                keep=options["keep"],
                verify=options["verify"],
                allow_missing=options["allow_missing"],
            )
        except (BackupError, OSError) as error:
            raise CommandError(str(error)) from error
        except DatabaseError as error:
            raise CommandError(
                f"The database cannot be read ({error}): check that VAR_DIR and DATABASE_URL are those "
                "of the site."
            ) from error
        note_made()
        self.stdout.write(
            f"{done.folder}: {done.rows:,} rows, {done.files:,} files ({done.copied:,} of them new)."
        )
        for line in done.damaged:
            self.stderr.write(line)
        if done.damaged:
            raise CommandError(
                f"{len(done.damaged):,} stored files are missing or damaged, see above; the backup keeps the "
                f"good copies it has, below {options['folder'] / 'files'}, and no older backup was removed."
            )
