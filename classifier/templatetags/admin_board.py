"""What the admin's first page shows above the tables: five bounded queries."""

from __future__ import annotations

from typing import Any

from django import template
from django.contrib.auth.models import PermissionsMixin
from django.db.models import Count, Min
from django.utils import timezone

from cifarsite.core.numbers import percent
from classifier.models import Prediction
from training.admin.base import badge, link, worker_badge
from training.models import ModelVersion, Promotion, TrainingJob, Worker

register = template.Library()
JOBS = WORKERS = CHAMPIONS = 5


@register.inclusion_tag("admin/_board.html")
def admin_board(user: PermissionsMixin) -> dict[str, Any]:
    """Queues, champion, last jobs and workers, each for those who may see its table."""
    board: dict[str, Any] = {"now": timezone.now()}
    if user.has_perm("classifier.view_prediction"):
        board.update(sees_queues=True, queues=queues())
    if user.has_perm("training.view_modelversion"):
        live = ModelVersion.objects.filter(is_champion=True).select_related("project").defer("card")
        champions = list(live.order_by("-id")[: CHAMPIONS + 1])
        board.update(
            sees_champion=True,
            champions=[(row, percent(row.test_accuracy)) for row in champions[:CHAMPIONS]],
            more_champions=len(champions) > CHAMPIONS,
        )
    if user.has_perm("training.view_promotion"):
        board["promotion"] = (
            Promotion.objects.select_related("by", "promoted__project").defer("promoted__card").first()
        )
    if user.has_perm("training.view_trainingjob"):
        jobs = TrainingJob.objects.defer("traceback")[:JOBS]
        rows = [(link(job), badge(job.state, job.get_state_display())) for job in jobs]
        board.update(sees_jobs=True, jobs=rows)
    if user.has_perm("training.view_worker"):
        workers = Worker.objects.order_by("-seen_at")[:WORKERS]
        board.update(sees_workers=True, workers=[(link(w), worker_badge(w), w.seen_at) for w in workers])
    return board


def queues() -> list[dict[str, Any]]:
    """What is not answered yet, by queue and state, with the time of the oldest question."""
    unanswered = Prediction.objects.filter(status__in=["queued", "running"])
    rows = (
        unanswered.order_by("priority", "status")
        .values("priority", "status")
        .annotate(count=Count("pk"), oldest=Min("created_at"))
    )
    return [
        {
            **row,
            "name": Prediction.Priority(row["priority"]).label,
            "badge": badge(row["status"], Prediction.Status(row["status"]).label),
        }
        for row in rows
    ]
