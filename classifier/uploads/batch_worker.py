"""What workers do with archives: claim a few entries, store each as a photo, answer, look again.

A few entries are committed at once, each together with its photo, so whatever stops in between, the
next worker goes on with the first entry that has none. Several workers share one archive.
"""

from __future__ import annotations

import logging
import random
import time
import uuid
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass
from functools import partial

from django.conf import settings
from django.db import transaction
from django.db.models import Sum
from django.utils import translation
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from structlog.contextvars import bound_contextvars

from cifarsite.core import leases, metrics
from cifarsite.core.leases import LeasedQuerySet
from cifarsite.core.storage import StorageUnavailable
from classifier.images.errors import ImageRefused
from classifier.images.sandbox import CHILDREN, check_isolated
from classifier.images.validation import CheckedImage
from classifier.models import Batch, BatchItem, Prediction
from classifier.photos import daily_counts
from classifier.predictions import inference, queue
from classifier.uploads.batches import finish_if_over, wake_unpacking
from classifier.uploads.errors import ArchiveRefused, EntryRefused
from classifier.uploads.photos import add_rows, clean_filename, files_of, hold_quota, remove_new, write_files
from classifier.uploads.zip_reader import Archive, archive_limits, open_archive
from training.registry.model_store import live_preprocessing

logger = logging.getLogger(__name__)

Status = BatchItem.Status
# Entries claimed at once: a few seconds of work. Where it takes longer, the rest goes back.
SLICE = 192
SLICE_SECONDS = 10.0
# So many photos of a slice go through the model together, whose batches are padded to this size; the
# next ones, up to so many bytes of files, are decoded meanwhile.
TOGETHER = 64
AHEAD_BYTES = 32 * 1024 * 1024
# Photos whose rows are written in one transaction. Where a worker is lost, they are made once more.
GROUP = 16
# With so many photos of archives waiting for a model, answering goes before unpacking.
BACKLOG = 256
RENEW_SECONDS = 5
# How often it is looked whether somebody waits for a single photo meanwhile.
LOOK_SECONDS = 0.05
# The archive of the last slice, by its batch: a directory of 10,000 entries is not read again for each.
_read_last: tuple[uuid.UUID, Archive] | None = None
QUOTA = gettext_lazy("You have as many photos as the site keeps for you. Delete some.")
LOST = "The worker was lost {attempts} times at this file. Try it again, or upload it by itself."


@dataclass
class _Read:
    """An entry that was read: how many bytes it was, and what comes of its decoding, or why not."""

    item: BatchItem
    size: int = 0
    checked: Future[CheckedImage] | None = None
    refusal: EntryRefused | ImageRefused | None = None


def unpack_slice(worker: str) -> int:
    """Store a few entries and have them answered. Returns how many entries were dealt with."""
    global _read_last
    if _backlog() >= BACKLOG:
        inference.predict_pending(worker)
        if _backlog() >= BACKLOG:
            return 0  # no model answers now: the sweeper asks again
    items = _claim(worker)
    if not items:
        return 0
    # Before the work, so that an idle worker takes the next ones meanwhile.
    wake_unpacking()
    batch = Batch.objects.select_related("owner").get(pk=items[0].batch_id)
    try:
        with translation.override(batch.owner.language or settings.LANGUAGE_CODE):
            _store_all(batch, items, worker)
    except StorageUnavailable as error:
        # No entry is at fault: they go back uncharged, and the sweeper asks again.
        BatchItem.objects.held_with(items[0]).release()
        logger.warning("Entries of archives stay queued until the file storage responds: %s", error)
        return 0
    inference.predict_pending(worker)
    if finish_if_over(batch):
        _read_last = None
    return len(items)


def claimable() -> LeasedQuerySet[BatchItem]:
    """Entries of running batches that a worker may claim now."""
    return BatchItem.objects.claimable().filter(batch__state=Batch.State.RUNNING)


def _refuse_exhausted() -> int:
    return BatchItem.objects.fail_exhausted(
        status=Status.REFUSED,
        error_code="worker_lost",
        error_detail=LOST.format(attempts=settings.MAX_ATTEMPTS),
    )


QUEUE = leases.Queue(
    "entries", claimable, _refuse_exhausted, wake=lambda waiting: waiting.exists() and wake_unpacking()
)


def finish_batches() -> dict[str, int]:
    """The sweeper's part: finish batches whose last entry was refused above."""
    running = Batch.objects.filter(state=Batch.State.RUNNING)[:100]
    return {"batches_finished": sum(map(finish_if_over, running))}


def _backlog() -> int:
    return queue.claimable().filter(priority=Prediction.Priority.BULK)[:BACKLOG].count()


def _claim(worker: str) -> list[BatchItem]:
    """Entries of one batch. One that a worker was lost at comes alone: it may be the reason."""
    rows = claimable()
    if suspect := rows.filter(attempt__gt=0).order_by("id").claim(worker=worker):
        return suspect
    # Not always the oldest batch: a small one is not to wait for a large one.
    batches = list(rows.order_by().values_list("batch_id", flat=True).distinct()[:100])
    if not batches:
        return []
    fresh = rows.filter(batch_id=random.choice(batches)).order_by("id")  # noqa: S311
    return fresh.claim(worker=worker, limit=SLICE)


def _store_all(batch: Batch, items: list[BatchItem], worker: str) -> None:
    begun = renewed = time.monotonic()
    looked = -LOOK_SECONDS
    archive = _opened(batch, items)
    if archive is None:
        return
    with batch.archive, ThreadPoolExecutor(CHILDREN, "decode") as pool:
        work = _Slice(batch, archive, pool)
        try:
            for read in work.read_ahead(items):
                if time.monotonic() - renewed > RENEW_SECONDS:
                    renewed = time.monotonic()
                    BatchItem.objects.held_with(items[0]).extend()
                if time.monotonic() - looked > LOOK_SECONDS:
                    if queue.claimable().filter(priority=Prediction.Priority.INTERACTIVE).exists():
                        work.answer(worker)
                    looked = time.monotonic()
                with bound_contextvars(request_id=read.item.request_id):
                    work.store(read)
                if work.unanswered >= TOGETHER:
                    work.commit()
                    work.answer(worker)
                    work.unanswered = 0
                if time.monotonic() - begun > SLICE_SECONDS:
                    work.commit()
                    _give_back_rest(items)
                    break
            work.commit()
        except StorageUnavailable:
            work.commit()  # what is there already is kept
            raise
        except BaseException:
            remove_new(work.made.values())
            raise
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
            metrics.ENTRY_SECONDS.inc(time.monotonic() - begun - work.answering)


class _Slice:
    """Entries of one archive on their way to photos, decoded while others are stored and answered."""

    def __init__(self, batch: Batch, archive: Archive, pool: ThreadPoolExecutor) -> None:
        self.batch, self.archive, self.pool = batch, archive, pool
        self.left = archive_limits().unpacked_bytes - (batch.items.aggregate(size=Sum("size"))["size"] or 0)
        self.room = daily_counts.room(batch.owner, settings.QUOTA_PHOTOS, SLICE)
        self.preprocessing = live_preprocessing(batch.project_id)
        # What waits for its rows.
        self.made: dict[BatchItem, Prediction] = {}
        self.unanswered = 0  # photos since the last answers
        self.answering = 0.0  # seconds that were spent on answers

    def read_ahead(self, items: list[BatchItem]) -> Iterator[_Read]:
        """One after the other, in their order; as many as go through the model together are under way."""
        ahead: deque[_Read] = deque()
        for item in items:
            with bound_contextvars(request_id=item.request_id):
                ahead.append(self.read(item))
            self.left -= ahead[-1].size
            while len(ahead) > TOGETHER or sum(read.size for read in ahead) > AHEAD_BYTES:
                yield ahead.popleft()
        yield from ahead

    def read(self, item: BatchItem) -> _Read:
        """Unpack one entry and have its decoding begun."""
        read = _Read(item)
        try:
            if self.left <= 0:
                raise EntryRefused("unpacked_too_large", limit=settings.BATCH_MAX_UNPACKED_MB)
            self.refuse_beyond_quota()
            content = self.archive.read(item.number)
            read.size = len(content)
            check = partial(check_isolated, content, preprocessing=self.preprocessing)
            # In this thread's context, so that what is logged names the request.
            read.checked = self.pool.submit(copy_context().run, check)
        except (EntryRefused, ImageRefused) as refusal:
            read.refusal = refusal
        return read

    def store(self, read: _Read) -> None:
        """One entry becomes a photo, whose rows are written with those of others, or a refusal."""
        item = read.item
        item.size = read.size
        try:
            if read.refusal:
                raise read.refusal
            assert read.checked is not None  # what was not refused is being decoded
            checked = read.checked.result()
            self.refuse_beyond_quota()  # others were stored since it was read
            self.made[item] = write_files(
                self.batch.owner,
                checked,
                filename=clean_filename(item.name),
                preprocessing=self.preprocessing,
                priority=Prediction.Priority.BULK,
                project=self.batch.project_id,
            )
            self.room -= 1
            self.unanswered += 1
        except (EntryRefused, ImageRefused) as refusal:
            _refuse([item], refusal.code, refusal.detail)
        if len(self.made) >= GROUP:
            self.commit()

    def commit(self) -> None:
        """Write the rows of what was made; not of entries that are another worker's or cancelled by now."""
        made, self.made = self.made, {}
        if not made:
            return
        try:
            with files_of(list(made.values())), transaction.atomic():
                hold_quota(self.batch.owner)
                held = BatchItem.objects.held_with(next(iter(made)))
                ours = held.filter(pk__in=[item.pk for item in made]).order_by("pk")
                left = set(ours.select_for_update().values_list("pk", flat=True))
                mine = [item for item in made if item.pk in left]
                room = daily_counts.room(self.batch.owner, settings.QUOTA_PHOTOS, len(mine))
                kept, beyond = mine[:room], mine[room:]
                add_rows([made[item] for item in kept])
                for item in kept:
                    item.photo, item.status = made[item].photo, Status.STORED
                leases.write(kept, ["photo", "size", "status"], while_status=Status.RUNNING)
        except ImageRefused as refusal:
            _refuse(list(made), refusal.code, refusal.detail)
        else:
            metrics.PHOTOS_ACCEPTED.inc(len(kept))
            remove_new(made[item] for item in made if item not in kept)
            if beyond:  # others were stored meanwhile
                _refuse(beyond, "quota", QUOTA)

    def answer(self, worker: str) -> None:
        """Classify what waits, while the next entries are being decoded."""
        begun = time.monotonic()
        inference.predict_pending(worker)
        self.answering += time.monotonic() - begun

    def refuse_beyond_quota(self) -> None:
        if self.room <= 0:
            raise ImageRefused("quota", QUOTA)


def _give_back_rest(items: list[BatchItem]) -> None:
    """What of a claim is not dealt with yet waits again, uncharged; for whoever looks next."""
    if BatchItem.objects.held_with(items[0]).release():
        wake_unpacking()


def _refuse(items: list[BatchItem], code: str, detail: object) -> None:
    """End the claim of entries that become no photos, where it is still ours."""
    for item in items:
        item.status, item.error_code, item.error_detail = Status.REFUSED, code, str(detail)
    leases.write(items, ["size", "error_code", "error_detail", "status"], while_status=Status.RUNNING)


def _opened(batch: Batch, items: list[BatchItem]) -> Archive | None:
    """The archive; None, and the entries refused, where it cannot be read any more."""
    global _read_last
    try:
        file = batch.archive.open("rb")
        if _read_last is None or _read_last[0] != batch.pk:
            _read_last = batch.pk, open_archive(file)
        _read_last[1].reopen(file)
        return _read_last[1]
    except ArchiveRefused as refusal:
        _refuse(items, refusal.code, refusal.detail)
    except (FileNotFoundError, ValueError):
        _refuse(items, "archive_gone", _("The archive is no longer on the site. Upload it again."))
    return None
