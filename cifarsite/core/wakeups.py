"""Publishing a task: the row is already safe, so a dead broker costs a second and a log line."""

import logging
import time
from collections.abc import Callable
from functools import partial

from celery import current_app
from kombu.exceptions import ChannelError

logger = logging.getLogger(__name__)

# After a failure nothing is sent for so long: a request with a hundred photos waits for a frozen
# broker once, not a hundred times.
SILENT_SECONDS = 3.0
_silent_until = 0.0


def publish(task: str, *args: object) -> bool:
    """Send a message; False (and a warning) where the broker did not take it.

    The sweeper publishes again, so nobody has to act on False.
    """
    return _attempt(task, partial(current_app.send_task, task, args=args, ignore_result=True))


def notify_once(task: str, queue: str) -> bool:
    """Send a message, unless one that no worker has taken yet stands in its queue.

    For a queue all of whose tasks look for the same rows: whoever takes that message looks after this
    moment, and finds what is committed by now. So a worker that is at work for a while is not sent one
    message a photo, each of which would cost it as much as a photo.
    """

    def send() -> None:
        if not _stands_in(queue):
            current_app.send_task(task, ignore_result=True)

    return _attempt(task, send)


def _stands_in(queue: str) -> bool:
    with current_app.producer_pool.acquire(block=True) as producer:
        try:
            return bool(producer.channel.queue_declare(queue, passive=True).message_count)
        except ChannelError:  # there is no such queue: where it is empty, with Redis
            return False


def _attempt(task: str, send: Callable[[], object]) -> bool:
    global _silent_until
    if time.monotonic() < _silent_until:
        return False
    try:
        send()
    except Exception as error:  # each transport has errors of its own
        _silent_until = time.monotonic() + SILENT_SECONDS
        logger.warning("%s could not be published (%s); the sweeper will.", task, error)
        return False
    return True
