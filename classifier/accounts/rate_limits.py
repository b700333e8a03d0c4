"""How often one may ask: a burst limit a minute and a sustained one a day, counted for all processes.

Counted for each token, for its owner and for the address, in Redis where ``CACHE_URL`` names
one and otherwise in the database: ``DatabaseCache`` cannot add atomically, and forgets at will.
A process writes to the database once a second: beyond a limit comes no more than what the other
processes were sent within one second.
"""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple

from django.conf import settings
from django.core.cache import caches
from django.core.cache.backends.redis import RedisCache
from django.db import OperationalError, connection
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.utils.translation import ngettext

from cifarsite.core.pages import Middleware
from cifarsite.core.storage import is_full
from classifier.accounts.audit import client_address
from classifier.models import ApiToken, RateCount, User

logger = logging.getLogger(__name__)

MINUTE, DAY = 60, 86_400
# Databases take some ten thousand parameters a statement.
ROWS_AT_ONCE = 1_000
# A person may use several tokens, and several people share an address.
SHARES = {"token": 1, "user": 2, "address": 4}


# A page that reads all rows of a person or a report costs as much as so many requests.
DOWNLOAD_COST = 20
DOWNLOADS = {
    *(f"classifier:history-{kind}" for kind in ("csv", "jsonl", "json", "zip")),
    *("classifier:batch-results-csv", "classifier:batch-results-jsonl", "classifier:account-export"),
    *("training:report-json", "training:report-predictions", "training:model-download"),
}


class Limit(NamedTuple):
    """How much of a limit is left: ``left`` of ``most`` requests, for ``seconds`` of a window of so many."""

    name: str
    most: int
    window: int
    left: int
    seconds: int


class RateLimitExceeded(Exception):
    """A limit is reached; ``seconds`` until it is worth asking again."""

    def __init__(self, seconds: int, limits: list[Limit]) -> None:
        super().__init__(seconds)
        self.seconds, self.limits = seconds, limits


def subjects(address: str | None, user: User | None = None, token: ApiToken | None = None) -> dict[str, str]:
    """On whose account a request goes, by kind."""
    found = {"address": address or "unknown"}
    if user:
        found["user"] = str(user.pk)
    if token:
        found["token"] = str(token.pk)
    return found


def consume(on: dict[str, str], cost: int = 1) -> list[Limit]:
    """Count ``cost`` requests on all of ``on``, from ``subjects``.

    Returns:
        Of the limits a minute and of those a day, the one that is nearest.

    Raises:
        RateLimitExceeded: with this request one of them is over one of its limits.
    """
    now = int(time.time())
    limits: dict[str, tuple[str, int, int, int]] = {}
    for kind, name in on.items():
        for word, window, limit in (
            ("minute", MINUTE, settings.API_RATE_BURST),
            ("day", DAY, settings.API_RATE_SUSTAINED),
        ):
            end = now - now % window + window
            limits[f"rate:{kind}:{name}:{window}:{end}"] = (
                f"{kind}-{word}",
                limit * SHARES[kind],
                window,
                end,
            )
    counts = _count({key: end for key, (*_limit, end) in limits.items()}, cost)
    over = [end - now for key, (_name, most, _window, end) in limits.items() if counts[key] > most]
    left = [
        Limit(name, most, window, max(0, most - counts[key]), end - now)
        for key, (name, most, window, end) in limits.items()
    ]
    nearest = [
        min((one for one in left if one.window == window), key=lambda one: one.left)
        for window in (MINUTE, DAY)
    ]
    if over:
        raise RateLimitExceeded(max(over), nearest)
    return nearest


def headers(limits: list[Limit]) -> dict[str, str]:
    """What tells a program how much is left: draft-ietf-httpapi-ratelimit-headers, as structured fields."""
    if not limits:
        return {}
    return {
        "RateLimit-Policy": ", ".join(f'"{one.name}";q={one.most};w={one.window}' for one in limits),
        "RateLimit": ", ".join(f'"{one.name}";r={one.left};t={one.seconds}' for one in limits),
    }


def seconds_to_wait(request: HttpRequest, cost: int = 1) -> int:
    """Count what somebody signed in sends through a page, on the same limits as the API's.

    Returns:
        0 where it is welcome, otherwise the seconds until it is.
    """
    user = request.user if isinstance(request.user, User) else None
    try:
        consume(subjects(client_address(request), user), cost)
    except RateLimitExceeded as refusal:
        return refusal.seconds
    return 0


def download_cost() -> int:
    """Never so much that the first one is refused."""
    return min(DOWNLOAD_COST, settings.API_RATE_BURST)


class DownloadsCounted(Middleware):
    """Middleware: downloads count on the limits of whoever is signed in, also where they are links."""

    def process_view(self, request: HttpRequest, *view: Any) -> HttpResponse | None:
        name = request.resolver_match.view_name if request.resolver_match else ""
        is_download = name in DOWNLOADS or (name.startswith("admin:") and name.endswith("_export"))
        if not (is_download and request.user.is_authenticated):
            return None
        if not (wait := seconds_to_wait(request, download_cost())):
            return None
        response = render(request, "429.html", status=429)
        response.headers["Retry-After"] = str(wait)
        return response


def wait_in_words(seconds: int) -> str:
    """'Wait 12 seconds.', or minutes where it is long; for people."""
    if seconds <= 90:
        return ngettext("Wait %(n)d second.", "Wait %(n)d seconds.", seconds) % {"n": seconds}
    minutes = -(-seconds // 60)
    return ngettext("Wait %(n)d minute.", "Wait %(n)d minutes.", minutes) % {"n": minutes}


def purge() -> int:
    """Forget the windows that are over. Returns how many."""
    return RateCount.objects.filter(ends_at__lt=timezone.now()).delete()[0]


def _count(ends: dict[str, int], cost: int) -> dict[str, int]:
    if isinstance(caches["default"], RedisCache):
        from redis import RedisError  # 6 MB, which only a site with Redis needs

        try:
            return _count_in_redis(ends, cost)
        except (RedisError, OSError) as error:
            logger.warning("The cache does not respond (%s): the site counts rates in the database.", error)
    try:
        return in_database.add(ends, cost)
    except OperationalError as error:
        if not is_full(error):
            raise
        # What only reads still goes; what writes is told so by itself.
        logger.warning("The database's disk is full: requests are not counted.")
        return dict.fromkeys(ends, 0)


def _count_in_redis(ends: dict[str, int], cost: int) -> dict[str, int]:
    """One message for all: each key takes two commands, which would be a round trip each."""
    cache = caches["default"]
    now = int(time.time())
    with cache._cache.get_client(write=True).pipeline(transaction=False) as pipe:  # type: ignore[attr-defined]
        for key, end in ends.items():
            name = cache.make_and_validate_key(key)
            # Kept a minute longer than it counts, so that it cannot vanish between the two steps.
            pipe.set(name, 0, nx=True, ex=end - now + MINUTE)
            pipe.incrby(name, cost)
        return dict(zip(ends, pipe.execute()[1::2], strict=True))


@dataclass
class _Count:
    """Of one key: ``total`` is what the database said when it had been told ``told`` of ``added``."""

    key: str
    end: int  # of its window, in Unix seconds
    added: int = 0  # by this process
    told: int = 0
    total: int | None = None
    used: float = 0.0  # when something was last added, in seconds of ``time.monotonic``


class DatabaseCounter:
    """Counts in rows of the database, which a process writes and reads every ``seconds``.

    To what it read it adds what itself is sent. A key that it does not know it writes and reads at once.
    """

    KEPT_SECONDS = 10.0  # since a key was last used

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._counts: dict[str, _Count] = {}
        self._next = 0.0
        self._lock, self._writing = threading.Lock(), threading.Lock()

    def add(self, ends: dict[str, int], cost: int) -> dict[str, int]:
        """Args: when the window of each key ends, in Unix seconds. Returns: the count of each key."""
        now = time.monotonic()
        with self._lock:
            counts = {key: self._counts.setdefault(key, _Count(key, end)) for key, end in ends.items()}
            for count in counts.values():
                count.added, count.used = count.added + cost, now
            mine = {key: count.added for key, count in counts.items()}
            if now >= self._next and not self._writing.locked():
                self._next = now + self.seconds
                self._forget(now)
                to_write = list(self._counts.values())
            else:
                to_write = [count for count in counts.values() if count.total is None]
        if to_write:
            self._write(to_write)
        with self._lock:
            # Others of this process may have been told to the database meanwhile.
            return {key: (count.total or 0) - count.told + mine[key] for key, count in counts.items()}

    def _forget(self, now: float) -> None:
        over = time.time()
        for key, count in list(self._counts.items()):
            told = count.told == count.added and count.used < now - self.KEPT_SECONDS
            if told or count.end <= over:
                del self._counts[key]

    def _write(self, counts: list[_Count]) -> None:
        with self._writing:
            # In one order everywhere, so that two processes never wait for each other.
            counts = sorted(counts, key=lambda count: count.key)
            for first in range(0, len(counts), ROWS_AT_ONCE):
                some = counts[first : first + ROWS_AT_ONCE]
                with self._lock:
                    added = {count.key: count.added for count in some}
                totals = _add_to_rows([(c.key, added[c.key] - c.told, c.end) for c in some])
                with self._lock:
                    for count in some:
                        count.told, count.total = added[count.key], totals[count.key]


in_database = DatabaseCounter(seconds=1.0)


def _add_to_rows(rows: list[tuple[str, int, int]]) -> dict[str, int]:
    """One statement: adding and reading in two would let requests at the same time slip through.

    Args: (key, how many more, end of the window in Unix seconds) of each. Returns: how many it has now.
    """
    table = connection.ops.quote_name(RateCount._meta.db_table)
    values = ", ".join(["(%s, %s, %s)"] * len(rows))
    statement = (
        f"INSERT INTO {table} (key, count, ends_at) VALUES {values} "  # noqa: S608 (no value of a request)
        f"ON CONFLICT (key) DO UPDATE SET count = {table}.count + excluded.count RETURNING key, count"
    )
    fields = [(key, more, datetime.fromtimestamp(end, UTC)) for key, more, end in rows]
    with connection.cursor() as cursor:
        cursor.execute(statement, [field for row in fields for field in row])
        return dict(cursor.fetchall())
