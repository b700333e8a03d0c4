"""How often one may ask: a burst limit a minute and a sustained one a day, counted for all processes.

Counted for each token, for its owner and for the address, in Redis where ``CACHE_URL`` names
one and otherwise in the database: ``DatabaseCache`` cannot add atomically, and forgets at will.
"""

from __future__ import annotations

import logging
import time
from datetime import UTC, datetime

from django.conf import settings
from django.core.cache import caches
from django.core.cache.backends.redis import RedisCache
from django.db import OperationalError, connection
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import ngettext
from redis import RedisError

from classifier.audit import client_address
from classifier.models import ApiToken, RateCount, User
from training.storage import is_full

logger = logging.getLogger(__name__)

MINUTE, DAY = 60, 86_400
# A person may use several tokens, and several people share an address.
SHARES = {"token": 1, "user": 2, "address": 4}


class TooOften(Exception):
    """A limit is reached; ``seconds`` until it is worth asking again."""

    def __init__(self, seconds: int) -> None:
        super().__init__(seconds)
        self.seconds = seconds


def subjects(address: str | None, user: User | None = None, token: ApiToken | None = None) -> dict[str, str]:
    """On whose account a request goes, by kind."""
    found = {"address": address or "unknown"}
    if user:
        found["user"] = str(user.pk)
    if token:
        found["token"] = str(token.pk)
    return found


def spend(on: dict[str, str], cost: int = 1) -> None:
    """Count ``cost`` requests on all of ``on``, from ``subjects``.

    Raises:
        TooOften: with this request one of them is over one of its limits.
    """
    now = int(time.time())
    limits: dict[str, tuple[int, int]] = {}
    for kind, name in on.items():
        for window, limit in ((MINUTE, settings.API_RATE_BURST), (DAY, settings.API_RATE_SUSTAINED)):
            end = now - now % window + window
            limits[f"rate:{kind}:{name}:{window}:{end}"] = (limit * SHARES[kind], end)
    ends = {key: end for key, (_, end) in limits.items()}
    counts = _count(ends, cost)
    over = [end - now for key, (limit, end) in limits.items() if counts[key] > limit]
    if over:
        raise TooOften(max(over))


def seconds_to_wait(request: HttpRequest, cost: int = 1) -> int:
    """Count what somebody signed in sends through a page, on the same limits as the API's.

    Returns:
        0 where it is welcome, otherwise the seconds until it is.
    """
    user = request.user if isinstance(request.user, User) else None
    try:
        spend(subjects(client_address(request), user), cost)
    except TooOften as refusal:
        return refusal.seconds
    return 0


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
        try:
            return _count_in_redis(ends, cost)
        except (RedisError, OSError) as error:
            logger.warning("The cache does not answer (%s): rates are counted in the database.", error)
    try:
        return _count_in_database(ends, cost)
    except OperationalError as error:
        if not is_full(error):
            raise
        # What only reads still goes; what writes is told so by itself.
        logger.warning("The database's disk is full: requests are not counted.")
        return dict.fromkeys(ends, 0)


def _count_in_redis(ends: dict[str, int], cost: int) -> dict[str, int]:
    cache = caches["default"]
    counts = {}
    for key, end in ends.items():
        # Kept a minute longer than it counts, so that it cannot vanish between the two steps.
        cache.add(key, 0, timeout=end - int(time.time()) + MINUTE)
        counts[key] = cache.incr(key, cost)
    return counts


def _count_in_database(ends: dict[str, int], cost: int) -> dict[str, int]:
    """One statement: adding and reading in two would let requests at the same time slip through."""
    table = connection.ops.quote_name(RateCount._meta.db_table)
    # In one order everywhere, so that two requests never wait for each other.
    rows = [(key, cost, datetime.fromtimestamp(end, UTC)) for key, end in sorted(ends.items())]
    values = ", ".join(["(%s, %s, %s)"] * len(rows))
    statement = (
        f"INSERT INTO {table} (key, count, ends_at) VALUES {values} "  # noqa: S608 (no value of a request)
        f"ON CONFLICT (key) DO UPDATE SET count = {table}.count + excluded.count RETURNING key, count"
    )
    with connection.cursor() as cursor:
        cursor.execute(statement, [field for row in rows for field in row])
        return dict(cursor.fetchall())
