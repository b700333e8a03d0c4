"""How the site fares now, for staff: a fixed number of queries, each over a bounded number of rows."""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.core.files.storage import default_storage
from django.db.models import F, QuerySet
from django.utils import timezone
from django.utils.translation import gettext as _

from classifier.models import BatchItem, Prediction
from classifier.monitoring.readiness import missing_parts
from training import workers as live_workers
from training.models import ModelVersion, TrainingJob, Worker
from training.registry import model_store

# Lines are counted up to here: beyond, the exact length no longer matters.
COUNTED = 10_000
# Waits are those of the last hour's answers, the newest so many.
WAITS = 1_000
LATELY = timedelta(hours=1)
WORKERS = 100
# Less than this share of the disk free is said, since a full one stops everything.
LITTLE_SPACE = 0.1
Priority = Prediction.Priority


@dataclass(frozen=True)
class Line:
    """What waits for one kind of worker.

    Attributes:
        queue: the name by which workers take from it.
        waiting, running: rows, counted up to ``COUNTED``.
        oldest: when the row that waits longest was asked for.
        answers: how many waits ``p50`` and ``p95`` (seconds from question to answer) were taken
            from; None where the line has no such times.
        worker_seen: when a worker of the queue was last seen; None: never.
    """

    title: str
    queue: str
    waiting: int
    running: int
    oldest: datetime | None
    answers: int | None
    p50: float | None
    p95: float | None
    worker_lives: bool
    worker_seen: datetime | None

    @property
    def is_long(self) -> bool:
        return self.waiting >= COUNTED


@dataclass(frozen=True)
class Disk:
    """The disk below the data folder of the host that answers; bytes."""

    free: int
    total: int

    @property
    def percent_free(self) -> float:
        return 100 * self.free / self.total

    @property
    def is_nearly_full(self) -> bool:
        return self.free < LITTLE_SPACE * self.total


@dataclass(frozen=True)
class Health:
    """All that the page shows; ``troubles`` are sentences, the gravest first."""

    lines: list[Line]
    workers: list[tuple[Worker, bool]]
    sweeper: Worker | None
    disk: Disk
    champion: ModelVersion | None
    troubles: list[str]
    taken_at: datetime


def health() -> Health:
    """Look at everything once."""
    workers = list(Worker.objects.order_by("-seen_at")[:WORKERS])
    lines = _lines(workers)
    sweeper = next((worker for worker in workers if live_workers.SWEEP in worker.queues), None)
    champion = model_store.champion()
    usage = shutil.disk_usage(settings.VAR_DIR)
    disk = Disk(free=usage.free, total=usage.total)
    return Health(
        lines=lines,
        workers=[(worker, live_workers.lives(worker)) for worker in workers],
        sweeper=sweeper,
        disk=disk,
        champion=champion,
        troubles=list(_troubles(lines, workers, sweeper, disk, champion)),
        taken_at=timezone.now(),
    )


def quantile(ordered: Sequence[float], share: float) -> float | None:
    """The smallest of ``ordered`` that ``share`` of them do not exceed; None where there are none."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else None


# --- Lines --------------------------------------------------------------------------------------


def _lines(workers: list[Worker]) -> list[Line]:
    predictions = Prediction.objects.order_by("id")
    jobs = TrainingJob.objects.order_by("id")
    items = BatchItem.objects.filter(batch__state="running").order_by("id")
    parts: list[tuple[str, str, QuerySet[Any], list[float] | None]] = [
        (
            _("Single photos"),
            "predict",
            predictions.filter(priority=Priority.INTERACTIVE),
            _waits(Priority.INTERACTIVE),
        ),
        (_("Photos of batches"), "batch", predictions.filter(priority=Priority.BULK), _waits(Priority.BULK)),
        (_("Files in archives"), "batch", items, None),
        (_("Training jobs"), "train", jobs, _training_waits()),
    ]
    return [_line(title, queue, rows, waits, workers) for title, queue, rows, waits in parts]


def _line(
    title: str, queue: str, rows: QuerySet[Any], waits: list[float] | None, workers: list[Worker]
) -> Line:
    field = "state" if rows.model is TrainingJob else "status"
    queued, running = rows.filter(**{field: "queued"}), rows.filter(**{field: "running"})
    asked = "batch__created_at" if rows.model is BatchItem else "created_at"
    seen = [worker for worker in workers if queue in worker.queues]
    return Line(
        title=title,
        queue=queue,
        waiting=queued.order_by()[:COUNTED].count(),
        running=running.order_by()[:COUNTED].count(),
        oldest=queued.values_list(asked, flat=True).first(),
        answers=None if waits is None else len(waits),
        p50=quantile(waits or [], 0.5),
        p95=quantile(waits or [], 0.95),
        worker_lives=any(map(live_workers.lives, seen)),
        worker_seen=seen[0].seen_at if seen else None,
    )


def _waits(priority: Prediction.Priority) -> list[float]:
    """Seconds from question to answer, of the last hour's answers, in order."""
    done = Prediction.objects.filter(priority=priority, finished_at__gt=timezone.now() - LATELY)
    times = done.order_by("-finished_at").values_list("created_at", "finished_at")[:WAITS]
    return _seconds(times)


def _training_waits() -> list[float]:
    """Seconds that the last jobs waited for a worker, in order."""
    begun = TrainingJob.objects.filter(started_at__gte=F("created_at")).order_by("-id")
    return _seconds(begun.values_list("created_at", "started_at")[:100])


def _seconds(times: Iterable[tuple[Any, Any]]) -> list[float]:
    return sorted(max(0.0, (end - start).total_seconds()) for start, end in times)


# --- Troubles -----------------------------------------------------------------------------------


def _troubles(
    lines: list[Line],
    workers: list[Worker],
    sweeper: Worker | None,
    disk: Disk,
    champion: ModelVersion | None,
) -> Iterable[str]:
    yield from missing_parts().values()
    for live in ModelVersion.objects.filter(is_champion=True).defer("card").order_by("project_id"):
        if trouble := _file_trouble(live):
            yield trouble if live == champion else f"{live.project_id}: {trouble}"
    for worker in workers:
        if worker.problem and live_workers.lives(worker):
            yield f"{worker.name}: {worker.problem}"
    for line in lines:
        if (line.waiting or line.running) and not line.worker_lives:
            yield _("%(title)s: items are queued, but no worker of the queue '%(queue)s' is running.") % {
                "title": line.title,
                "queue": line.queue,
            }
    if sweeper is None or not live_workers.lives(sweeper, _sweeper_patience()):
        yield _("The sweeper is not running: nothing recovers the work of lost workers.")
    if disk.is_nearly_full:
        yield _("The disk is nearly full: %(percent).0f %% of it is free.") % {"percent": disk.percent_free}


def _sweeper_patience() -> int:
    patience: int = 3 * settings.SWEEP_SECONDS + settings.LEASE_SECONDS
    return patience


def _file_trouble(champion: ModelVersion) -> str:
    """Its hash is a worker's business, which says so on its own line; here: is it there, and all of it?"""
    name = f"models/{champion.sha256}.keras"
    try:
        if default_storage.size(name) == champion.size:
            return ""
        return _("The champion's file in the storage has the wrong size.")
    except FileNotFoundError:
        return _("The champion's file is not in the storage.")
    except Exception:  # each storage has errors of its own
        return _("The storage does not respond.")
