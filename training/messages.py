"""Publishing a task: the row is already safe, so a dead broker costs a second and a log line."""

import logging

from celery import current_app

logger = logging.getLogger(__name__)


def publish(task: str, *args: object) -> bool:
    """Send a message; False (and a warning) where the broker did not take it.

    The sweeper publishes again, so nobody has to act on False.
    """
    try:
        current_app.send_task(task, args=args, ignore_result=True)
    except Exception as error:  # each transport has errors of its own
        logger.warning("%s could not be published (%s); the sweeper will.", task, error)
        return False
    return True
