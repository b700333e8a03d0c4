"""Wait for answers without holding a database connection for long, and never with all web threads.

One of those who wait in a process looks for all of them; when it leaves, another one takes over.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from uuid import UUID

from django.conf import settings
from django.db import connection

from classifier.models import Prediction

# Seconds between two looks, for each who waits: a look that serves many may be a little later.
SHORTEST = 0.005
# But at least this share of the time that the last to come has waited, since most answers come at once.
SHARE, LONGEST = 0.1, 0.5
# A connection is given back for longer pauses only: to make one costs more than to hold it.
HELD_SECONDS = 0.1
seats = threading.BoundedSemaphore(settings.API_MAX_WAITING)
_looking = threading.Lock()  # held by the one who looks
_looked = 0.0  # when somebody last did, so that who takes over does not look at once again
_lock = threading.Lock()
_came, _found = threading.Condition(_lock), threading.Condition(_lock)


class _Wait:
    """One request that waits."""

    def __init__(self, photos: Iterable[UUID]) -> None:
        self.photos, self.since, self.all_in = set(photos), time.monotonic(), False


_waits: set[_Wait] = set()


def wait_for_answers(photos: Iterable[UUID], seconds: float) -> None:
    """Return as soon as all answers are in, or the time is over.

    Where as many requests wait as may, it returns at once.
    """
    if seconds <= 0 or not seats.acquire(blocking=False):
        return
    mine = _Wait(photos)
    end = mine.since + seconds
    with _lock:
        _waits.add(mine)
        _came.notify_all()
    try:
        while not mine.all_in and time.monotonic() < end:
            if _looking.acquire(blocking=False):
                _look_for_all(mine, end)
            else:
                _wait_for_news(mine, end)
    finally:
        with _lock:
            _waits.discard(mine)
        seats.release()


def _look_for_all(mine: _Wait, end: float) -> None:
    """Look again and again, until one's own answers are in or one's time is over."""
    global _looked
    try:
        while not mine.all_in:
            with _lock:
                # Whoever comes meanwhile makes it shorter.
                while (left := min(_looked + _pause(_looked), end) - time.monotonic()) > 0:
                    if left > HELD_SECONDS:
                        _give_back_connection()
                    _came.wait(left)
                waits = list(_waits)
            if time.monotonic() >= end:
                return
            still_open = _open(photo for wait in waits for photo in wait.photos)
            with _lock:
                _looked = time.monotonic()
                answered = [wait for wait in waits if wait.photos.isdisjoint(still_open)]
                for wait in answered:
                    wait.all_in = True
                    _waits.discard(wait)
                if answered:
                    _found.notify_all()
    finally:
        _looking.release()
        with _lock:
            _found.notify_all()  # somebody else takes over


def _wait_for_news(mine: _Wait, end: float) -> None:
    """Until one's answers are in, nobody looks any more, or the time is over."""

    def news() -> bool:
        return mine.all_in or not _looking.locked()

    with _lock:
        if not _found.wait_for(news, min(HELD_SECONDS, end - time.monotonic())):
            _give_back_connection()
            _found.wait_for(news, end - time.monotonic())


def _pause(now: float) -> float:
    """Seconds from one look to the next; with the lock held."""
    waited = now - max(wait.since for wait in _waits)
    return min(max(SHORTEST * len(_waits), SHARE * waited), LONGEST)


def _open(photos: Iterable[UUID]) -> set[UUID]:
    """Those that wait for an answer."""
    rows = Prediction.objects.filter(
        photo_id__in=set(photos),
        is_current=True,
        status__in=[Prediction.Status.QUEUED, Prediction.Status.RUNNING],
    )
    return set(rows.order_by().values_list("photo_id", flat=True))


def _give_back_connection() -> None:
    """Unless it is one that is kept for ever."""
    if connection.settings_dict["CONN_MAX_AGE"] is not None and not connection.in_atomic_block:
        connection.close()
