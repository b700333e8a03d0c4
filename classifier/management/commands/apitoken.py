"""manage.py apitoken: a token for a program, alone on standard output."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from classifier.models import User
from classifier.tokens import TokenRefused, make_token


class Command(BaseCommand):
    help = "Make an API token for a user and print it, alone, on standard output. It is kept nowhere."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("username")
        parser.add_argument("--scopes", required=True, help="of predict, read and train, with commas between")
        parser.add_argument("--name", default="", help="what it is for")
        parser.add_argument("--days", type=int, help="until it expires; without, it does not")

    def handle(self, *args: Any, **options: Any) -> None:
        user = User.objects.filter(username=options["username"], is_active=True).first()
        if user is None:
            raise CommandError(f"There is no active user {options['username']!r}.")
        scopes = [scope.strip() for scope in options["scopes"].split(",") if scope.strip()]
        try:
            _token, secret = make_token(
                user, scopes=scopes, name=options["name"] or "manage.py apitoken", days=options["days"]
            )
        except TokenRefused as refusal:
            raise CommandError(str(refusal)) from refusal
        self.stdout.write(secret)
