"""How django-allauth signs people in here: ten wrong passwords count on the account, by whatever name."""

from __future__ import annotations

from typing import Any

from allauth.account.adapter import DefaultAccountAdapter
from allauth.account.models import EmailAddress
from django.core.exceptions import ValidationError
from django.http import HttpRequest

from classifier.audit import record_refusal
from classifier.models import User


def find_person(login: str) -> User | None:
    """Whose user name, or confirmed e-mail address, this is."""
    if not login:
        return None
    by_name = User.objects.filter(username__iexact=login).first()
    if by_name:
        return by_name
    address = EmailAddress.objects.filter(email__iexact=login, verified=True).select_related("user").first()
    found: User | None = address.user if address else None
    return found


class AccountAdapter(DefaultAccountAdapter):  # type: ignore[misc]
    def _get_login_attempts_cache_key(self, request: HttpRequest, **credentials: Any) -> str:
        """One count for an account, whether tried by its name or by its address."""
        person = find_person(str(credentials.get("email") or credentials.get("username") or ""))
        if person:
            return f"account:{person.pk}"
        key: str = super()._get_login_attempts_cache_key(request, **credentials)
        return key

    def pre_authenticate(self, request: HttpRequest, **credentials: Any) -> None:
        try:
            super().pre_authenticate(request, **credentials)
        except ValidationError:
            person = find_person(str(credentials.get("email") or credentials.get("username") or ""))
            record_refusal("sign_in_locked", by=person, detail="", request=request)
            raise
