"""What the prediction workers run; the work is in ``classifier.predictions.inference``."""

import gc
import logging
from collections.abc import Callable
from functools import partial
from typing import Any

from celery import shared_task
from celery.signals import celeryd_after_setup, worker_process_init, worker_ready
from django.db import DatabaseError

from classifier.accounts import mails
from classifier.monitoring import metrics, reclassification, shadow_deployment
from classifier.predictions import explanations, inference
from classifier.uploads import batch_worker, import_worker
from training.registry import neighbour_index

logger = logging.getLogger(__name__)
_name = ""
_queues: set[str] = set()


@shared_task(bind=True)
def predict(self: Any) -> int:
    return inference.predict_pending(self.request.hostname)


@shared_task(bind=True)
def predict_bulk(self: Any) -> int:
    worker = self.request.hostname
    # Somebody who waits for an explanation does not wait for a whole batch too.
    answered = inference.predict_pending(worker, partial(explanations.explain_pending, worker))
    reclassification.feed()
    return answered


@shared_task(bind=True)
def explain(self: Any) -> int:
    worker = self.request.hostname
    # Each message of this queue stands for one about photos too: see ``notify_once``.
    inference.predict_pending(worker)
    return explanations.explain_pending(worker)


@shared_task(bind=True)
def collect_neighbours(self: Any) -> int:
    worker = self.request.hostname

    def answer_people(renew: Callable[[], object]) -> None:
        inference.predict_pending(worker, renew)
        explanations.explain_pending(worker)

    made = neighbour_index.collect_pending(worker, answer_people)
    explanations.fill_in_left()
    return made


@shared_task(bind=True)
def shadow(self: Any) -> int:
    return shadow_deployment.work(self.request.hostname)


@shared_task(bind=True)
def unpack(self: Any) -> int:
    return batch_worker.unpack_slice(self.request.hostname)


@shared_task(bind=True)
def import_images(self: Any) -> int:
    return import_worker.import_slice(self.request.hostname)


@shared_task
def send_mails() -> int:
    return mails.send_due()["mails_sent"]


@celeryd_after_setup.connect
def note_queues(sender: str, instance: Any, **kwargs: Any) -> None:
    global _name
    _name = sender
    _queues.update(instance.app.amqp.queues.consume_from)


@worker_ready.connect
def tell_metrics(**kwargs: Any) -> None:
    metrics.serve_on_worker_host()


@worker_process_init.connect
def load_model(**kwargs: Any) -> None:
    """Load the champion before the first photo comes; only where this worker predicts."""
    if not _queues & {"predict", "batch"}:
        return
    # The modules of a model stay: to look through them again and again delays the start, and later photos.
    gc.disable()
    try:
        inference.load_model(_name)
    except DatabaseError as error:
        logger.warning("The model could not be loaded yet: %s", error)
    finally:
        gc.freeze()
        gc.enable()
