"""What is removed because it is old. Ages are differences of time, so no calendar can break them."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.conf import settings
from django.utils import timezone

from classifier.accounts import audit
from classifier.feedback.training_photos import trainable
from classifier.models import Batch, Photo
from classifier.photos.history import remove_photos
from classifier.uploads.batches import cancel_paused, remove_archive
from training.jobs import run_folders
from training.models import Worker

# Rows of one kind in one pass, so that a pass stays short.
AT_ONCE = 500
# Hosts come and go: the row of a worker that was last seen so many days ago is forgotten.
WORKER_DAYS = 7


def expire() -> dict[str, int]:
    """One pass over everything that has an age limit; how many of each were removed."""
    return {
        "photos_expired": _photos(),
        "archives_expired": _archives() + cancel_paused(AT_ONCE),
        "workers_forgotten": Worker.objects.filter(seen_at__lt=_before(WORKER_DAYS)).delete()[0],
        "runs_expired": run_folders.expire(),
        "refusals_expired": audit.forget_old_refusals(),
    }


def _before(days: int) -> datetime:
    return timezone.now() - timedelta(days=days)


def _photos() -> int:
    if not settings.KEEP_PHOTOS_DAYS:
        return 0
    # What models learn from stays; it goes with its owner's account or consent.
    old = Photo.objects.filter(created_at__lt=_before(settings.KEEP_PHOTOS_DAYS))
    old = old.exclude(pk__in=trainable().values("photo"))
    return remove_photos(old.order_by("created_at"), AT_ONCE)


def _archives() -> int:
    old = Batch.objects.filter(finished_at__lt=_before(settings.KEEP_ARCHIVES_DAYS)).exclude(archive="")
    batches = list(old[:AT_ONCE])
    for batch in batches:
        remove_archive(batch)
    return len(batches)
