"""Celery workers say every few seconds that they live, and their tasks learn when they shall end."""

import logging
import mmap
import threading
from typing import Any

from celery.signals import worker_ready, worker_shutdown, worker_shutting_down
from django.conf import settings
from django.db import DatabaseError, connection
from django.utils import timezone

from training import leases

logger = logging.getLogger(__name__)
_over = threading.Event()
# One byte that the worker shares with the processes it forks: 1 when it was asked to end, since
# Celery lets a running task finish, however long that takes.
_ending = mmap.mmap(-1, 1)


def is_ending() -> bool:
    """Was this worker asked to end? True in the processes that it forked, too."""
    return bool(_ending[0])


@worker_shutting_down.connect  # type: ignore[untyped-decorator]
def end(**kwargs: Any) -> None:
    _ending[0] = 1


@worker_ready.connect  # type: ignore[untyped-decorator]
def start(sender: Any, **kwargs: Any) -> None:
    queues = [queue.name for queue in sender.task_consumer.queues]
    threading.Thread(target=_beat, args=(sender.hostname, queues), daemon=True).start()


@worker_shutdown.connect  # type: ignore[untyped-decorator]
def stop(**kwargs: Any) -> None:
    _over.set()


def _beat(name: str, queues: list[str]) -> None:
    started_at = timezone.now()
    while True:
        try:
            leases.beat(name, queues, started_at)
        except DatabaseError:
            logger.warning("The heartbeat could not be written; it is tried again.")
            # Not where it is only full: SQLite's file could not be opened again.
            connection.close_if_unusable_or_obsolete()
        if _over.wait(settings.HEARTBEAT_SECONDS):
            break
    connection.close()
