"""A request that was sent twice is done once: the second is told what became of the first."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext as _
from ninja.files import UploadedFile

from classifier.models import IdempotentRequest, User

# How long an answer is kept, and after how long a request that never answered is given up.
KEPT = timedelta(hours=24)
GIVEN_UP = timedelta(minutes=10)

Answer = tuple[int, dict[str, Any]]


class KeyReused(Exception):
    """The key belongs to another request; the message says so."""


class StillAtWork(Exception):
    """The first request with this key has not been answered yet; the message says so."""


def once(owner: User, key: str, fingerprint: str, do: Callable[[], Answer]) -> tuple[Answer, bool]:
    """Do something once a key.

    Args:
        key: chosen by the person's program; empty: do it in any case.
        fingerprint: from ``fingerprint``; tells another request with the same key.
        do: returns status and what it made, by ids. What it raises is passed on, and the key is free again.

    Returns:
        What ``do`` returned, and whether that was for an earlier request.

    Raises:
        KeyReused: the key was used for something else.
        StillAtWork: the first request is still being done.
    """
    if not key:
        return do(), False
    row, is_mine = _begin(owner, key, fingerprint)
    if row.request_sha256 != fingerprint:
        raise KeyReused(
            _("This Idempotency-Key was used for another request: choose a new key for each new request.")
        )
    if row.status is not None:
        return (row.status, row.answer or {}), True
    if not is_mine:
        raise StillAtWork(_("The first request with this Idempotency-Key is still running: try again soon."))
    try:
        status, answer = do()
    except BaseException:
        row.delete()
        raise
    IdempotentRequest.objects.filter(pk=row.pk).update(status=status, answer=answer)
    return (status, answer), False


def fingerprint(operation: str, files: Iterable[UploadedFile]) -> str:
    """The sha256 of what is asked for: the operation, and each file's name and bytes."""
    digest = hashlib.sha256(operation.encode())
    for file in files:
        digest.update(f"\0{file.name}\0{file.size}\0".encode())
        for chunk in file.chunks():
            digest.update(chunk)
        file.seek(0)
    return digest.hexdigest()


def purge() -> int:
    """Forget the answers that are kept no longer. Returns how many."""
    return IdempotentRequest.objects.filter(created_at__lt=timezone.now() - KEPT).delete()[0]


def _begin(owner: User, key: str, request_sha256: str) -> tuple[IdempotentRequest, bool]:
    """The row of this key, and whether this request is the first."""
    now = timezone.now()
    rows = IdempotentRequest.objects.filter(owner=owner, key=key)
    abandoned = Q(status=None, created_at__lt=now - GIVEN_UP)
    rows.filter(abandoned | Q(created_at__lt=now - KEPT)).delete()
    try:
        with transaction.atomic():
            return rows.create(owner=owner, key=key, request_sha256=request_sha256), True
    except IntegrityError:
        found = rows.first()
    if found is None:  # the first one failed at this moment
        raise StillAtWork(_("The first request with this Idempotency-Key has just finished: try again."))
    return found, False
