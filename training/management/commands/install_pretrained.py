from typing import Any

from django.core.management.base import BaseCommand, CommandError

from training import model_store


class Command(BaseCommand):
    help = "Registers the models that ship with the project; safe to run at every start."

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            installed = model_store.install_pretrained()
        except model_store.ModelFileError as error:
            raise CommandError(str(error)) from error
        for version in installed:
            self.stdout.write(f"Installed {version} ({version.size:,} bytes).")
