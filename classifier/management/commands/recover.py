import logging
import time
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand
from django.db import DatabaseError, connection

from classifier.recovery import sweep

logger = logging.getLogger(__name__)


class Command(BaseCommand):
    help = "One pass of the sweeper: picks up what a lost message or a lost worker left behind."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--every", type=float, metavar="SECONDS", help="Go on, one pass every SECONDS.")

    def handle(self, *args: Any, **options: Any) -> None:
        every = options["every"]
        if not every:
            self.stdout.write(", ".join(f"{name}: {count}" for name, count in sweep().items()))
            return
        while True:
            try:
                sweep()
            except DatabaseError:
                logger.exception("The sweep failed; the next one tries again.")
                connection.close()
            time.sleep(every)
