"""What may have to be accounted for, written once: refusals, sign-in failures, tokens, deletions."""

from __future__ import annotations

from typing import Any

from allauth.account.adapter import get_adapter
from django.contrib.auth.signals import user_login_failed
from django.core.exceptions import ImproperlyConfigured, PermissionDenied
from django.dispatch import receiver
from django.http import HttpRequest

from classifier.models import AuditEntry, User


def record(
    kind: str, *, by: User | None = None, detail: str = "", request: HttpRequest | None = None
) -> None:
    """Add a line to the audit log.

    Args:
        kind: what happened, such as 'token_made'.
        detail: ids and codes, no personal data: the line stays when the account is gone.
        request: where it came from, of which the address is kept.
    """
    address = client_address(request) if request else None
    AuditEntry.objects.create(kind=kind, by=by, detail=detail, address=address)


def forget_addresses(user: User) -> None:
    """Take a person's addresses out of their lines, which stay; called when the account is deleted."""
    AuditEntry.objects.filter(by=user).update(address=None)


def client_address(request: HttpRequest) -> str | None:
    """The address a request came from; X-Forwarded-For counts only behind ``TRUSTED_PROXIES``."""
    try:
        address: str = get_adapter(request).get_client_ip(request)
    except (PermissionDenied, ImproperlyConfigured):  # behind fewer proxies than configured
        return None
    return address


@receiver(user_login_failed)
def record_failed_sign_in(
    credentials: dict[str, Any], request: HttpRequest | None = None, **kwargs: Any
) -> None:
    username = credentials.get("username") or ""
    by = User.objects.filter(username__iexact=username).first() if username else None
    record("sign_in_failed", by=by, request=request)
