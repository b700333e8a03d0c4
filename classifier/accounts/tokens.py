"""API tokens: made once and shown once, found again by their hash, revoked."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable
from datetime import timedelta

from django.db import OperationalError, transaction
from django.db.models import Q, QuerySet
from django.utils import timezone
from django.utils.translation import gettext as _

from cifarsite.core.storage import is_full
from classifier.accounts.audit import record
from classifier.models import ApiToken, User

# Tells people, and programs that look for leaked secrets, what this is.
MARK = "cifar_"
MAX_DAYS = 3_650
MAX_TOKENS = 50
# 'Last used' is this exact, so that not each request writes.
LAST_USED_STEP = timedelta(minutes=1)


class TokenRefused(Exception):
    """The token cannot be made as asked; the message says why."""


def make_token(
    owner: User, *, scopes: Iterable[str], name: str = "", days: int | None = None
) -> tuple[ApiToken, str]:
    """Make a token.

    Args:
        scopes: of ``ApiToken.Scope``; ``train`` is for staff.
        days: until it expires, 1 to 3,650; None: never.

    Returns:
        The row, and the token itself, which is kept nowhere.

    Raises:
        TokenRefused: an unknown or forbidden scope, no scope, wrong days, or too many tokens.
    """
    wanted = set(scopes)
    chosen = [scope for scope in ApiToken.Scope.values if scope in wanted]
    if unknown := sorted(wanted.difference(chosen)):
        raise TokenRefused(
            _("There is no scope '%(scope)s': choose from %(known)s.")
            % {"scope": unknown[0], "known": ", ".join(ApiToken.Scope.values)}
        )
    if not chosen:
        raise TokenRefused(_("Choose what the token may do: at least one scope."))
    if ApiToken.Scope.TRAIN in chosen and not owner.is_staff:
        raise TokenRefused(_("The scope 'train' is for staff."))
    if days is not None and not 1 <= days <= MAX_DAYS:
        raise TokenRefused(_("A token is valid for 1 to %(days)d days.") % {"days": MAX_DAYS})
    if active_tokens(owner).count() >= MAX_TOKENS:
        raise TokenRefused(
            _("You have %(count)d tokens, which is the limit. Revoke one first.") % {"count": MAX_TOKENS}
        )
    secret = MARK + secrets.token_urlsafe(32)
    with transaction.atomic():
        token = ApiToken.objects.create(
            owner=owner,
            name=name.strip() or _("without a name"),
            prefix=secret[:12],
            sha256=_hash(secret),
            scopes=chosen,
            expires_at=timezone.now() + timedelta(days=days) if days else None,
        )
        record("token_made", by=owner, detail=f"token {token.pk}: {','.join(chosen)}")
    return token, secret


def find_token(secret: str) -> ApiToken | None:
    """The token that is good now, its owner with it; None where it is unknown, expired or revoked."""
    token = ApiToken.objects.select_related("owner").filter(sha256=_hash(secret)).first()
    if token is None or token.state != "active" or not token.owner.is_active:
        return None
    now = timezone.now()
    if token.last_used_at is None or now - token.last_used_at > LAST_USED_STEP:
        try:
            ApiToken.objects.filter(pk=token.pk).update(last_used_at=now)
        except OperationalError as error:
            if not is_full(error):
                raise
            # The time of use can wait for a disk with room; reading need not.
    return token


def revoke_token(token: ApiToken, *, by: User) -> bool:
    """From now on the token opens nothing; False where it was revoked before."""
    with transaction.atomic():
        rows = ApiToken.objects.filter(pk=token.pk, revoked_at=None)
        if rows.update(revoked_at=timezone.now()) != 1:
            return False
        record("token_revoked", by=by, detail=f"token {token.pk}")
    return True


def active_tokens(owner: User) -> QuerySet[ApiToken]:
    unexpired = Q(expires_at=None) | Q(expires_at__gt=timezone.now())
    return owner.api_tokens.filter(unexpired, revoked_at=None)


def _hash(secret: str) -> str:
    # 256 random bits: a plain hash cannot be searched, a slow one would only cost time.
    return hashlib.sha256(secret.encode()).hexdigest()
