"""What the training workers run; the work is in ``training.runner``."""

import logging
import os
from typing import Any

from celery import shared_task
from celery.signals import worker_ready

from training import heartbeat, jobs, model_store, runner, trial
from training.messages import publish
from training.models import ModelVersion

logger = logging.getLogger(__name__)


@shared_task(bind=True)
def train(self: Any) -> int:
    worker = os.getppid()
    # A parent that changed: the worker was killed, and this process is left over.
    return runner.train_next(self.request.hostname, lambda: heartbeat.is_ending() or os.getppid() != worker)


@shared_task
def try_model(version: int, champion: int | None) -> None:
    """For web hosts that have no TensorFlow; what came of it stands on the model's row."""
    found = ModelVersion.objects.in_bulk([version, champion or version])
    try:
        trial.try_here(found[version], found[champion] if champion else None)
    except (trial.TrialFailed, model_store.ModelFileError) as error:
        logger.warning("Model version %s: %s", version, error)


@shared_task
def change_over() -> None:
    """Load the new champion while nothing waits, so that the next photo need not wait for it."""
    champion = model_store.champion()
    if champion:
        model_store.predictor(champion)
    # Its message may have stood where one about photos was therefore not sent.
    publish("classifier.tasks.predict")


@worker_ready.connect
def look(sender: Any, **kwargs: Any) -> None:
    """What waited for a worker does not wait for the sweeper too."""
    if any(queue.name == jobs.QUEUE for queue in sender.task_consumer.queues):
        jobs.wake()
