"""What another program is told when a training job is over; how is ``cifarsite.core.webhooks``."""

from __future__ import annotations

from typing import Any

from django.conf import settings

from cifarsite.core import webhooks
from training.models import TrainingJob

State = TrainingJob.State


def deliver_due() -> dict[str, int]:
    """Send what is due. Returns how many arrived and how many did not."""
    over = TrainingJob.objects.exclude(state__in=(State.QUEUED, State.RUNNING))
    sent, failed = webhooks.deliver_due(over, message)
    return {"webhooks_sent": sent, "webhooks_failed": failed}


def message(job: TrainingJob) -> webhooks.Message:
    delivery = f"{job.pk}-{job.finished_at:%Y%m%d%H%M%S}"
    return webhooks.Message(content(job), settings.WEBHOOK_SECRET, delivery, private_hosts=True)


def content(job: TrainingJob) -> dict[str, Any]:
    """What is sent: which job, how it ended, what came of it."""
    model = job.made().defer("card").first()
    return {
        "event": "training_job.finished",
        "job": {
            "id": job.pk,
            "project": job.project_id,
            "recipe": job.recipe,
            "parameters": job.parameters,
            "state": job.state,
            "created_at": job.created_at.isoformat(),
            "finished_at": job.finished_at.isoformat() if job.finished_at else None,
            "error": {"code": job.error_code, "detail": job.error_detail} if job.error_code else None,
            "url": settings.BASE_URL + job.get_absolute_url(),
        },
        "model": model
        and {
            "id": model.pk,
            "name": model.name,
            "sha256": model.sha256,
            "test_accuracy": model.test_accuracy,
            "url": settings.BASE_URL + model.get_absolute_url(),
        },
    }
