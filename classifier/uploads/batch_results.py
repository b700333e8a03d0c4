"""How far a batch is, and what came out of it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.db.models import Case, CharField, Count, Max, Q, QuerySet, Value, When
from django.utils import timezone
from django.utils.functional import cached_property
from django.utils.translation import gettext_lazy as _

from classifier.models import UNKNOWN, Batch, BatchItem, Prediction, class_title
from classifier.photos import export
from classifier.photos.labels import FEW_CLASSES, ROWS_SHOWN, Label, class_labels, counted, with_found
from classifier.photos.labels import Count as ClassCount
from training.engine.inference.calibration import wilson_interval
from training.projects.access import class_names

State, ItemStatus, Status = Batch.State, BatchItem.Status, Prediction.Status
# What an entry may be tried again for: the site's fault, not the file's.
RETRYABLE = ("quota", "storage_full", "worker_lost", "unreadable")
# The answers of this time say how fast it goes now.
RATE_SECONDS = 20


def predictions(batch: Batch) -> QuerySet[Prediction]:
    """The present answers to the batch's photos."""
    return Prediction.objects.filter(photo__batch_item__batch=batch, is_current=True)


def open_predictions(batch: Batch) -> QuerySet[Prediction]:
    return predictions(batch).filter(status__in=[Status.QUEUED, Status.RUNNING])


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
        """Rejected, without an answer, or cancelled."""
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


def class_counts(batch: Batch) -> list[ClassCount]:
    """Answered photos of each class of the project; last those that are in none of its classes."""
    none = Prediction.Verdict.UNKNOWN
    named = Case(When(verdict=none, then=Value(none.value)), default="label", output_field=CharField())
    done = predictions(batch).filter(status=Status.DONE).order_by()
    counts: dict[str, int] = dict(done.values_list(named).annotate(n=Count("pk")))
    return counted(class_names(batch.project_id), {UNKNOWN: 0, **counts}, batch.project_id)


@dataclass(frozen=True)
class Score:
    """How the predictions compare with the ground-truth labels.

    Attributes:
        n, correct: photos with a truth and an answer; those where both are the same.
        low, high: the 95 % interval of the accuracy (Wilson's), 0 to 1.
        classes: the project's, in their order, and others that occur.
        counts: (truth, answer) to how many photos.
    """

    n: int
    correct: int
    low: float
    high: float
    classes: list[Label]
    counts: dict[tuple[str, str], int]

    @property
    def accuracy(self) -> float:
        return self.correct / self.n

    @property
    def matrix(self) -> list[tuple[Label, list[tuple[Label, int]]]]:
        """A row for each true class, its answers in the same order; empty where there are many classes."""
        if len(self.classes) > FEW_CLASSES:
            return []
        return [
            (true, [(said, self.counts.get((true.name, said.name), 0)) for said in self.classes])
            for true in self.classes
        ]

    @property
    def confusions(self) -> list[tuple[str, str, int]]:
        """(truth, answer, photos) of the wrong answers, for people, the most frequent first."""
        wrong = sorted(
            ((pair, n) for pair, n in self.counts.items() if pair[0] != pair[1]), key=lambda row: -row[1]
        )
        return [(class_title(true), class_title(said), n) for (true, said), n in wrong[:ROWS_SHOWN]]


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
    counts = {(truth, label): n for truth, label, n in rows}
    n = sum(counts.values())
    if not n:
        return None
    correct = sum(count for (truth, label), count in counts.items() if truth == label)
    names = with_found(class_names(batch.project_id), {name for pair in counts for name in pair})
    labels = class_labels(names, batch.project_id)
    return Score(n, correct, *wilson_interval(correct, n), labels, counts)


def results(batch: Batch) -> Iterator[dict[str, Any]]:
    """One entry after the other in the archive's order, read in pieces.

    Each has the keys ``exports.RESULT_KEYS``; what is not known is None, ``error`` has ``code``
    and ``detail``.
    """
    fields = "number", "name", "truth", "photo_id", "status", "error_code", "error_detail"
    rows = batch.items.order_by("number").values(*fields)
    last = -1
    while piece := list(rows.filter(number__gt=last)[: export.PIECE]):
        last = piece[-1]["number"]
        wanted = [row["photo_id"] for row in piece if row["photo_id"]]
        found = Prediction.objects.filter(photo__in=wanted, is_current=True)
        # A model's card is long, and would be read for every photo.
        found = found.select_related("model", "photo").defer("model__card")
        answers = {answer.photo_id: answer for answer in found}
        words = export.own_words(answers.values(), batch.owner_id)
        for row in piece:
            answer = answers.get(row["photo_id"])
            result = _unanswered(row, batch.project_id) if answer is None or answer.photo.deleted_at else None
            result = result or export.describe(answers[row["photo_id"]], words.get(row["photo_id"]))
            yield result | {"filename": row["name"], "truth": row["truth"] or None}


def _unanswered(row: dict[str, Any], project: str) -> dict[str, Any]:
    """The result of an entry that is no photo: not yet, not any more, or never."""
    result: dict[str, Any] = dict.fromkeys(export.RESULT_KEYS) | {"project": project}
    if row["status"] in (ItemStatus.QUEUED, ItemStatus.RUNNING):
        return result | {"status": "queued"}
    code, detail = row["error_code"] or "cancelled", row["error_detail"]
    if row["status"] == ItemStatus.STORED:
        code, detail = "deleted", str(_("This photo was deleted."))
    elif row["status"] == ItemStatus.CANCELLED:
        detail = str(_("The batch was cancelled before this file was read."))
    return result | {"status": "failed", "error": {"code": code, "detail": detail}}
