"""What is removed because it is old. Ages are differences of time, so no calendar can break them."""

from __future__ import annotations

import shutil
from datetime import datetime, timedelta

from django.conf import settings
from django.utils import timezone

from classifier.batches import remove_archive
from classifier.history import remove_photos
from classifier.models import Batch, Photo
from training.models import TrainingJob, Worker

# Rows of one kind in one pass, so that a pass stays short.
AT_ONCE = 500
# Hosts come and go: the row of a worker that was last seen so many days ago is forgotten.
WORKER_DAYS = 7


def expire() -> dict[str, int]:
    """One pass over everything that has an age limit; how many of each were removed."""
    return {
        "photos_expired": _photos(),
        "archives_expired": _archives(),
        "workers_forgotten": Worker.objects.filter(seen_at__lt=_before(WORKER_DAYS)).delete()[0],
        "runs_expired": _runs(),
    }


def _before(days: int) -> datetime:
    return timezone.now() - timedelta(days=days)


def _photos() -> int:
    if not settings.KEEP_PHOTOS_DAYS:
        return 0
    # An accepted example is part of what models learn from; it goes with its owner's account or consent.
    old = Photo.objects.filter(created_at__lt=_before(settings.KEEP_PHOTOS_DAYS), example=None)
    return remove_photos(old.order_by("created_at")[:AT_ONCE])


def _archives() -> int:
    old = Batch.objects.filter(finished_at__lt=_before(settings.KEEP_ARCHIVES_DAYS)).exclude(archive="")
    batches = list(old[:AT_ONCE])
    for batch in batches:
        remove_archive(batch)
    return len(batches)


def _runs() -> int:
    """Folders of runs on this host: of jobs that ended long ago, and of jobs that are no more."""
    if not settings.KEEP_RUNS_DAYS or not settings.RUNS_DIR.is_dir():
        return 0
    old = _before(settings.KEEP_RUNS_DAYS)
    folders = [folder for folder in settings.RUNS_DIR.iterdir() if folder.name.isdecimal()]
    jobs = TrainingJob.objects.in_bulk([int(folder.name) for folder in folders])
    removed = 0
    for folder in folders:
        job = jobs.get(int(folder.name))
        if job is None:
            ended_at: datetime | None = datetime.fromtimestamp(folder.stat().st_mtime, old.tzinfo)
        else:
            ended_at = job.finished_at if job.is_over else None
        if ended_at and ended_at < old:
            shutil.rmtree(folder, ignore_errors=True)
            removed += 1
    return removed
