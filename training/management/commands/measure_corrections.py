"""``manage.py measure_corrections``: what people's corrections did to the models."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from training import datasets, evaluation, model_store
from training.engine.data import DatasetError
from training.models import DatasetVersion, ModelVersion


class Command(BaseCommand):
    """Reports on the photos of a dataset version that were kept apart: the live model's, and its own."""

    help = "Measure models on the corrected photos that no model was trained on; keeps the reports."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "dataset", nargs="?", help="name or number of a dataset version; the newest if left out"
        )

    def handle(self, *args: Any, dataset: str | None = None, **options: Any) -> None:
        version = find_dataset(dataset)
        try:
            photos = datasets.measuring_set(version)
            if photos is None:
                raise CommandError(
                    f"'{version}' keeps no photo apart to measure with: freeze one with more photos."
                )
            for model in models_to_measure(version):
                report = evaluation.evaluate(model, photos)
                self.stdout.write(f"{model.name}: {report.accuracy:.2%} of {report.n} corrected photos right")
        except (DatasetError, model_store.ModelFileError) as error:
            raise CommandError(str(error)) from error


def find_dataset(named: str | None) -> DatasetVersion:
    versions = DatasetVersion.objects.exclude(images=None).distinct()
    if named:
        versions = versions.filter(pk=int(named)) if named.isdecimal() else versions.filter(name=named)
    version = versions.first()
    if version is None:
        raise CommandError("There is no such dataset version: freeze one on the page of dataset versions.")
    return version


def models_to_measure(version: DatasetVersion) -> list[ModelVersion]:
    """The live model first, then those that were trained on the version."""
    champion = model_store.champion()
    own = version.models.all()
    return ([champion] if champion else []) + [model for model in own if model != champion]
