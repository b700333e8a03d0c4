"""manage.py prepare: what a start needs, in one process; quick when all is in place."""

import errno
import hashlib
from pathlib import Path
from typing import Any

from django.conf import settings
from django.contrib.staticfiles.finders import get_finders
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError
from django.db import OperationalError, connection
from django.db.migrations.executor import MigrationExecutor


def migrate() -> int:
    """Bring the database up to date; returns how many migrations were applied."""
    executor = MigrationExecutor(connection)
    plan = executor.migration_plan(executor.loader.graph.leaf_nodes())
    if plan:
        call_command("migrate", interactive=False, verbosity=0)
    call_command("createcachetable", verbosity=0)  # nothing to do where it exists or the cache is Redis
    return len(plan)


def fingerprint_of_static_files() -> str:
    digest = hashlib.sha256(str(settings.STORAGES["staticfiles"]["BACKEND"]).encode())
    for finder in get_finders():
        for name, storage in finder.list([]):
            file = Path(storage.path(name)).stat()
            digest.update(f"{name} {file.st_size} {file.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def collect_static_files() -> bool:
    """Collect static files where one changed since the last time; says whether one did."""
    stamp = Path(settings.STATIC_ROOT) / ".collected"
    fingerprint = fingerprint_of_static_files()
    if stamp.exists() and stamp.read_text() == fingerprint:
        return False
    call_command("collectstatic", interactive=False, verbosity=0)
    stamp.write_text(fingerprint)
    return True


def is_full_disk(error: Exception) -> bool:
    if isinstance(error, OSError):
        return error.errno in (errno.ENOSPC, errno.EDQUOT)
    return "is full" in str(error) or "No space left" in str(error)


class Command(BaseCommand):
    help = "Migrate, collect static files, install the shipped model, make a first admin: each where needed."
    # Checks of models and settings are `manage.py check`'s; here they would cost each start their time.
    requires_system_checks = []

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            self.prepare()
        except (OSError, OperationalError) as error:
            if is_full_disk(error):
                raise CommandError(
                    f"The disk that holds {settings.VAR_DIR} is full: free some space, or set VAR_DIR."
                ) from error
            if isinstance(error, OperationalError):
                raise CommandError(f"The database in DATABASE_URL cannot be used: {error}") from error
            raise CommandError(
                f"{error.filename or settings.VAR_DIR} cannot be used: {error.strerror or error}."
            ) from error

    def prepare(self) -> None:
        if applied := migrate():
            self.stdout.write(f"Database: {applied} migrations applied.")
        if collect_static_files():
            self.stdout.write("Static files: collected.")
        call_command("install_pretrained", stdout=self.stdout)
        call_command("first_admin", stdout=self.stdout)
