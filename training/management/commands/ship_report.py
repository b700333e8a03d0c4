"""``manage.py ship_report``: makes the reports that ship with the project's models."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from training.data import cifar10_copy
from training.engine.data.cifar10 import DatasetError, load_cifar10
from training.evaluation import pretrained_reports
from training.registry import model_store, pretrained


class Command(BaseCommand):
    """For who changes a model in training/pretrained: its report is part of the project."""

    help = "Measure the shipped models and write test.json and answers.npz beside them."

    def add_arguments(self, parser: ArgumentParser) -> None:
        known = [folder.name for folder in pretrained.shipped_folders()]
        parser.add_argument("names", metavar="NAME", nargs="*", help=f"of {', '.join(known)}; default: all")

    def handle(self, *args: Any, names: list[str], **options: Any) -> None:
        known = [folder.name for folder in pretrained.shipped_folders()]
        if unknown := sorted(set(names) - set(known)):
            raise CommandError(f"No model '{unknown[0]}' ships; there are: {', '.join(known)}.")
        try:
            cifar = load_cifar10(cifar10_copy.folder())
            for name in names or known:
                trained_on = pretrained.shipped_card(name)["data"]["sha256"]
                if trained_on != cifar.sha256:
                    raise CommandError(
                        f"{name} was trained on another copy of CIFAR-10 than {cifar.source}: point "
                        "CIFAR10_DIR at that copy."
                    )
                folder = pretrained_reports.ship(name, cifar, self.stderr.write)
                self.stdout.write(f"{folder}: test.json and answers.npz written.")
        except (DatasetError, model_store.ModelFileError) as error:
            raise CommandError(str(error)) from error
