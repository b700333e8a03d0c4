"""manage.py first_admin: an account to begin with, on a site that has no admin yet."""

import os
import secrets
from typing import Any

from allauth.account.models import EmailAddress
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError
from django.db import transaction

from classifier.models import User


def make_first_admin(username: str, password: str) -> User:
    """Make an admin whose e-mail address needs no confirmation; ValidationError where a value is refused."""
    admin = User(username=username, email=f"{username}@localhost", is_staff=True, is_superuser=True)
    # The field that was given is named, so that the sentence can be acted upon.
    admin.clean_fields(exclude=["password", "email"])
    validate_password(password, admin)
    admin.set_password(password)
    with transaction.atomic():
        admin.save()
        EmailAddress.objects.create(user=admin, email=admin.email, verified=True, primary=True)
    return admin


class Command(BaseCommand):
    help = (
        "Make a first admin if there is none, and print name and password once. "
        "ADMIN_USERNAME and ADMIN_PASSWORD choose them; without, the name is admin and the password random."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        if User.objects.filter(is_superuser=True, is_active=True).exists():
            return
        username = os.environ.get("ADMIN_USERNAME") or "admin"
        password = os.environ.get("ADMIN_PASSWORD") or secrets.token_urlsafe(12)
        if User.objects.filter(username__iexact=username).exists():
            raise CommandError(
                f"A first admin is needed, but the name {username!r} belongs to somebody else: "
                "choose another in ADMIN_USERNAME."
            )
        try:
            make_first_admin(username, password)
        except ValidationError as error:
            raise CommandError(
                f"ADMIN_USERNAME or ADMIN_PASSWORD is refused: {' '.join(error.messages)}"
            ) from error
        self.stdout.write("The first admin, shown this once:")
        self.stdout.write(f"    name      {username}")
        chosen = bool(os.environ.get("ADMIN_PASSWORD"))
        self.stdout.write(f"    password  {'(as in ADMIN_PASSWORD)' if chosen else password}")
