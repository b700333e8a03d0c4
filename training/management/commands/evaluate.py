import json
from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.urls import reverse

from training import datasets, evaluation, evaluation_sets, model_store, shipped_reports, trust
from training.engine.data import DatasetError, load_cifar10
from training.engine.photo_set import PhotosError
from training.models import EvaluationReport, ModelVersion


class Command(BaseCommand):
    help = (
        "Measure a model on CIFAR-10's test images, on people's accepted corrections, or on a set that "
        "staff added, and keep the report."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("version", metavar="VERSION", help="Name or number of the model version.")
        which = parser.add_mutually_exclusive_group()
        which.add_argument(
            "--set", dest="image_set", help="Name of an evaluation set; default: CIFAR-10 test."
        )
        which.add_argument(
            "--corrections",
            metavar="DATASET",
            nargs="?",
            const="",
            help="The corrected photos that a dataset version keeps apart; default: the newest's.",
        )
        parser.add_argument("--json", action="store_true", help="Print the figures as JSON and nothing else.")

    def handle(self, *args: Any, **options: Any) -> None:
        version = find_version(options["version"])
        try:
            report = self.evaluate(version, options)
        except (
            DatasetError,
            PhotosError,
            datasets.NothingToMeasure,
            evaluation_sets.SetRefused,
            model_store.ModelFileError,
        ) as error:
            raise CommandError(str(error)) from error
        if options["json"]:
            self.stdout.write(json.dumps(evaluation.as_json(report)))
            return
        low, high = report.figures["interval"]
        page = reverse("training:report", args=[version.pk])
        self.stdout.write(
            f"{version} on {report.dataset}: {report.accuracy:.2%} of {report.n:,} images right "
            f"(95 % interval {low:.2%} to {high:.2%}). The page: {page}"
        )

    def evaluate(self, version: ModelVersion, options: dict[str, Any]) -> EvaluationReport:
        def say(sentence: str) -> None:
            if not options["json"]:
                self.stderr.write(sentence)

        if options["image_set"]:
            images = evaluation_sets.load_set(evaluation_sets.find_set(options["image_set"]))
            return evaluation.evaluate(version, images, say=say)
        if options["corrections"] is not None:
            return evaluation.evaluate_on_corrections(version, options["corrections"], say=say)
        cifar = load_cifar10(settings.CIFAR10_DIR or None)
        report = evaluation.evaluate_on_cifar10(version, cifar, say=say)
        trust.measure_trust(version, cifar, say)
        shipped_reports.show_images(cifar)
        return report


def find_version(wanted: str) -> ModelVersion:
    """By name, or by number."""
    found = ModelVersion.objects.filter(name=wanted).first()
    if found is None and wanted.isdecimal():
        found = ModelVersion.objects.filter(pk=int(wanted)).first()
    if found is None:
        known = ", ".join(ModelVersion.objects.values_list("name", flat=True)[:20]) or "none"
        raise CommandError(f"There is no model version '{wanted}'; there are: {known}.")
    return found
