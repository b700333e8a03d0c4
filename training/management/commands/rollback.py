from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from training.management.finding import find_project
from training.models import DEFAULT_PROJECT
from training.registry.promotion import PromotionRefused, roll_back


class Command(BaseCommand):
    help = "Make a project's previous champion its champion again."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--project", metavar="SLUG", default=DEFAULT_PROJECT, help="Default: cifar10.")
        parser.add_argument("--reason", required=True, help="A sentence, kept with the rollback.")

    def handle(self, *args: Any, **options: Any) -> None:
        project = find_project(options["project"])
        try:
            done = roll_back(by=None, reason=options["reason"], project=project)
        except PromotionRefused as refusal:
            raise CommandError(refusal.detail) from refusal
        self.stdout.write(f"{done.promoted} is the champion again instead of {done.previous}.")
