import shutil
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.files.storage import default_storage
from django.core.management.base import BaseCommand, CommandError

from training import workers
from training.management.commands.evaluate import find_version
from training.management.tensorflow import need_tensorflow
from training.registry.exports import FORMATS, ExportFailed, export, stored_name
from training.registry.model_store import ModelFileError


class Command(BaseCommand):
    help = "Write a model version as a ZIP to take away: its file, classes, preprocessing and card."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("version", metavar="VERSION", help="Name or number of the model version.")
        parser.add_argument("--format", choices=FORMATS, required=True)
        parser.add_argument("file", metavar="FILE", type=Path, help="Where to write it, such as model.zip.")

    def handle(self, *args: Any, **options: Any) -> None:
        version, file = find_version(options["version"]), options["file"]
        made_already = default_storage.exists(stored_name(version, options["format"]))
        if not made_already and not workers.is_alive("default"):
            need_tensorflow("start a prediction worker, which makes the file for this host")
        try:
            with (
                default_storage.open(export(version, options["format"]), "rb") as made,
                file.open("wb") as out,
            ):
                shutil.copyfileobj(made, out)
        except (ExportFailed, ModelFileError) as error:
            raise CommandError(str(error)) from error
        except OSError as error:
            raise CommandError(f"{file} cannot be written: {error.strerror or error}.") from error
        self.stdout.write(f"{file}: {version} as {options['format']}, {file.stat().st_size:,} bytes.")
