from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from training.engine.data.cifar10 import DatasetError
from training.evaluation import pretrained_reports
from training.registry import model_store, pretrained


class Command(BaseCommand):
    help = "Registers the models that ship with the project and their reports; safe to run at every start."

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            installed = pretrained.install_pretrained()
            completed = pretrained_reports.complete()
        except model_store.ModelFileError as error:
            raise CommandError(str(error)) from error
        for version in installed:
            self.stdout.write(f"Installed {version} ({version.size:,} bytes).")
        if new := pretrained.offered():
            self.stdout.write(
                f"{new} ships with this release and is not in use yet: compare it with the champion on "
                f"its page, then promote it there or with 'manage.py promote {new} --reason TEXT'."
            )
        for report in completed:
            self.stdout.write(f"Report on {report.model}: {report.n:,} images, with every panel.")
        try:
            if shown := pretrained_reports.show_images():
                self.stdout.write(f"Images for {shown} reports, from {settings.CIFAR10_DIR}.")
        except DatasetError as error:
            # The site works without them; who trains reads the same sentence.
            self.stderr.write(f"Reports show no images: {error}")
