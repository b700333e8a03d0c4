from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from training.promotion import PromotionRefused, roll_back


class Command(BaseCommand):
    help = "Make the model that was live before the present one the champion again."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--reason", required=True, help="A sentence; it is kept with the rollback.")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            done = roll_back(by=None, reason=options["reason"])
        except PromotionRefused as refusal:
            raise CommandError(refusal.detail) from refusal
        self.stdout.write(f"{done.promoted} answers again instead of {done.previous}.")
