from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from training.management.commands.evaluate import find_version
from training.registry.promotion import PromotionRefused, promote


class Command(BaseCommand):
    help = (
        "Promote a model version to champion of its project if it passes the promotion gate; predictions "
        "then use it."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("version", metavar="VERSION", help="Name or number of the model version.")
        parser.add_argument("--reason", required=True, help="A sentence, kept with the promotion.")
        parser.add_argument(
            "--override",
            action="store_true",
            help="Promote although the gate refuses; the promotion history records the override.",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        version = find_version(options["version"])
        try:
            done = promote(version, by=None, reason=options["reason"], override=options["override"])
        except PromotionRefused as refusal:
            raise CommandError(refusal.detail) from refusal
        before = f" instead of {done.previous}" if done.previous else ""
        self.stdout.write(f"{done.promoted} is the champion now{before}.")
