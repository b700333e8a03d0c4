"""manage.py demo: a site with people, photos, a batch, corrections and jobs, for trying the site out."""

import os
import secrets
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from classifier.images.errors import ImageRefused
from classifier.operations.demo_data import PEOPLE, NotHere, make_demo


class Command(BaseCommand):
    help = "Fill a new site with people, photos, answers, corrections and jobs, for trying the site out."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--photos", type=Path, help="A folder of photos; default: CIFAR-10's images, else drawings."
        )
        parser.add_argument("--password", help="Password of the three users; default: a random one.")
        parser.add_argument(
            "--force", action="store_true", help="Run even if the site already has photos or users."
        )

    def handle(self, *args: Any, **options: Any) -> None:
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        password = options["password"] or secrets.token_urlsafe(12)
        try:
            made = make_demo(password, options["photos"], options["force"])
        except (NotHere, ImageRefused) as error:
            raise CommandError(str(error)) from error
        if not made:
            self.stdout.write("The demo data is already installed.")
            return
        self.stdout.write("Made: " + ", ".join(f"{count} {kind}" for kind, count in made.items()) + ".")
        self.stdout.write(f"Sign in as {', '.join(name for name, *_ in PEOPLE)}, password {password}")
