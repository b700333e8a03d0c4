"""Archives of photos: upload one, list them, pause, cancel, retry.

Every entry of the archive gets a row at once; workers claim those rows (``classifier.uploads.batch_worker``).
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from functools import partial
from typing import Any, BinaryIO

from django.conf import settings
from django.core.files import File
from django.db import transaction
from django.db.models import Q, QuerySet
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from cifarsite.core import keyset
from cifarsite.core.storage import is_full, remove_files
from cifarsite.core.wakeups import publish
from cifarsite.core.webhooks import UNSENT
from classifier.models import Batch, BatchItem, Prediction, User, WebhookAddress, archive_path
from classifier.predictions.queue import wake
from classifier.uploads.batch_results import RETRYABLE, keep_totals, open_predictions, predictions
from classifier.uploads.errors import ArchiveRefused, ArchivesFull, StorageFull
from classifier.uploads.ground_truth import Matched, match, read_truth
from classifier.uploads.photos import clean_filename
from classifier.uploads.zip_reader import Entry, archive_limits, open_archive
from training.models import DEFAULT_PROJECT
from training.models.projects import class_key
from training.projects.access import class_names

State, ItemStatus, Status = Batch.State, BatchItem.Status, Prediction.Status

UNPACK = "classifier.tasks.unpack"
NEWEST = keyset.Order("created_at", True, keyset.read_time, "id")


def create_batch(
    owner: User,
    archive: BinaryIO | File[Any],
    *,
    filename: str,
    truth: BinaryIO | File[Any] | None = None,
    folders_are_truth: bool = True,
    again: bool = True,
    project: str = DEFAULT_PROJECT,
) -> Batch:
    """Keep an archive, give every entry its row, and wake the workers.

    Args:
        archive: a ZIP file, seekable.
        truth: a CSV of ``filename,label``; it goes before the names of folders, which count where
            none of its lines names a file of the archive.
        folders_are_truth: a folder named like a class says what its photos show.
        again: False: where this person has sent the same archive before, the new batch is
            paused and names the earlier one, so that they can choose.
        project: whose champion answers, and whose classes folders and table name; see
            ``photos.projects.project_for_upload`` for who may name it.

    While an earlier batch still has the same bytes, the two share one file.

    Raises:
        ArchiveRefused, ArchivesFull, TruthRefused, StorageFull: ``code`` and ``detail``; nothing was stored.
    """
    size = archive.seek(0, io.SEEK_END)
    if size > archive_limits().archive_bytes:
        raise ArchiveRefused("archive_too_large", limit=archive_limits().archive_bytes // 1024**2)
    archive.seek(0)
    entries = open_archive(archive).entries()
    classes = class_names(project)
    matched = match(read_truth(truth, classes), [entry.name for entry in entries]) if truth else None
    archive.seek(0)
    digest = hashlib.sha256()
    while chunk := archive.read(1024 * 1024):
        digest.update(chunk)
    sha256 = digest.hexdigest()
    same = same_archive(owner, sha256, project)
    name = clean_filename(filename)
    batch = Batch(owner=owner, project_id=project, filename=name, sha256=sha256, size=size, same_as=same)
    if matched:
        folders_count = folders_are_truth and not matched.labels
        batch.truth = matched.counts() | {"folders_count": folders_count}
    if same and not again:
        batch.state, batch.paused_at = State.PAUSED, timezone.now()
    archive.seek(0)
    own: str | None = archive_path(batch, "")  # where it fails half way, the name is not noted yet
    try:
        # An uploaded file is moved into its place where the storage can do that.
        content = archive if isinstance(archive, File) else File(archive)
        batch.archive.save("", content, save=False)
        own = batch.archive.name  # of this copy: the row may come to name an earlier one
        with transaction.atomic():
            _share_or_count(batch)
            batch.webhook_url = _webhook_url(owner.pk)
            batch.save()
            folders = {class_key(name): name for name in classes} if folders_are_truth else {}
            BatchItem.objects.bulk_create(_items(batch, entries, matched, folders), batch_size=500)
            transaction.on_commit(wake_unpacking)
    except BaseException as error:
        remove_files([own])
        if is_full(error):
            raise StorageFull() from error
        raise
    return batch


def _webhook_url(owner: int) -> str:
    return WebhookAddress.objects.filter(owner=owner).values_list("url", flat=True).first() or ""


def _share_or_count(batch: Batch) -> None:
    """Use the file of an earlier batch with the same bytes, or see that this one is within the quota.

    Raises:
        ArchivesFull: it is not.
    """
    _hold_archives(batch.owner_id)
    kept = Batch.objects.filter(owner=batch.owner_id).exclude(archive="")
    if shared := kept.filter(sha256=batch.sha256).values_list("archive", flat=True).first():
        transaction.on_commit(partial(remove_files, [batch.archive.name]))
        batch.archive.name = shared
        return
    # Batches that share a file count once.
    taken = sum(dict(kept.values_list("archive", "size")).values())
    if taken + batch.size > settings.QUOTA_ARCHIVES_MB * 1024**2:
        raise ArchivesFull


def _hold_archives(owner: int) -> None:
    """Until the transaction ends, nobody else counts, shares or removes this person's archives."""
    User.objects.select_for_update(no_key=True).get(pk=owner)


def paused_until(batch: Batch) -> datetime:
    """When a paused batch is cancelled and its archive removed."""
    return (batch.paused_at or batch.created_at) + timedelta(days=settings.KEEP_PAUSED_DAYS)


def cancel_paused(limit: int) -> int:
    """Cancel what has been paused for too long. Returns how many."""
    before = timezone.now() - timedelta(days=settings.KEEP_PAUSED_DAYS)
    since = Q(paused_at__lt=before) | Q(paused_at=None, created_at__lt=before)
    return sum(map(cancel, Batch.objects.filter(since, state=State.PAUSED)[:limit]))


def same_archive(owner: User, sha256: str, project: str = DEFAULT_PROJECT) -> Batch | None:
    """The newest batch of this person and project with these very bytes; cancelled ones do not count."""
    same = owner.batches.filter(sha256=sha256, project=project)
    return same.exclude(state=State.CANCELLED).first()


def wake_unpacking() -> bool:
    """Tell a worker to look; a lost message is made good by the sweeper."""
    return publish(UNPACK)


def pause(batch: Batch) -> bool:
    """Unpack nothing more for now; False where it is not running."""
    return _change(batch, [State.RUNNING], State.PAUSED, paused_at=timezone.now())


def resume(batch: Batch) -> bool:
    """Go on after a pause; False where it is not paused."""
    changed = _change(batch, [State.PAUSED], State.RUNNING, paused_at=None)
    if changed:
        wake_unpacking()
    return changed


def cancel(batch: Batch) -> bool:
    """Look at nothing more, for good; what is answered stays. False where it is over already."""
    with transaction.atomic():
        changed = _change(batch, [State.RUNNING, State.PAUSED], State.CANCELLED, finished_at=timezone.now())
        if changed:
            _open_items(batch).update(status=ItemStatus.CANCELLED, claim=None)
            open_predictions(batch).update(
                status=Status.FAILED,
                claim=None,
                error_code="cancelled",
                error_detail=str(_("The batch was cancelled before this photo was classified.")),
                finished_at=timezone.now(),
            )
            transaction.on_commit(lambda: remove_archive(batch))
            keep_totals(batch)
    return changed


def retry_failed(batch: Batch) -> int:
    """Try again what failed for a reason that may have passed. Returns how many."""
    if batch.state == State.CANCELLED:
        return 0
    with transaction.atomic():
        entries = batch.items.filter(status=ItemStatus.REFUSED, error_code__in=RETRYABLE).update(
            status=ItemStatus.QUEUED, attempt=0, claim=None, error_code="", error_detail=""
        )
        answers = (
            predictions(batch)
            .filter(status=Status.FAILED)
            .update(
                status=Status.QUEUED,
                attempt=0,
                claim=None,
                error_code="",
                error_detail="",
                finished_at=None,
            )
        )
        if entries or answers:
            _hold_archives(batch.owner_id)
            told = {**UNSENT, "webhook_url": _webhook_url(batch.owner_id)}
            _change(batch, [State.DONE], State.RUNNING, finished_at=None, totals=None, **told)
            transaction.on_commit(wake_unpacking)
            transaction.on_commit(lambda: wake(Prediction.Priority.BULK))
    return entries + answers


def finish_if_over(batch: Batch) -> bool:
    """Note that all is done; the archive goes unless something of it may be retried."""
    if _open_items(batch).exists() or open_predictions(batch).exists():
        return False
    changed = _change(batch, [State.RUNNING], State.DONE, finished_at=timezone.now())
    if changed:
        keep_totals(batch)
    if changed and not batch.items.filter(status=ItemStatus.REFUSED, error_code__in=RETRYABLE).exists():
        remove_archive(batch)
    return changed


def remove_archive(batch: Batch) -> None:
    """Only what this site re-encoded is kept: the originals go as soon as they are not needed."""
    name = batch.archive.name
    if not name:
        return
    with transaction.atomic():
        _hold_archives(batch.owner_id)
        mine = Batch.objects.filter(pk=batch.pk).update(archive="")
        is_shared = Batch.objects.filter(archive=name).exists()
    if mine and not is_shared:
        remove_files([name])


def _open_items(batch: Batch) -> QuerySet[BatchItem]:
    return batch.items.filter(status__in=[ItemStatus.QUEUED, ItemStatus.RUNNING])


def _change(batch: Batch, before: list[str], after: str, **also: Any) -> bool:
    """A transition, unless somebody else has made another one meanwhile."""
    changed = Batch.objects.filter(pk=batch.pk, state__in=before).update(state=after, **also) == 1
    batch.refresh_from_db(fields=["state", "finished_at", "paused_at"])
    return changed


def _items(
    batch: Batch, entries: list[Entry], matched: Matched | None, folders: Mapping[str, str]
) -> Iterator[BatchItem]:
    """``folders``: the classes that folders name, by their keys."""
    labels = matched.labels if matched else {}
    for place, entry in enumerate(entries):
        truth = labels.get(place, "")
        if not labels and folders:
            truth = folders.get(class_key(entry.name.rpartition("/")[0].rpartition("/")[2]), "")
        item = BatchItem(batch=batch, number=entry.number, name=entry.name, truth=truth)
        if entry.refusal:
            item.status, item.error_code = ItemStatus.REFUSED, entry.refusal.code
            item.error_detail = str(entry.refusal.detail)
        yield item


def page(owner: User, cursor: str, limit: int, project: str = "") -> keyset.Page[Batch]:
    """A person's batches, newest first.

    Raises:
        BadCursor: the cursor is damaged.
    """
    rows = owner.batches.filter(project=project) if project else owner.batches.all()
    return keyset.page(NEWEST.of(rows), NEWEST, cursor, limit)
