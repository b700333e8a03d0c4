import getpass
import sys
import time
from argparse import ArgumentParser
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError, connections
from environ import Env

from classifier.operations.database_copy import MoveError, copy_rows

TARGET = "copy_target"


class Command(BaseCommand):
    help = (
        "Copy every row from the database in DATABASE_URL into an empty database, for example from SQLite to "
        "PostgreSQL. Stop the site first. Files are not copied."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "target",
            metavar="URL",
            nargs="?",
            help="postgres://user:password@host/name; default: asked for, or read from standard input, "
            "so that the password stands in no list of processes.",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        url = options["target"]
        if url is None:
            url = getpass.getpass("URL: ") if sys.stdin.isatty() else sys.stdin.readline().strip()
        try:
            target = Env.db_url_config(url)
        except (ValueError, ImproperlyConfigured) as error:
            raise CommandError(f"The target is not a database URL: {error}") from error
        if not target.get("ENGINE"):
            raise CommandError("The target is not a database URL: postgres://user:password@host/name")
        every = connections.configure_settings({**connections.settings, TARGET: target})
        connections.settings[TARGET] = every[TARGET]
        started = time.monotonic()

        def say(name: str, rows: int) -> None:
            if rows:
                self.stdout.write(f"{name}: {rows:,}")

        try:
            counts = copy_rows("default", TARGET, on_table=say)
        except (MoveError, DatabaseError) as error:
            raise CommandError(str(error)) from error
        finally:
            connections[TARGET].close()
        seconds = time.monotonic() - started
        self.stdout.write(
            f"{sum(counts.values()):,} rows in {seconds:.0f} s; the target holds the same number. "
            "Now set DATABASE_URL."
        )
