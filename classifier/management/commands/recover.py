import logging
import time
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError, connection

from classifier.recovery import Sweeper

logger = logging.getLogger(__name__)


class Command(BaseCommand):
    help = "One pass of the sweeper: picks up what a lost message or a lost worker left behind."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--every", type=float, metavar="SECONDS", help="Go on, one pass every SECONDS.")

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
            time.sleep(options["every"])
