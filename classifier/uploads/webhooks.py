"""Telling a person's own program that a batch has finished; how is ``cifarsite.core.webhooks``."""

from __future__ import annotations

import secrets
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import Q, QuerySet
from django.utils import timezone
from django.utils.translation import gettext as _

from cifarsite.core import webhooks
from cifarsite.core.webhooks import Webhook
from classifier.models import Batch, User, WebhookAddress
from classifier.uploads.batch_results import totals


def set_address(owner: User, url: str) -> str:
    """Where this person is told of batches that they upload from now on. Returns the new secret.

    Messages that still wait go there, too.

    Raises:
        WebhookRefused: the address cannot be used; the message says why.
    """
    webhooks.read_address(url, private_hosts=owner.is_staff)
    secret = secrets.token_urlsafe(32)
    with transaction.atomic():
        _hold(owner)
        WebhookAddress.objects.update_or_create(owner=owner, defaults={"url": url, "secret": secret})
        _waiting(owner).update(webhook_url=url, webhook_next_at=None)
    return secret


def remove_address(owner: User) -> None:
    """Nobody is told any more, neither of the messages that still wait."""
    with transaction.atomic():
        _hold(owner)
        WebhookAddress.objects.filter(owner=owner).delete()
        _waiting(owner).update(webhook_url="")


def deliver_due() -> dict[str, int]:
    """Send what is due. Returns how many arrived and how many did not."""
    rows = Batch.objects.select_related("owner__webhook")
    sent, failed = webhooks.deliver_due(rows, message, on_failure=hold_others, of="owner")
    return {"batch_webhooks_sent": sent, "batch_webhooks_failed": failed}


def message(batch: Batch) -> webhooks.Message:
    """
    Raises:
        WebhookRefused: the person has removed the address.
    """
    delivery = f"{batch.pk}-{batch.finished_at:%Y%m%d%H%M%S}"
    owner = batch.owner
    if not hasattr(owner, "webhook"):
        raise webhooks.WebhookRefused(_("The address was removed."))
    return webhooks.Message(content(batch), owner.webhook.secret, delivery, private_hosts=owner.is_staff)


def hold_others(batch: Batch) -> None:
    """A receiver that does not answer is not asked again at once for this person's other batches."""
    pause = timezone.now() + timedelta(seconds=webhooks.WAITS[0])
    others = _waiting(batch.owner).filter(finished_at__isnull=False)
    others.filter(Q(webhook_next_at=None) | Q(webhook_next_at__lt=pause)).update(webhook_next_at=pause)


def content(batch: Batch) -> dict[str, Any]:
    """What is sent: which batch, how it ended, its counts."""
    counts = totals(batch)
    return {
        "event": "batch.finished",
        "batch": {
            "id": str(batch.pk),
            "project": batch.project_id,
            "filename": batch.filename,
            "state": batch.state,
            "total": counts.total,
            "done": counts.done,
            "failed": counts.failed,
            "created_at": batch.created_at.isoformat(),
            "finished_at": batch.finished_at.isoformat() if batch.finished_at else None,
            "url": settings.BASE_URL + batch.get_absolute_url(),
        },
    }


def _hold(owner: User) -> None:
    """Until the transaction ends, no batch of this person is stored, which would note the old address."""
    User.objects.select_for_update(no_key=True).get(pk=owner.pk)


def _waiting(owner: User) -> QuerySet[Batch]:
    return owner.batches.filter(webhook_state=Webhook.WAITING).exclude(webhook_url="")
