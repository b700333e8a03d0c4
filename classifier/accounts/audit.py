"""What may have to be accounted for, written once: refusals, sign-in failures, tokens, deletions.

Kinds: ``sign_in_failed``, ``sign_in_locked``, ``second_factor_failed``, ``access_refused``,
``upload_refused``, ``token_made``, ``token_revoked``, ``password_changed``, ``email_changed``,
``second_factor_changed``, ``organisation_changed``, ``rights_changed``, ``photos_deleted``,
``photos_restored``, ``webhook_changed``, ``photo_looked_at``, ``photo_read``, ``account_deleted``,
and of models ``model_promoted``, ``model_rolled_back``, ``promotion_refused``.
"""

from __future__ import annotations

from datetime import timedelta
from http import HTTPStatus
from typing import Any

from allauth.account import signals as account
from allauth.account.adapter import get_adapter
from allauth.mfa import signals as second_factor
from django.conf import settings
from django.contrib.auth.signals import user_login_failed
from django.core.exceptions import ImproperlyConfigured, PermissionDenied
from django.dispatch import receiver
from django.http import HttpRequest, HttpResponseBase
from django.utils import timezone

from cifarsite.core.pages import Middleware
from classifier.models import AuditEntry, User

# The same refusal again within this time adds no line: nobody can fill the log by asking.
REPEATED = timedelta(minutes=1)
# Lines of one kind of refusal, of strangers from all addresses together, within this time.
MOST_OF_STRANGERS = 60
# How long an address is kept with its line.
KEEP_ADDRESSES = timedelta(days=90)
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


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


def record_refusal(kind: str, *, by: User | None, detail: str, request: HttpRequest) -> None:
    """Add a line, unless the same one was added within the last minute.

    Of strangers it is one line a minute and address, whatever they were refused.
    """
    lines = AuditEntry.objects.filter(created_at__gt=timezone.now() - REPEATED, kind=kind, by=by)
    if by:
        lines = lines.filter(detail=detail)
    elif lines.count() >= MOST_OF_STRANGERS:
        return
    if not lines.filter(address=client_address(request)).exists():
        record(kind, by=by, detail=detail, request=request)


def forget_addresses(user: User) -> None:
    """Take a person's addresses out of their lines, which stay; called when the account is deleted."""
    AuditEntry.objects.filter(by=user).update(address=None)


def forget_old_addresses() -> int:
    """Take out the addresses that were kept for long enough. Returns of how many lines."""
    old = AuditEntry.objects.filter(created_at__lt=timezone.now() - KEEP_ADDRESSES)
    return old.exclude(address=None).update(address=None)


def forget_old_refusals() -> int:
    """Remove the lines of refusals that were kept for long enough. Returns how many."""
    return AuditEntry.objects.remove_aged(timezone.now() - timedelta(days=settings.KEEP_REFUSALS_DAYS))


def client_address(request: HttpRequest) -> str | None:
    """The address a request came from; X-Forwarded-For counts only behind ``TRUSTED_PROXIES``."""
    try:
        address: str = get_adapter(request).get_client_ip(request)
    except (PermissionDenied, ImproperlyConfigured):  # behind fewer proxies than configured
        return None
    return address


class RefusalsOnRecord(Middleware):
    """Middleware: who was refused something (403), came with a wrong token, or asked too often."""

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        response = self.get_response(request)
        status = response.status_code
        if status not in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.TOO_MANY_REQUESTS):
            return response
        person = person_behind(request)
        # A stranger's 401 without a token is an invitation, and their 403 a form without its CSRF token.
        counts = status == HTTPStatus.TOO_MANY_REQUESTS or (
            "Authorization" in request.headers if status == HTTPStatus.UNAUTHORIZED else person is not None
        )
        if counts:
            asked = f"{status} {method_of(request)} {route_of(request)}"
            record_refusal("access_refused", by=person, detail=asked, request=request)
        return response


def method_of(request: HttpRequest) -> str:
    return request.method if request.method in METHODS else "other"


def route_of(request: HttpRequest) -> str:
    """The pattern of the address, such as '/photos/<uuid:pk>/'; addresses themselves are without end."""
    match = request.resolver_match
    return f"/{match.route}" if match else "unknown"


def person_behind(request: HttpRequest) -> User | None:
    """Whoever signed in by session or by token."""
    caller = getattr(getattr(request, "auth", None), "user", None)
    found = caller or getattr(request, "user", None)
    return found if isinstance(found, User) else None


@receiver(user_login_failed)
def record_failed_sign_in(
    credentials: dict[str, Any], request: HttpRequest | None = None, **kwargs: Any
) -> None:
    username = credentials.get("username") or ""
    by = User.objects.filter(username__iexact=username).first() if username else None
    record("sign_in_failed", by=by, request=request)


@receiver(second_factor.authentication_failed)
def record_failed_second_factor(request: HttpRequest, user: User, **kwargs: Any) -> None:
    record("second_factor_failed", by=user, request=request)


@receiver(account.password_changed)
@receiver(account.password_set)
@receiver(account.password_reset)
def record_password(request: HttpRequest, user: User, **kwargs: Any) -> None:
    record("password_changed", by=user, request=request)


@receiver(account.email_changed)
@receiver(account.email_added)
@receiver(account.email_removed)
def record_email(request: HttpRequest, user: User, **kwargs: Any) -> None:
    record("email_changed", by=user, request=request)


@receiver(second_factor.authenticator_added)
@receiver(second_factor.authenticator_removed)
@receiver(second_factor.authenticator_reset)
def record_second_factor(request: HttpRequest, user: User, authenticator: Any, **kwargs: Any) -> None:
    record("second_factor_changed", by=user, detail=str(authenticator.type), request=request)
