"""How django-allauth signs people in here, and what its mails say.

Ten wrong passwords lock an account, by whatever of its names they were tried. Which name belongs to which
address stays unsaid: 'too many' is said of what was typed, whether or not there is such an account, and an
account that is locked under another name answers as a wrong password does.
"""

from __future__ import annotations

import secrets
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

from allauth.account import signals
from allauth.account.adapter import DefaultAccountAdapter, get_adapter
from allauth.account.utils import filter_users_by_email
from allauth.core import context as current
from allauth.core.exceptions import ImmediateHttpResponse
from allauth.core.internal import ratelimit
from allauth.utils import build_absolute_uri
from django.conf import settings
from django.contrib.auth import get_backends
from django.core.exceptions import ValidationError
from django.dispatch import receiver
from django.http import HttpRequest
from django.shortcuts import redirect
from django.utils.translation import gettext_lazy as _

from classifier.accounts import mails
from classifier.accounts.audit import record, record_refusal
from classifier.accounts.organisations import sign_in_again
from classifier.accounts.tokens import active_tokens
from classifier.models import User

WRONG = _(
    "The user name or the password is wrong. After ten wrong passwords the site accepts "
    "none for five minutes: wait, or reset your password."
)
APP = "allauth.account"
# Mails that name the account's API tokens: whoever was inside may have made one.
NAMES_TOKENS = ("account/email/password_reset_key", "account/email/password_reset")


def find_person(credentials: dict[str, Any]) -> User | None:
    """Whose user name, or e-mail address, was typed."""
    name, email = str(credentials.get("username") or ""), str(credentials.get("email") or "")
    found = User.objects.filter(username__iexact=name).first() if name else None
    if found or not (email or name):
        return found
    return next(iter(filter_users_by_email(email or name, prefer_verified=True)), None)


class AccountAdapter(DefaultAccountAdapter):  # type: ignore[misc]
    error_messages = {
        **DefaultAccountAdapter.error_messages,
        "username_password_mismatch": WRONG,
        "email_password_mismatch": WRONG,
    }

    # --- Names --------------------------------------------------------------------------------

    def clean_username(self, username: str, shallow: bool = False) -> str:
        """Full-width letters and other forms of the same one make no second name."""
        name = User.normalize_username(username)
        User._meta.get_field("username").run_validators(name)
        cleaned: str = super().clean_username(name, shallow)
        return cleaned

    # --- Passwords ----------------------------------------------------------------------------

    def authenticate(self, request: HttpRequest, **credentials: Any) -> Any:
        name = credentials.get("username")
        if name and not User.objects.filter(username__iexact=name).exists():
            if credentials.get("email"):
                # Looked at as both, the password of a known address would be hashed once more than others.
                del credentials["username"]
            else:
                credentials["username"] = User.normalize_username(name)
        return super().authenticate(request, **credentials)

    def pre_authenticate(self, request: HttpRequest, **credentials: Any) -> None:
        person = find_person(credentials)
        try:
            super().pre_authenticate(request, **credentials)
        except ValidationError:
            record_refusal("sign_in_locked", by=person, detail="", request=request)
            raise
        key = (
            self._account_key(person)
            if person
            else self._get_login_attempts_cache_key(request, **credentials)
        )
        usage = ratelimit.consume(request, app=APP, action="login_failed_account", key=key)
        if usage:  # given back with the other where the password is right
            self._login_failed_rl_usage.usage += usage.usage
            return
        for backend in get_backends():  # the same work as for a wrong password, and the same sentence
            backend.authenticate(request, **{**credentials, "password": secrets.token_hex()})
        record_refusal("sign_in_locked", by=person, detail="", request=request)
        raise self.validation_error("username_password_mismatch")

    def reauthenticate(self, user: Any, password: str) -> bool:
        """Of somebody who is signed in; what strangers tried does not lock it."""
        key = self._account_key(user)
        usage = ratelimit.consume(current.request, app=APP, action="reauthenticate_failed", key=key)
        if not usage:
            record_refusal("sign_in_locked", by=user, detail="while signed in", request=current.request)
            raise self.validation_error("too_many_login_attempts")
        if not user.check_password(password):
            record("sign_in_failed", by=user, detail="while signed in", request=current.request)
            return False
        usage.rollback()
        return True

    def is_reauthentication_required(self, *, app: str, **kwargs: Any) -> bool:
        """Whoever has neither password nor second factor signs in again at the organisation."""
        required: bool = super().is_reauthentication_required(app=app, **kwargs)
        if required and (again := sign_in_again(current.request)):
            raise ImmediateHttpResponse(redirect(again))
        return required

    def _account_key(self, person: User) -> str:
        return f"account:{person.pk}"

    def _delete_login_attempts_cached_email(self, request: HttpRequest, **credentials: Any) -> None:
        """A password that was reset opens the account at once, by each of its names."""
        super()._delete_login_attempts_cached_email(request, **credentials)
        if person := find_person(credentials):
            super()._delete_login_attempts_cached_email(request, username=person.username)
            key = self._account_key(person)
            ratelimit.clear(request, app=APP, action="login_failed_account", key=key)

    # --- Mails --------------------------------------------------------------------------------

    def send_mail(self, template_prefix: str, email: str, context: dict[str, Any]) -> None:
        """Links lead to ``BASE_URL``, whatever host the request was sent to."""
        here, site = build_absolute_uri(current.request, "/"), urlsplit(settings.BASE_URL).netloc
        links = {
            name: f"{settings.BASE_URL}/{value.removeprefix(here)}"
            for name, value in context.items()
            if isinstance(value, str) and value.startswith(here)
        }
        said = {
            "request": current.request,
            "email": email,
            **context,
            **links,
            "current_site": SimpleNamespace(name=site, domain=site),
        }
        if template_prefix in NAMES_TOKENS:
            said["tokens"] = active_tokens(said["user"])
        mails.send_later(self.render_mail(template_prefix, email, said))

    def send_notification_mail(
        self, template_prefix: str, user: Any, context: dict[str, Any] | None = None, email: str | None = None
    ) -> None:
        super().send_notification_mail(template_prefix, user, {"user": user, **(context or {})}, email)


@receiver(signals.email_added)
def tell_of_a_new_address(request: HttpRequest, user: User, email_address: Any, **kwargs: Any) -> None:
    """To the address that the account had before."""
    told = {"added_email": email_address.email}
    get_adapter(request).send_notification_mail("account/email/email_added", user, told)
