"""Telling another program that a training job is over: a signed request, tried again with growing waits.

The state of it stands on the job's row, so a lost worker costs time, not the message. The address is
typed in by staff; it is still only followed to hosts on the public network, or to those that
``WEBHOOK_PRIVATE_HOSTS`` names, and never through a redirect.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import http.client
import ipaddress
import json
import logging
import socket
import ssl
import threading
import time
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.db.models import Q, QuerySet
from django.utils import timezone
from django.utils.translation import gettext as _

from training.models import TrainingJob

logger = logging.getLogger(__name__)

Webhook = TrainingJob.Webhook
# Seconds until the next try after the first, second ... failure; after the last one it is given up.
WAITS = (30, 120, 600, 3_600, 21_600)
TIMEOUT_SECONDS = 5.0
# The longest that one try takes, however slowly the other side drips its answer.
LONGEST_SECONDS = 12.0
# A try that was begun and never ended, since its process was killed, is made again after this.
CLAIM_SECONDS = 60
# The sweeper has other things to do.
AT_A_TIME = 3
LONGEST_ADDRESS = 500
# Addresses of IPv6 that stand for one of IPv4, behind which a private one could hide.
TRANSLATED = [ipaddress.ip_network(net) for net in ("64:ff9b::/96", "64:ff9b:1::/48", "::/96")]


class WebhookRefused(ValueError):
    """The address cannot be used; the message says why."""


class NotDelivered(Exception):
    """One try failed; the message is kept on the job's row."""


@dataclass(frozen=True)
class Address:
    """Where to send: ``target`` is the path with its query."""

    host: str
    port: int
    target: str
    secure: bool


def read_address(url: str) -> Address:
    """Take an address apart.

    Raises:
        WebhookRefused: it is no address, webhooks are switched off, or it may not be used.
    """
    if not settings.WEBHOOK_SECRET:
        raise WebhookRefused(_("Webhooks are off: set WEBHOOK_SECRET, which signs them."))
    try:
        parts = urlsplit(url)
        host, port = (parts.hostname or "").rstrip("."), parts.port
    except ValueError as error:
        raise WebhookRefused(_("'%(url)s' is no web address.") % {"url": url[:100]}) from error
    bad = any(ord(c) <= 32 or ord(c) >= 127 for c in url) or len(url) > LONGEST_ADDRESS
    if bad or parts.scheme not in ("http", "https") or not host or parts.username is not None:
        raise WebhookRefused(
            _("'%(url)s' cannot be called: give an address such as https://example.org/hook.")
            % {"url": url[:100]}
        )
    private = host in settings.WEBHOOK_PRIVATE_HOSTS
    if parts.scheme == "http" and not private:
        raise WebhookRefused(_("Webhooks go by https, so that nobody reads them on the way."))
    try:
        literal = ipaddress.ip_address(host)
    except ValueError:
        pass
    else:
        if not private and not is_public(literal):
            raise WebhookRefused(_private(host))
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    secure = parts.scheme == "https"
    return Address(host, port or (443 if secure else 80), target, secure)


def is_public(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    """Nothing of this machine, of a network of one's own, or that stands for such an address."""
    if isinstance(address, ipaddress.IPv6Address):
        hidden = address.ipv4_mapped or address.sixtofour or address.teredo
        if hidden or any(address in network for network in TRANSLATED):
            return False
    return address.is_global and not address.is_multicast


def due() -> QuerySet[TrainingJob]:
    """Jobs that are over and whose message has to be sent now."""
    now = timezone.now()
    return (
        TrainingJob.objects.filter(
            Q(webhook_next_at=None) | Q(webhook_next_at__lte=now),
            webhook_state=Webhook.WAITING,
            finished_at__isnull=False,
        )
        .exclude(webhook_url="")
        .exclude(state__in=(TrainingJob.State.QUEUED, TrainingJob.State.RUNNING))
    )


def deliver_due() -> dict[str, int]:
    """Send what is due. Returns how many arrived and how many did not."""
    counts = {"webhooks_sent": 0, "webhooks_failed": 0}
    for job in due().order_by("webhook_next_at", "pk")[:AT_A_TIME]:
        # Of two processes only one gets the row; it comes back by itself if that one dies.
        claim = timezone.now() + timedelta(seconds=CLAIM_SECONDS)
        if due().filter(pk=job.pk).update(webhook_next_at=claim):
            counts["webhooks_sent" if deliver(job) else "webhooks_failed"] += 1
    return counts


def deliver(job: TrainingJob) -> bool:
    """Try once, and write on the row what came of it."""
    tries = job.webhook_tries + 1
    rows = TrainingJob.objects.filter(pk=job.pk, webhook_state=Webhook.WAITING)
    try:
        said = send(job.webhook_url, body(job), delivery=f"{job.pk}-{job.finished_at:%Y%m%d%H%M%S}")
    except (WebhookRefused, NotDelivered) as error:
        given_up = tries > len(WAITS) or isinstance(error, WebhookRefused)
        rows.update(
            webhook_tries=tries,
            webhook_said=str(error)[:500],
            webhook_state=Webhook.FAILED if given_up else Webhook.WAITING,
            webhook_next_at=None if given_up else timezone.now() + timedelta(seconds=WAITS[tries - 1]),
        )
        logger.warning("The webhook of job #%s failed (try %s): %s", job.pk, tries, error)
        return False
    rows.update(webhook_tries=tries, webhook_said=said, webhook_state=Webhook.DELIVERED, webhook_next_at=None)
    return True


def body(job: TrainingJob) -> bytes:
    """What is sent: which job, how it ended, what came of it."""
    model = job.models.defer("card").first()
    content: dict[str, Any] = {
        "event": "training_job.finished",
        "job": {
            "id": job.pk,
            "recipe": job.recipe,
            "parameters": job.parameters,
            "state": job.state,
            "created_at": job.created_at.isoformat(),
            "finished_at": job.finished_at.isoformat() if job.finished_at else None,
            "error": {"code": job.error_code, "detail": job.error_detail} if job.error_code else None,
            "url": settings.BASE_URL + job.get_absolute_url(),
        },
        "model": model
        and {
            "id": model.pk,
            "name": model.name,
            "sha256": model.sha256,
            "test_accuracy": model.test_accuracy,
            "url": settings.BASE_URL + model.get_absolute_url(),
        },
    }
    return json.dumps(content).encode()


def signature(timestamp: str, content: bytes) -> str:
    """HMAC-SHA-256 of ``timestamp.content`` with ``WEBHOOK_SECRET``, in hexadecimal."""
    key = settings.WEBHOOK_SECRET.encode()
    return hmac.new(key, timestamp.encode() + b"." + content, hashlib.sha256).hexdigest()


def send(url: str, content: bytes, *, delivery: str) -> str:
    """One POST; returns what the other side answered, such as '204 No Content'.

    Raises:
        WebhookRefused: the address may not be used.
        NotDelivered: nobody there, no answer in time, or an answer that is not 2xx.
    """
    address = read_address(url)
    timestamp = str(int(time.time()))
    headers = {
        "Content-Type": "application/json",
        "User-Agent": "cifarsite-webhook",
        "X-Cifarsite-Delivery": delivery,
        "X-Cifarsite-Timestamp": timestamp,
        "X-Cifarsite-Signature": f"sha256={signature(timestamp, content)}",
    }
    connection = _Connection(address, _resolve(address))
    too_long = threading.Timer(LONGEST_SECONDS, connection.cut)
    too_long.start()
    try:
        connection.request("POST", address.target, content, headers)
        response = connection.getresponse()
        said = f"{response.status} {response.reason}"[:100]
    except (OSError, http.client.HTTPException) as error:
        raise NotDelivered(f"{type(error).__name__}: {error}") from error
    finally:
        too_long.cancel()
        connection.close()
    if not 200 <= response.status < 300:
        raise NotDelivered(_("%(host)s answered %(said)s.") % {"host": address.host, "said": said})
    return said


def _resolve(address: Address) -> str:
    """The IP address to connect to: the one that was checked, so a name cannot change in between."""
    try:
        found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise NotDelivered(_("%(host)s is not known.") % {"host": address.host}) from error
    addresses = [str(row[4][0]) for row in found]
    if address.host not in settings.WEBHOOK_PRIVATE_HOSTS:
        # One private address among public ones is no accident.
        for text in addresses:
            if not is_public(ipaddress.ip_address(text.split("%")[0])):
                raise WebhookRefused(_private(address.host))
    return addresses[0]


def _private(host: str) -> str:
    return _(
        "%(host)s is an address of this machine or of a private network. If it is meant, name it in "
        "WEBHOOK_PRIVATE_HOSTS."
    ) % {"host": host}


class _Connection(http.client.HTTPConnection):
    """Connects to an address that was looked up before; the certificate is checked against the name."""

    def __init__(self, address: Address, ip: str) -> None:
        super().__init__(address.host, address.port, timeout=TIMEOUT_SECONDS)
        self._ip, self._secure = ip, address.secure

    def connect(self) -> None:
        connected = socket.create_connection((self._ip, self.port), TIMEOUT_SECONDS)
        if self._secure:
            connected = ssl.create_default_context().wrap_socket(connected, server_hostname=self.host)
        self.sock = connected

    def cut(self) -> None:
        """End a try from another thread."""
        if self.sock:
            with contextlib.suppress(OSError):
                self.sock.shutdown(socket.SHUT_RDWR)
