import json
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.urls import reverse

from training.data import cifar10_copy, dataset_versions, evaluation_sets, project_versions
from training.engine.data.cifar10 import DatasetError, load_cifar10
from training.engine.data.photo_set import PhotosError
from training.evaluation import measuring, pretrained_reports, reliability, reports
from training.management.finding import find_dataset
from training.management.tensorflow import need_tensorflow
from training.models import DEFAULT_PROJECT, EvaluationReport, ModelVersion
from training.registry import model_store


class Command(BaseCommand):
    help = (
        "Evaluate a model on CIFAR-10's test images or its project's, on accepted corrections, or on an "
        "evaluation set, and store the report."
    )
    # It serves no page: what is checked of them would cost its start 0.3 s, and memory.
    requires_system_checks = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("version", metavar="VERSION", help="Name or number of the model version.")
        which = parser.add_mutually_exclusive_group()
        which.add_argument(
            "--set",
            dest="image_set",
            help="An evaluation set of the model's project; default: the test images.",
        )
        which.add_argument(
            "--dataset",
            metavar="VERSION",
            help="A dataset version of the model's project: its test images measure it; default: the newest.",
        )
        which.add_argument(
            "--corrections",
            metavar="DATASET",
            nargs="?",
            const="",
            help="The corrected photos that a dataset version holds out; default: the newest version.",
        )
        parser.add_argument("--json", action="store_true", help="Print the figures as JSON and nothing else.")

    def handle(self, *args: Any, **options: Any) -> None:
        version = find_version(options["version"])
        need_tensorflow("run this command on a host of the training workers")
        try:
            report = self.evaluate(version, options)
        except (
            DatasetError,
            PhotosError,
            dataset_versions.NothingToMeasure,
            evaluation_sets.SetRefused,
            model_store.ModelFileError,
        ) as error:
            raise CommandError(str(error)) from error
        if options["json"]:
            self.stdout.write(json.dumps(reports.as_json(report)))
            return
        low, high = report.figures["interval"]
        page = reverse("training:report", args=[version.pk])
        self.stdout.write(
            f"{version} on {report.dataset}: accuracy {report.accuracy:.2%} on {report.n:,} images "
            f"(95 % interval {low:.2%} to {high:.2%}). The page: {page}"
        )

    def evaluate(self, version: ModelVersion, options: dict[str, Any]) -> EvaluationReport:
        def say(sentence: str) -> None:
            if not options["json"]:
                self.stderr.write(sentence)

        if options["image_set"]:
            images = evaluation_sets.load_set(
                evaluation_sets.find_set(options["image_set"], version.project_id)
            )
            return measuring.evaluate(version, images, say=say)
        if options["corrections"] is not None:
            return measuring.evaluate_on_corrections(version, options["corrections"], say=say)
        if version.project_id != DEFAULT_PROJECT:
            dataset = find_dataset(options["dataset"] or "newest", version.project_id)
            return measuring.evaluate_on_project(version, project_versions.labelled_images(dataset), say)
        cifar = load_cifar10(cifar10_copy.folder())
        report = measuring.evaluate_on_cifar10(version, cifar, say=say)
        reliability.measure_trust(version, cifar, say)
        pretrained_reports.show_images(cifar)
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
