import contextlib
import logging
import time
from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError, connection

from classifier.operations.sweeper import Sweeper

logger = logging.getLogger(__name__)


class Command(BaseCommand):
    help = "One pass of the sweeper: recovers the work of lost messages and lost workers."
    # It serves no page: what is checked of them would cost its start 0.3 s, and memory.
    requires_system_checks = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--every",
            type=float,
            nargs="?",
            const=settings.SWEEP_SECONDS,
            metavar="SECONDS",
            help="Keep running, one pass every SECONDS; default: the setting SWEEP_SECONDS. "
            "Each pass touches VAR_DIR/sweeper, for what watches the process.",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        sweeper = Sweeper()
        if not options["every"]:
            did = sweeper.sweep()
            self.stdout.write(", ".join(f"{name}: {count}" for name, count in did.items()))
            if sweeper.failed:
                raise CommandError(f"These parts failed, see the log: {', '.join(sweeper.failed)}.")
            return
        while True:
            try:
                sweeper.sweep()
            except DatabaseError as error:
                logger.warning("The sweep could not be done (%s); the next one tries again.", error)
                connection.close_if_unusable_or_obsolete()
            with contextlib.suppress(OSError):  # a full disk stops no pass
                (settings.VAR_DIR / "sweeper").touch()
            time.sleep(options["every"])
