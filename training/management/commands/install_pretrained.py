from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from training import model_store, shipped_reports
from training.engine.data import DatasetError


class Command(BaseCommand):
    help = "Registers the models that ship with the project and their reports; safe to run at every start."

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            installed = model_store.install_pretrained()
            completed = shipped_reports.complete()
        except model_store.ModelFileError as error:
            raise CommandError(str(error)) from error
        for version in installed:
            self.stdout.write(f"Installed {version} ({version.size:,} bytes).")
        for report in completed:
            self.stdout.write(f"Report on {report.model}: {report.n:,} images, with every panel.")
        try:
            if shown := shipped_reports.show_images():
                self.stdout.write(f"Images for {shown} reports, from {settings.CIFAR10_DIR}.")
        except DatasetError as error:
            # The site works without them; who trains reads the same sentence.
            self.stderr.write(f"Reports show no images: {error}")
