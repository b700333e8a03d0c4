"""Wait for answers without holding a database connection for long, and never with all web threads."""

from __future__ import annotations

import threading
import time
from collections.abc import Collection
from uuid import UUID

from django.conf import settings
from django.db import connection

from classifier.models import Prediction

# Seconds between two looks: a share of the time waited so far, since most answers come at once.
SHORTEST, SHARE, LONGEST = 0.01, 0.3, 0.5
# A connection is given back for longer pauses only: to make one costs more than to hold it.
HELD_SECONDS = 0.1
seats = threading.BoundedSemaphore(settings.API_MAX_WAITING)


def wait_for_answers(photos: Collection[UUID], seconds: float) -> bool:
    """Look again and again until all answers are in or the time is over.

    Where as many requests wait as may, it looks once.

    Returns:
        Whether all answers are in.
    """
    if seconds <= 0 or not seats.acquire(blocking=False):
        return _all_in(photos)
    try:
        end = time.monotonic() + seconds
        waited = 0.0
        while not _all_in(photos):
            left = end - time.monotonic()
            if left <= 0:
                return False
            pause = min(max(SHORTEST, SHARE * waited), LONGEST)
            if pause > HELD_SECONDS and not connection.in_atomic_block:
                connection.close()
            time.sleep(min(pause, left))
            waited += pause
        return True
    finally:
        seats.release()


def _all_in(photos: Collection[UUID]) -> bool:
    open_ones = Prediction.objects.filter(photo_id__in=photos, is_current=True).exclude(
        status__in=[Prediction.Status.DONE, Prediction.Status.FAILED]
    )
    return not open_ones.exists()
