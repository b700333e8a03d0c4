"""The Celery app: of the workers, and of those who send them messages (``cifarsite.apps``)."""

import os
from logging.config import dictConfig
from typing import Any

from celery import Celery, bootsteps
from celery.signals import setup_logging
from celery.worker import state
from django_structlog.celery.steps import DjangoStructLogInitStep

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "cifarsite.settings")


class Unstick(bootsteps.StartStopStep):
    """Reconnects a worker that waits for an acknowledgement which never reached the broker.

    A Redis that is frozen while a message is acknowledged leaves it counted as under way; with a
    prefetch of one the worker would take no other one, and nobody would notice.
    """

    requires = ("celery.worker.consumer.tasks:Tasks",)
    SECONDS = 5.0

    def __init__(self, consumer: Any, **options: Any) -> None:
        super().__init__(consumer, **options)
        self.enabled = consumer.hub is not None
        self.timer: Any = None
        self.stuck: set[Any] = set()

    def start(self, consumer: Any) -> None:
        self.stuck = set()
        self.timer = consumer.timer.call_repeatedly(self.SECONDS, self.look, (consumer,))

    def stop(self, consumer: Any) -> None:
        if self.timer:
            self.timer.cancel()
            self.timer = None

    shutdown = stop

    def look(self, consumer: Any) -> None:
        """Twice the same message under way while the worker does nothing: the error makes it reconnect."""
        qos = consumer.task_consumer.channel.qos
        delivered = set(qos._delivered) - qos._dirty
        if state.reserved_requests or state.active_requests:
            delivered = set()
        if delivered & self.stuck:
            raise ConnectionResetError("An acknowledgement did not reach the broker.")
        self.stuck = delivered


app = Celery("cifarsite")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.steps["consumer"].add(Unstick)
app.steps["worker"].add(DjangoStructLogInitStep)
app.autodiscover_tasks()


@setup_logging.connect
def keep_own_logging(**kwargs: object) -> None:
    """Celery would add handlers and a format of its own; connecting here keeps Django's."""
    from django.conf import settings

    dictConfig(settings.LOGGING)
