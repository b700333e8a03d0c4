"""Publishing a task: the row is already safe, so a dead broker costs a second and a log line."""

import logging
import time

from celery import current_app

logger = logging.getLogger(__name__)

# After a failure nothing is sent for so long: a request with a hundred photos waits for a frozen
# broker once, not a hundred times.
SILENT_SECONDS = 3.0
_silent_until = 0.0


def publish(task: str, *args: object) -> bool:
    """Send a message; False (and a warning) where the broker did not take it.

    The sweeper publishes again, so nobody has to act on False.
    """
    global _silent_until
    if time.monotonic() < _silent_until:
        return False
    try:
        current_app.send_task(task, args=args, ignore_result=True)
    except Exception as error:  # each transport has errors of its own
        _silent_until = time.monotonic() + SILENT_SECONDS
        logger.warning("%s could not be published (%s); the sweeper will.", task, error)
        return False
    return True
