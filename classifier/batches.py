"""Archives of photos: upload one, follow it, pause, cancel, retry, take the results home.

Every entry of the archive gets a row at once; workers claim those rows (``classifier.unpacking``).
"""

from __future__ import annotations

import csv
import hashlib
import io
import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, BinaryIO

from django.core.files import File
from django.db import transaction
from django.db.models import Count, Max, Q, QuerySet
from django.utils import timezone
from django.utils.functional import cached_property
from django.utils.translation import gettext_lazy as _

from classifier import exports
from classifier.archives import ArchiveRefused, Entry, Refused, archive_limits, open_archive
from classifier.models import CLASS_CHOICES, Batch, BatchItem, Prediction, User, archive_path
from classifier.predictions import wake
from classifier.stored_files import remove_files
from classifier.uploads import clean_filename
from training.engine.data import CLASS_NAMES
from training.messages import publish
from training.storage import is_full

State, ItemStatus, Status = Batch.State, BatchItem.Status, Prediction.Status

UNPACK = "classifier.tasks.unpack"
TRUTH_BYTES = 8 * 1024 * 1024
# What an entry may be tried again for: the site's fault, not the file's.
RETRYABLE = ("quota", "storage_full", "worker_lost", "unreadable")
# The answers of this time say how fast it goes now.
RATE_SECONDS = 20
Z95 = 1.959964


class TruthRefused(Refused):
    """The table of true labels cannot be used; ``detail`` names the line."""

    def __init__(self, detail: Any) -> None:
        Exception.__init__(self, "truth_invalid")
        self.code = "truth_invalid"
        self.detail = detail


class StorageFull(Refused):
    """The site has no space for the archive."""

    def __init__(self) -> None:
        Exception.__init__(self, "storage_full")
        self.code = "storage_full"
        self.detail = _("The site has no space left for this archive. Nothing was stored; try again later.")


def create_batch(
    owner: User,
    archive: BinaryIO | File[Any],
    *,
    filename: str,
    truth: BinaryIO | File[Any] | None = None,
    folders_are_truth: bool = True,
    again: bool = True,
) -> Batch:
    """Keep an archive, give every entry its row, and wake the workers.

    Args:
        archive: a ZIP file, seekable.
        truth: a CSV of ``filename,label``; it goes before the names of folders.
        folders_are_truth: a folder named like a class says what its photos show.
        again: False: where this person has sent the same archive before, the new batch is
            paused and names the earlier one, so that they can choose.

    Raises:
        ArchiveRefused, TruthRefused, StorageFull: ``code`` and ``detail``; nothing was stored.
    """
    size = archive.seek(0, io.SEEK_END)
    if size > archive_limits().archive_bytes:
        raise ArchiveRefused("archive_too_large", limit=archive_limits().archive_bytes // 1024**2)
    archive.seek(0)
    entries = open_archive(archive).entries()
    labels = read_truth(truth) if truth else {}
    archive.seek(0)
    digest = hashlib.sha256()
    while chunk := archive.read(1024 * 1024):
        digest.update(chunk)
    sha256 = digest.hexdigest()
    same = same_archive(owner, sha256)
    batch = Batch(owner=owner, filename=clean_filename(filename), sha256=sha256, size=size, same_as=same)
    if same and not again:
        batch.state = State.PAUSED
    archive.seek(0)
    try:
        # An uploaded file is moved into its place where the storage can do that.
        content = archive if isinstance(archive, File) else File(archive)
        batch.archive.save("", content, save=False)
        with transaction.atomic():
            batch.save()
            BatchItem.objects.bulk_create(_items(batch, entries, labels, folders_are_truth), batch_size=500)
            transaction.on_commit(wake_unpacking)
    except BaseException as error:
        # Where it failed half way, the name is not noted yet.
        remove_files([batch.archive.name or archive_path(batch, "")])
        if is_full(error):
            raise StorageFull() from error
        raise
    return batch


def same_archive(owner: User, sha256: str) -> Batch | None:
    """The newest batch of this person with these very bytes; cancelled ones do not count."""
    return owner.batches.filter(sha256=sha256).exclude(state=State.CANCELLED).first()


def wake_unpacking() -> None:
    """Tell a worker to look; a lost message is made good by the sweeper."""
    publish(UNPACK)


def pause(batch: Batch) -> bool:
    """Unpack nothing more for now; False where it is not running."""
    return _change(batch, [State.RUNNING], State.PAUSED)


def resume(batch: Batch) -> bool:
    """Go on after a pause; False where it is not paused."""
    changed = _change(batch, [State.PAUSED], State.RUNNING)
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
                error_detail=str(_("The batch was cancelled before a model looked at this photo.")),
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
            _change(batch, [State.DONE], State.RUNNING, finished_at=None, totals=None)
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
    if name and Batch.objects.filter(pk=batch.pk).update(archive=""):
        remove_files([name])


def predictions(batch: Batch) -> QuerySet[Prediction]:
    """The present answers to the batch's photos."""
    return Prediction.objects.filter(photo__batch_item__batch=batch, is_current=True)


def open_predictions(batch: Batch) -> QuerySet[Prediction]:
    return predictions(batch).filter(status__in=[Status.QUEUED, Status.RUNNING])


def _open_items(batch: Batch) -> QuerySet[BatchItem]:
    return batch.items.filter(status__in=[ItemStatus.QUEUED, ItemStatus.RUNNING])


def _change(batch: Batch, before: list[str], after: str, **also: Any) -> bool:
    """A transition, unless somebody else has made another one meanwhile."""
    changed = Batch.objects.filter(pk=batch.pk, state__in=before).update(state=after, **also) == 1
    batch.refresh_from_db(fields=["state", "finished_at"])
    return changed


# --- The truth --------------------------------------------------------------------------------


def read_truth(file: BinaryIO | File[Any]) -> dict[str, str]:
    """A CSV of file name and class, with or without a header.

    Raises:
        TruthRefused: it is not such a table.
    """
    content = file.read(TRUTH_BYTES + 1)
    if len(content) > TRUTH_BYTES:
        raise TruthRefused(_("The table of true labels is larger than 8 MB: it should hold two columns."))
    try:
        rows = list(csv.reader(io.StringIO(content.decode("utf-8-sig"), newline="")))
    except (UnicodeDecodeError, csv.Error) as error:
        raise TruthRefused(_("The table of true labels is not a CSV file in UTF-8.")) from error
    if rows and [cell.strip().lower() for cell in rows[0][:2]] == ["filename", "label"]:
        rows[0] = []
    labels = {}
    for number, row in enumerate(rows, 1):
        if not any(cell.strip() for cell in row):
            continue
        label = row[1].strip().lower() if len(row) > 1 else ""
        if label not in CLASS_NAMES:
            raise TruthRefused(
                _("Line %(line)s of the table of true labels: %(label)r is none of %(names)s.")
                % {"line": number, "label": label, "names": ", ".join(CLASS_NAMES)}
            )
        labels[row[0].strip()] = label
    if not labels:
        raise TruthRefused(_("The table of true labels is empty: it should hold lines like 'photo.jpg,cat'."))
    return labels


def _items(
    batch: Batch, entries: list[Entry], labels: dict[str, str], folders_are_truth: bool
) -> Iterator[BatchItem]:
    for entry in entries:
        folder, _slash, name = entry.name.rpartition("/")
        truth = labels.get(entry.name) or labels.get(name) or ""
        if not truth and not labels and folders_are_truth:
            lowest = folder.rpartition("/")[2].lower()
            truth = lowest if lowest in CLASS_NAMES else ""
        item = BatchItem(batch=batch, number=entry.number, name=entry.name, truth=truth)
        if entry.refusal:
            item.status, item.error_code = ItemStatus.REFUSED, entry.refusal.code
            item.error_detail = str(entry.refusal.detail)
        yield item


# --- How far it is, and what came out ---------------------------------------------------------


class Progress:
    """How far a batch is; every figure is counted once, when it is asked for."""

    def __init__(self, batch: Batch) -> None:
        self.batch = batch
        self.items: dict[str, int] = batch.items.aggregate(
            total=Count("pk"),
            waiting=Count("pk", filter=Q(status__in=[ItemStatus.QUEUED, ItemStatus.RUNNING])),
            refused=Count("pk", filter=Q(status=ItemStatus.REFUSED)),
            cancelled=Count("pk", filter=Q(status=ItemStatus.CANCELLED)),
            stored=Count("pk", filter=Q(status=ItemStatus.STORED)),
        )
        by_status = predictions(batch).order_by().values_list("status").annotate(n=Count("pk"))
        self.answers: dict[str, int] = dict(by_status)

    @property
    def total(self) -> int:
        return self.items["total"]

    @property
    def done(self) -> int:
        return self.answers.get(Status.DONE, 0)

    @property
    def failed(self) -> int:
        """Refused, without an answer, or cancelled."""
        return self.items["refused"] + self.items["cancelled"] + self.answers.get(Status.FAILED, 0)

    @property
    def deleted(self) -> int:
        """Photos that were removed for good since."""
        return self.items["stored"] - sum(self.answers.values())

    @property
    def left(self) -> int:
        return self.total - self.done - self.failed - self.deleted

    @property
    def is_over(self) -> bool:
        return self.left == 0 or self.batch.is_over

    @property
    def percent(self) -> float:
        return 100 * (self.total - self.left) / self.total if self.total else 100.0

    @cached_property
    def rate(self) -> float:
        """Answers a second: of late while it runs, on the whole when it is over."""
        finished = predictions(self.batch).filter(status=Status.DONE)
        if self.is_over:
            last = finished.aggregate(last=Max("finished_at"))["last"]
            seconds = (last - self.batch.created_at).total_seconds() if last else 0
            return self.done / seconds if seconds > 0 else 0.0
        now = timezone.now()
        seconds = min(RATE_SECONDS, max((now - self.batch.created_at).total_seconds(), 1))
        return finished.filter(finished_at__gt=now - timedelta(seconds=seconds)).count() / seconds

    @property
    def seconds_left(self) -> int | None:
        """None where nothing moves."""
        return math.ceil(self.left / self.rate) if self.rate else None

    @property
    def minutes_left(self) -> int | None:
        return self.seconds_left and math.ceil(self.seconds_left / 60)

    @cached_property
    def can_retry(self) -> bool:
        return self.batch.state != State.CANCELLED and (
            bool(self.answers.get(Status.FAILED))
            or self.batch.items.filter(status=ItemStatus.REFUSED, error_code__in=RETRYABLE).exists()
        )


@dataclass(frozen=True)
class Totals:
    """Counts of a batch, for a list of many: those of one that is over are kept, not counted again."""

    batch: Batch
    total: int
    done: int
    failed: int


def totals(batch: Batch) -> Totals:
    """As it ended; photos that were deleted later on still count."""
    return Totals(batch, **(batch.totals or (keep_totals(batch) if batch.is_over else _totals(batch))))


def keep_totals(batch: Batch) -> dict[str, int]:
    counts = _totals(batch)
    over = Batch.objects.filter(pk=batch.pk, state__in=[State.DONE, State.CANCELLED])
    over.update(totals=counts)
    return counts


def _totals(batch: Batch) -> dict[str, int]:
    progress = Progress(batch)
    return {"total": progress.total, "done": progress.done, "failed": progress.failed}


def class_counts(batch: Batch) -> list[tuple[str, int]]:
    """(class name, photos) in CIFAR-10's order."""
    rows = (
        predictions(batch).filter(status=Status.DONE).order_by().values_list("label").annotate(n=Count("pk"))
    )
    counts: dict[str, int] = dict(rows)
    return [(name, counts.get(name, 0)) for name in CLASS_NAMES]


@dataclass(frozen=True)
class Score:
    """How the answers compare with the truth.

    Attributes:
        n, correct: photos with a truth and an answer; those where both are the same.
        low, high: the 95 % interval of the accuracy (Wilson's), 0 to 1.
        matrix: [truth][answer] counts, in CIFAR-10's order.
    """

    n: int
    correct: int
    low: float
    high: float
    matrix: list[list[int]]

    @property
    def accuracy(self) -> float:
        return self.correct / self.n

    @property
    def rows(self) -> list[tuple[str, Any, list[tuple[str, int]]]]:
        """(class, its translation, [(class, count), ...]) of the matrix, for the page."""
        names = zip(CLASS_CHOICES, self.matrix, strict=True)
        return [(c, text, list(zip(CLASS_NAMES, row, strict=True))) for (c, text), row in names]


def score(batch: Batch) -> Score | None:
    """None where no answered photo has a truth."""
    rows = (
        predictions(batch)
        .filter(status=Status.DONE)
        .exclude(photo__batch_item__truth="")
        .order_by()
        .values_list("photo__batch_item__truth", "label")
        .annotate(n=Count("pk"))
    )
    matrix = [[0] * len(CLASS_NAMES) for _name in CLASS_NAMES]
    for truth, label, n in rows:
        matrix[CLASS_NAMES.index(truth)][CLASS_NAMES.index(label)] = n
    n = sum(map(sum, matrix))
    if not n:
        return None
    correct = sum(matrix[i][i] for i in range(len(CLASS_NAMES)))
    return Score(n, correct, *wilson(correct, n), matrix)


def wilson(correct: int, n: int) -> tuple[float, float]:
    """The 95 % interval of a share (E. B. Wilson, 1927)."""
    p, z2 = correct / n, Z95**2
    centre, spread = p + z2 / (2 * n), Z95 * math.sqrt(p * (1 - p) / n + z2 / (4 * n * n))
    return max(0.0, (centre - spread) / (1 + z2 / n)), min(1.0, (centre + spread) / (1 + z2 / n))


def results(batch: Batch) -> Iterator[dict[str, Any]]:
    """One entry after the other in the archive's order, read in pieces.

    Each has the keys ``exports.RESULT_KEYS``; what is not known is None, ``error`` has ``code``
    and ``detail``.
    """
    fields = "number", "name", "truth", "photo_id", "status", "error_code", "error_detail"
    rows = batch.items.order_by("number").values(*fields)
    last = -1
    while piece := list(rows.filter(number__gt=last)[: exports.PIECE]):
        last = piece[-1]["number"]
        wanted = [row["photo_id"] for row in piece if row["photo_id"]]
        found = Prediction.objects.filter(photo__in=wanted, is_current=True)
        # A model's card is long, and would be read for every photo.
        found = found.select_related("model", "photo").defer("model__card")
        answers = {answer.photo_id: answer for answer in found}
        words = exports.own_words(answers.values(), batch.owner_id)
        for row in piece:
            answer = answers.get(row["photo_id"])
            result = _unanswered(row) if answer is None or answer.photo.deleted_at else None
            result = result or exports.describe(answers[row["photo_id"]], words.get(row["photo_id"]))
            yield result | {"filename": row["name"], "truth": row["truth"] or None}


def _unanswered(row: dict[str, Any]) -> dict[str, Any]:
    """The result of an entry that is no photo: not yet, not any more, or never."""
    result: dict[str, Any] = dict.fromkeys(exports.RESULT_KEYS)
    if row["status"] in (ItemStatus.QUEUED, ItemStatus.RUNNING):
        return result | {"status": "queued"}
    code, detail = row["error_code"] or "cancelled", row["error_detail"]
    if row["status"] == ItemStatus.STORED:
        code, detail = "deleted", str(_("This photo was deleted."))
    elif row["status"] == ItemStatus.CANCELLED:
        detail = str(_("The batch was cancelled before this file was read."))
    return result | {"status": "failed", "error": {"code": code, "detail": detail}}
