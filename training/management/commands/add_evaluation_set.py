from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from training.data.evaluation_sets import SetRefused, add_set, known_to_models
from training.management.finding import find_project
from training.models import DEFAULT_PROJECT


class Command(BaseCommand):
    help = "Freeze a labelled folder or ZIP (a folder a class, such as cat/1.jpg) as an evaluation set."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("name", metavar="NAME")
        parser.add_argument("source", metavar="FOLDER_OR_ZIP", type=Path)
        parser.add_argument(
            "--project", default=DEFAULT_PROJECT, help="Whose classes the folders name; default: cifar10."
        )

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            added = add_set(options["name"], options["source"], find_project(options["project"]))
        except SetRefused as error:
            raise CommandError(str(error)) from error
        self.stdout.write(
            f"'{added}' holds {added.n:,} images (sha256 {added.sha256[:12]}…). Evaluate a model on it: "
            f"manage.py evaluate VERSION --set '{added}'"
        )
        if known := known_to_models(added):
            self.stderr.write(
                f"{known:,} of them look the same as images of the project. Models may have learned from "
                "those, so the accuracy on this set will be too high: leave them out of the folder."
            )
