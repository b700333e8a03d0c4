"""What the training workers run; the work is in ``training.jobs.runner``."""

import logging
import os
from typing import Any

from celery import shared_task
from celery.signals import worker_ready

from cifarsite.core.wakeups import publish
from training import workers
from training.jobs import cifar10_fetch, lifecycle, ownership, runner
from training.models import DEFAULT_PROJECT, ModelVersion
from training.registry import exports, model_store, smoke_test

logger = logging.getLogger(__name__)


@shared_task(bind=True)
def train(self: Any) -> int:
    worker = os.getppid()
    # A parent that changed: the worker was killed, and this process is left over.
    return runner.train_next(
        self.request.hostname, lambda: workers.is_shutting_down() or os.getppid() != worker
    )


@shared_task
def try_model(version: int, champion: int | None) -> None:
    """For web hosts that have no TensorFlow; what came of it stands on the model's row."""
    found = ModelVersion.objects.in_bulk([version, champion or version])
    try:
        smoke_test.try_here(found[version], found[champion] if champion else None)
    except (smoke_test.SmokeTestFailed, model_store.ModelFileError) as error:
        logger.warning("Model version %s: %s", version, error)


@shared_task
def export_model(version: int, format: str) -> None:
    """For web hosts that have no TensorFlow; the file lies in the storage then."""
    try:
        exports.make_here(ModelVersion.objects.get(pk=version), format)
    except (exports.ExportFailed, model_store.ModelFileError) as error:
        logger.warning("Model version %s: %s", version, error)


@shared_task(bind=True)
def fetch_cifar10(self: Any) -> bool:
    return cifar10_fetch.fetch_slice(self.request.hostname)


@shared_task
def preload_champion(project: str = DEFAULT_PROJECT) -> None:
    """Load a project's new champion while nothing waits, so that the next photo need not wait for it."""
    champion = model_store.champion(project)
    if champion:
        model_store.predictor(champion)
    # Its message may have stood where one about photos was therefore not sent.
    publish("classifier.tasks.predict")


@worker_ready.connect
def look(sender: Any, **kwargs: Any) -> None:
    """What waited for a worker does not wait for the sweeper too."""
    if any(queue.name == ownership.CELERY_QUEUE for queue in sender.task_consumer.queues):
        lifecycle.wake()
