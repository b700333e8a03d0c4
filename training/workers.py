"""Celery workers say every few seconds that they live, and their tasks learn when they shall end."""

import logging
import mmap
import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from celery.signals import worker_ready, worker_shutdown, worker_shutting_down
from django.conf import settings
from django.db import DatabaseError, connection
from django.utils import timezone

from training.models import Worker

logger = logging.getLogger(__name__)
_over = threading.Event()
# What a worker does beside its heartbeats, by the queue that it serves.
beside_heartbeat: dict[str, Callable[[], None]] = {}
# One byte that the worker shares with the processes it forks: 1 when it was asked to end, since
# Celery lets a running task finish, however long that takes.
_ending = mmap.mmap(-1, 1)


def is_shutting_down() -> bool:
    """Was this worker asked to end? True in the processes that it forked, too."""
    return bool(_ending[0])


@worker_shutting_down.connect  # type: ignore[untyped-decorator]
def end(**kwargs: Any) -> None:
    _ending[0] = 1


@worker_ready.connect  # type: ignore[untyped-decorator]
def start(sender: Any, **kwargs: Any) -> None:
    queues = [queue.name for queue in sender.task_consumer.queues]
    threading.Thread(target=_keep_heartbeat, args=(sender.hostname, queues), daemon=True).start()


@worker_shutdown.connect  # type: ignore[untyped-decorator]
def stop(**kwargs: Any) -> None:
    _over.set()


def _keep_heartbeat(name: str, queues: list[str]) -> None:
    started_at = timezone.now()
    while True:
        try:
            record_heartbeat(name, queues, started_at)
            for queue in beside_heartbeat.keys() & set(queues):
                beside_heartbeat[queue]()
        except DatabaseError:
            logger.warning("The heartbeat could not be written; it is tried again.")
            # Not where it is only full: SQLite's file could not be opened again.
            connection.close_if_unusable_or_obsolete()
        if _over.wait(settings.HEARTBEAT_SECONDS):
            break
    connection.close()


# The sweeper beats like a worker, under a queue name that carries no messages.
SWEEP = "sweep"


def record_heartbeat(name: str, queues: list[str], started_at: datetime) -> None:
    """Note that a worker is alive."""
    Worker.objects.update_or_create(
        name=name, defaults={"queues": queues, "started_at": started_at, "seen_at": timezone.now()}
    )


def report(name: str, problem: str) -> None:
    """Note what a worker cannot do, for people to see; empty: it is well."""
    now = timezone.now()
    Worker.objects.update_or_create(
        name=name,
        defaults={"problem": problem},
        create_defaults={"problem": problem, "started_at": now, "seen_at": now},
    )


def last_seen(queue: str) -> datetime | None:
    """When a worker of this queue was last seen alive; None: never."""
    now = timezone.now()
    # Few rows, and JSON containment is not portable, so it is filtered here.
    seen = [w.seen_at for w in Worker.objects.order_by("-seen_at")[:100] if queue in w.queues]
    # The nearest to now: one from before the clock was put back lies in the future.
    return min(seen, key=lambda at: abs(now - at), default=None)


def is_alive(queue: str) -> bool:
    """A worker of this queue was seen within a lease."""
    seen = last_seen(queue)
    return bool(seen and is_recent(seen))


def lives(worker: Worker, seconds: int | None = None) -> bool:
    """The worker was seen within so many seconds, a lease unless given."""
    return is_recent(worker.seen_at, seconds)


def is_recent(seen: datetime, seconds: int | None = None) -> bool:
    """Within so many seconds of now, before or after: a clock put back makes nobody alive for long."""
    return abs((timezone.now() - seen).total_seconds()) < (seconds or settings.LEASE_SECONDS)


def alive(queue: str) -> int:
    """How many workers of this queue were seen within a lease."""
    lately = timezone.now() - timedelta(seconds=settings.LEASE_SECONDS)
    return sum(queue in worker.queues for worker in Worker.objects.filter(seen_at__gt=lately))
