"""Telling another program that work is over: a signed request, tried again with growing waits.

The state of it stands on the work's row, so a lost worker costs time, not the message. The address is
typed in by a person: it is only followed to hosts on the public network, of staff also to those that
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
import random
import socket
import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import zip_longest
from typing import Any, NamedTuple, TypeVar
from urllib.parse import urlsplit

from django.conf import settings
from django.db import models
from django.db.models import Q, QuerySet
from django.db.models.functions import Coalesce
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

logger = logging.getLogger(__name__)

# Seconds until the next try after the first, second ... failure; after the last one it is given up.
WAITS = (30, 120, 600, 3_600, 21_600)
TIMEOUT_SECONDS = 5.0
# The longest that one try takes once the name is looked up, however slowly the other side drips its answer.
LONGEST_SECONDS = 12.0
# A try that was begun and never ended, since its process was killed, is made again after this.
CLAIM_SECONDS = 60
# The sweeper has other things to do: after so many seconds no further message is begun in its pass.
SECONDS_A_PASS = 5.0
# So many of those that are due are looked at, the oldest first.
LOOKED_AT = 1_000
LONGEST_ADDRESS = 500
# All that is given out to the public in IPv6. Outside of it lie, among others, the forms that stand for
# an address of IPv4, behind which a private one could hide: ::ffff:0:0/96, ::ffff:0:0:0/96, 64:ff9b::/96.
PUBLIC = ipaddress.ip_network("2000::/3")


class WithWebhook(models.Model):
    """A row of work whose end another program may be told: where, and how that went."""

    class Webhook(models.TextChoices):
        WAITING = "waiting", gettext_lazy("waiting")
        DELIVERED = "delivered", gettext_lazy("delivered")
        FAILED = "failed", gettext_lazy("given up")

    webhook_url = models.CharField(
        gettext_lazy("webhook"), max_length=LONGEST_ADDRESS, blank=True, default="", db_default=""
    )
    webhook_state = models.CharField(
        gettext_lazy("webhook's state"),
        max_length=10,
        choices=Webhook.choices,
        default=Webhook.WAITING,
        db_default=Webhook.WAITING,
        editable=False,
    )
    webhook_tries = models.PositiveSmallIntegerField(
        gettext_lazy("webhook's tries"), default=0, db_default=0, editable=False
    )
    webhook_next_at = models.DateTimeField(gettext_lazy("webhook's next try"), null=True, editable=False)
    webhook_said = models.CharField(
        gettext_lazy("webhook's response"),
        max_length=500,
        blank=True,
        default="",
        db_default="",
        editable=False,
    )
    finished_at: models.DateTimeField[Any, datetime | None]

    class Meta:
        abstract = True


Webhook = WithWebhook.Webhook
Row = TypeVar("Row", bound=WithWebhook)
# What the columns are before a message; also where work that was over goes on.
UNSENT: dict[str, Any] = {
    "webhook_state": Webhook.WAITING,
    "webhook_tries": 0,
    "webhook_next_at": None,
    "webhook_said": "",
}


class Message(NamedTuple):
    """What is sent about a row; ``delivery`` names it, in every try.

    ``private_hosts``: also to those that ``WEBHOOK_PRIVATE_HOSTS`` names, which is for staff.
    """

    content: dict[str, Any]
    secret: str
    delivery: str
    private_hosts: bool


class WebhookRefused(ValueError):
    """The address cannot be used; the message says why."""


class NotDelivered(Exception):
    """One try failed; the message is kept on the job's row."""


@dataclass(frozen=True)
class Address:
    """Where to send: ``target`` is the path with its query; ``private``: the host may be a private one."""

    host: str
    port: int
    target: str
    secure: bool
    private: bool


def read_address(url: str, *, private_hosts: bool = True) -> Address:
    """Take an address apart; ``private_hosts``: those that ``WEBHOOK_PRIVATE_HOSTS`` names are allowed.

    Raises:
        WebhookRefused: it is no address, webhooks are off on this site, or it may not be used.
    """
    if not settings.WEBHOOK_SECRET:
        if private_hosts:
            raise WebhookRefused(_("Webhooks are off: set WEBHOOK_SECRET, which signs them."))
        raise WebhookRefused(_("This site sends no webhooks."))
    try:
        parts = urlsplit(url)
        host, port = (parts.hostname or "").rstrip("."), parts.port
    except ValueError as error:
        raise WebhookRefused(_("'%(url)s' is not a web address.") % {"url": url[:100]}) from error
    bad = any(ord(c) <= 32 or ord(c) >= 127 for c in url) or len(url) > LONGEST_ADDRESS
    if bad or parts.scheme not in ("http", "https") or not _is_host(host) or parts.username is not None:
        raise WebhookRefused(
            _("'%(url)s' is not a valid webhook address. Use an address such as https://example.org/hook.")
            % {"url": url[:100]}
        )
    private = private_hosts and host in settings.WEBHOOK_PRIVATE_HOSTS
    if parts.scheme == "http" and not private:
        raise WebhookRefused(_("Webhooks need https, so that nobody can read them in transit."))
    try:
        literal = ipaddress.ip_address(host)
    except ValueError:
        pass
    else:
        if not private and not is_public(literal):
            raise WebhookRefused(_private(host, for_staff=private_hosts))
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    secure = parts.scheme == "https"
    return Address(host, port or (443 if secure else 80), target, secure, private)


def _is_host(name: str) -> bool:
    """Can it be looked up? No part of it is empty or longer than names may be."""
    try:
        return bool(name.encode("idna"))
    except UnicodeError:
        return False


def is_public(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    """Nothing of this machine, of a network of one's own, or that stands for such an address."""
    if isinstance(address, ipaddress.IPv6Address) and (
        address not in PUBLIC or address.sixtofour or address.teredo
    ):
        return False
    return address.is_global and not address.is_multicast


def due(rows: QuerySet[Row]) -> QuerySet[Row]:
    """Those that are over and whose message has to be sent now."""
    when = Q(webhook_next_at=None) | Q(webhook_next_at__lte=timezone.now())
    over = rows.filter(when, webhook_state=Webhook.WAITING, finished_at__isnull=False)
    return over.exclude(webhook_url="")


def deliver_due(
    rows: QuerySet[Row],
    message: Callable[[Row], Message],
    on_failure: Callable[[Row], None] | None = None,
    of: str = "pk",
) -> tuple[int, int]:
    """Send what of ``rows`` is due, for some seconds. Returns how many arrived and how many did not.

    Args:
        message: what to send about a row; raises WebhookRefused where there is nobody to send it to.
        of: the field that says whose a row is. Each of them has one message before anybody has a second,
            in an order by chance, so that a slow receiver holds up nobody for long.
    """
    since = Coalesce("webhook_next_at", "finished_at")
    waiting: dict[Any, list[Any]] = {}
    for pk, whose in due(rows).order_by(since, "pk").values_list("pk", of)[:LOOKED_AT]:
        waiting.setdefault(whose, []).append(pk)
    theirs = random.sample(list(waiting.values()), len(waiting))
    ends = time.monotonic() + SECONDS_A_PASS
    sent = failed = 0
    for pk in (pk for turn in zip_longest(*theirs) for pk in turn if pk is not None):
        # Of two processes only one gets the row; it comes back by itself if that one dies.
        claim = timezone.now() + timedelta(seconds=CLAIM_SECONDS)
        if not due(rows).filter(pk=pk).update(webhook_next_at=claim):
            continue
        row = rows.filter(pk=pk, webhook_next_at=claim).first()
        if row is None:  # it goes on, or its address was changed
            continue
        if deliver(row, message):
            sent += 1
        else:
            failed += 1
            if on_failure:
                on_failure(row)
        if time.monotonic() > ends:
            break
    return sent, failed


def deliver(row: Row, message: Callable[[Row], Message]) -> bool:
    """Try once, and write on the row what came of it, unless it has changed meanwhile."""
    tries = row.webhook_tries + 1
    rows = type(row)._default_manager.filter(
        pk=row.pk, webhook_state=Webhook.WAITING, webhook_next_at=row.webhook_next_at
    )
    try:
        said = send(row.webhook_url, message(row))
    except Exception as error:
        if not isinstance(error, (WebhookRefused, NotDelivered)):
            # A fault of one message must not keep the others back.
            logger.exception("The webhook of %s #%s could not be sent.", row._meta.model_name, row.pk)
        given_up = tries > len(WAITS) or isinstance(error, WebhookRefused)
        rows.update(
            webhook_tries=tries,
            webhook_said=_printable(str(error))[:500],
            webhook_state=Webhook.FAILED if given_up else Webhook.WAITING,
            webhook_next_at=None if given_up else timezone.now() + timedelta(seconds=WAITS[tries - 1]),
        )
        logger.warning(
            "The webhook of %s #%s failed (try %s): %s", row._meta.model_name, row.pk, tries, error
        )
        return False
    rows.update(
        webhook_tries=tries,
        webhook_said=_printable(said),
        webhook_state=Webhook.DELIVERED,
        webhook_next_at=None,
    )
    return True


def _printable(text: str) -> str:
    """What the other side answered may hold anything; PostgreSQL takes no NUL."""
    return "".join(c if c.isprintable() else " " for c in text)


def signature(secret: str, timestamp: str, content: bytes) -> str:
    """HMAC-SHA-256 of ``timestamp.content``, in hexadecimal."""
    return hmac.new(secret.encode(), timestamp.encode() + b"." + content, hashlib.sha256).hexdigest()


def send(url: str, message: Message) -> str:
    """One POST; returns what the other side answered, such as '204 No Content'.

    Raises:
        WebhookRefused: the address may not be used.
        NotDelivered: nobody there, no answer in time, or an answer that is not 2xx.
    """
    address = read_address(url, private_hosts=message.private_hosts)
    timestamp, content = str(int(time.time())), json.dumps(message.content).encode()
    headers = {
        "Content-Type": "application/json",
        "User-Agent": "cifarsite-webhook",
        "X-Cifarsite-Delivery": message.delivery,
        "X-Cifarsite-Timestamp": timestamp,
        "X-Cifarsite-Signature": f"sha256={signature(message.secret, timestamp, content)}",
    }
    connection = _Connection(address, _resolve(address, for_staff=message.private_hosts))
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
        raise NotDelivered(_("%(host)s responded with %(said)s.") % {"host": address.host, "said": said})
    return said


def _resolve(address: Address, *, for_staff: bool) -> str:
    """The IP address to connect to: the one that was checked, so a name cannot change in between."""
    try:
        found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise NotDelivered(
            _("The host name %(host)s cannot be resolved.") % {"host": address.host}
        ) from error
    addresses = [str(row[4][0]) for row in found]
    if not address.private:
        # One private address among public ones is no accident.
        for text in addresses:
            if not is_public(ipaddress.ip_address(text.split("%")[0])):
                raise WebhookRefused(_private(address.host, for_staff=for_staff))
    return addresses[0]


def _private(host: str, *, for_staff: bool) -> str:
    if for_staff:
        text = _(
            "%(host)s is an address of this machine or of a private network. If it is meant, name it in "
            "WEBHOOK_PRIVATE_HOSTS."
        )
    else:
        text = _(
            "%(host)s is an address of this machine or of a private network: only public https addresses are "
            "allowed."
        )
    return text % {"host": host}


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
