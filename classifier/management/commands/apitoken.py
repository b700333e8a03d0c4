"""manage.py apitoken: a token for a program, alone on standard output."""

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from classifier.accounts.tokens import TokenRefused, make_token
from classifier.models import User


class Command(BaseCommand):
    help = (
        "Make an API token for a user and print it, and nothing else, on standard output. "
        "The site stores only a hash."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("username")
        parser.add_argument("--scopes", required=True, help="comma-separated: predict, read, train")
        parser.add_argument("--name", default="", help="what the token is for")
        parser.add_argument("--days", type=int, help="days until the token expires; default: never")

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
