"""Messages are acknowledged after the work, and handed out again after 4 s without."""

from cifarsite.settings import *  # noqa: F403
from cifarsite.settings import CELERY_BROKER_TRANSPORT_OPTIONS as OPTIONS
from cifarsite.settings import LOGGING

CELERY_BROKER_TRANSPORT_OPTIONS = {
    **OPTIONS,
    "visibility_timeout": 4,
    # Looked for every second.
    "unacked_restore_interval": 1,
    "unacked_restore_throttle": 1,
    "unacked_mutex_expire": 1,
}
CELERY_TASK_ACKS_LATE = True
# Each time that a message arrives is a line of the log.
LOGGING = {**LOGGING, "loggers": {**LOGGING["loggers"], "celery.worker.strategy": {"level": "INFO"}}}
