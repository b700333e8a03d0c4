"""What a run writes while it trains: its epochs as rows, its progress, its log; and whether it shall end.

Imports TensorFlow, so only the commands that train import this module.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import keras
from django.db import InterfaceError, OperationalError, connection, transaction
from django.utils import timezone

from cifarsite.core.storage import StorageUnavailable
from training.engine.inference.network import LiteRTNetwork
from training.engine.training import checkpoints
from training.engine.training.callbacks import TrainingError
from training.engine.training.fit import StopTraining
from training.evaluation import reports
from training.jobs import lifecycle, ownership
from training.jobs.learning_curves import NUMBERS, Progress
from training.jobs.resource_usage import Usage
from training.jobs.run_folders import LOG_LINES
from training.models import Epoch, ModelVersion, TrainingJob
from training.models.jobs import SAME_MODEL
from training.registry import model_store

if TYPE_CHECKING:
    from training.engine.data.image_set import ImageSet
    from training.engine.evaluation.report import Measured
    from training.engine.packaging.package import Package

logger = logging.getLogger(__name__)
Result = TypeVar("Result")

DATABASE_AWAY = (OperationalError, InterfaceError)
AWAY = (*DATABASE_AWAY, StorageUnavailable)
# Seconds between two writes of the progress, and the longest a row waits for the database.
PROGRESS_SECONDS = 1.0
PATIENCE_SECONDS = 60.0
# What the log says when a phase of a run on a project's images begins.
PHASES = {
    "features": "Computing the features of the images.",
    "head": "Fitting the classifier to the features.",
    "activations": "Computing what fine-tuning starts from.",
    "finetune": "Fine-tuning the network.",
    "judge": "Calibrating the probabilities.",
    "learning_curve": "Fitting classifiers to a part of the images, to see whether more would help.",
    "report": "Measuring the model for its report.",
}


class Cancelled(Exception):
    """Somebody gave the job up while it ran."""


def patiently(write: Callable[[], Result]) -> Result:
    """Write again and again while the database or the store of files is away, for a minute at most."""
    deadline = 0.0
    while True:
        try:
            return write()
        except AWAY as error:
            # From the first failure on: what is tried may take longer than a minute by itself.
            deadline = deadline or time.monotonic() + PATIENCE_SECONDS
            if time.monotonic() > deadline:
                raise
            logger.warning("It is tried again: %s", error)
            connection.close()
            time.sleep(1)


def keep(
    job: TrainingJob, made: Package, measured: list[tuple[ImageSet, Measured]], *, early: bool
) -> ModelVersion:
    """The model, its reports and the job's last state, all or nothing; the file comes before the rows."""
    network = made.predictor.network
    converted = network.content if isinstance(network, LiteRTNetwork) else None
    model_store.keep_file(made.content, converted)
    earlier = job.models.count()
    name = f"{job.recipe}-{job.pk}" + (f"-{earlier + 1}" if earlier else "")
    # The same request again gives the same file, which is one model.
    if known := ModelVersion.objects.filter(sha256=made.sha256).first():
        name = known.name
    with transaction.atomic():
        # First, since it takes the lock and refuses an owner that came too late.
        ownership.finish(
            job,
            TrainingJob.State.STOPPED if early else TrainingJob.State.SUCCEEDED,
            f"Model {name}, test accuracy {100 * made.test['accuracy']:.2f} %.",
        )
        version = model_store.register(made, job=job, name=name)
        if version.job_id != job.pk:
            lifecycle.note(job, SAME_MODEL, version.name)
        for images, found in measured:
            reports.keep_row(version, images, found)
        return version


class Recorder(keras.callbacks.Callback):  # type: ignore[misc]
    """Writes what the run does into its rows and its log, and looks whether it shall end."""

    def __init__(
        self,
        job: TrainingJob,
        epochs: int,
        on_progress: Callable[[Progress], None],
        on_line: Callable[[str], None],
    ) -> None:
        super().__init__()
        self.job, self.epochs = job, epochs
        self.reached = 0  # the last epoch of the attempts before
        self.on_progress, self.on_line = on_progress, on_line
        self.images = self.steps = 0
        self.epoch = self.begun_with = 0
        self.epoch_seconds: float | None = None
        self.stopping = False
        self.usage = Usage()
        self.lines: list[str] = []
        self.live: dict[str, Any] = {"phase": "data"}
        self.written_at = self.started_at = time.monotonic()
        self.folder = lifecycle.run_folder(job)
        self.folder.mkdir(parents=True, exist_ok=True)

    def say(self, line: str, *, phase: str = "", write: bool = True) -> None:
        """A line of the log: into its file, onto the row, to whoever listens."""
        stamped = f"{timezone.now():%Y-%m-%d %H:%M:%S} {line}"
        with (self.folder / "log.txt").open("a", encoding="utf-8") as file:
            file.write(stamped + "\n")
        self.lines = [*self.lines, stamped][-LOG_LINES:]
        self.on_line(line)
        if phase:
            self.live["phase"] = phase
        if write:
            patiently(lambda: ownership.owner_writes(self.job, live={**self.live, "log": self.lines}))

    def reconcile(self) -> None:
        """Make the rows agree with the checkpoint that the run goes on from: no gap, no doubles."""
        checkpoint = checkpoints.load_latest(self.folder / "checkpoints")
        history = checkpoint.note["history"] if checkpoint else {}
        self.epoch = checkpoint.epoch if checkpoint else 0

        def write() -> None:
            with transaction.atomic():
                ownership.owner_writes(self.job, step=0, steps=self.steps)
                known = set(self.job.epochs.values_list("number", flat=True))
                self.reached = max(known, default=0)
                self.job.epochs.filter(number__gt=self.epoch).delete()
                Epoch.objects.bulk_create(
                    self._row(number, {name: history[name][number - 1] for name in NUMBERS})
                    for number in range(1, self.epoch + 1)
                    if number not in known
                )

        patiently(write)
        if self.epoch:
            self.epoch_seconds = history["seconds"][-1]
            self.say(f"Continuing after epoch {self.epoch}.")

    def on_train_begin(self, logs: Any = None) -> None:
        if self.live["phase"] == "activations":
            self.say(PHASES["finetune"], phase="finetune")
        else:
            self.live["phase"] = "training"

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.epoch = epoch
        self.started_at = time.monotonic()

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        step = min(batch + 1, self.steps)  # the last group of an epoch may be a short one
        progress = self._progress(step)
        self.on_progress(progress)
        if time.monotonic() - self.written_at < PROGRESS_SECONDS:
            return
        self.written_at = time.monotonic()
        self.live |= {
            "images_per_second": progress.images_per_second,
            "seconds_left": progress.seconds_left,
            **self.usage.measure(),
        }
        try:
            ownership.owner_writes(
                self.job, step=step, steps=self.steps, live={**self.live, "log": self.lines}
            )
            self._look_at_flags()
        except DATABASE_AWAY:
            # A database that is away for a moment costs a line of progress, not the run.
            connection.close()
        # The first epoch is always finished, so that there is something to keep; fine-tuning has that before.
        if self.stopping and (self.epoch > 0 or self.live["phase"] == "finetune"):
            raise StopTraining

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        logs = logs or {}
        row = self._row(epoch + 1, logs)
        if not math.isfinite(row.val_loss):
            raise TrainingError(f"The validation loss became {row.val_loss}: try a smaller learning rate.")

        def write() -> None:
            with transaction.atomic():
                # A run that gets on is not charged for the crashes before; one that dies at the
                # same place each time still has three attempts, also where it goes on from further back.
                fresh = {"attempt": 1} if row.number > self.reached else {}
                ownership.owner_writes(self.job, step=0, **fresh)
                row.save()

        patiently(write)
        self.epoch_seconds = row.seconds
        left = (self.epochs - epoch - 1) * row.seconds
        self.live |= {"seconds_left": left, "images_per_second": row.images_per_second}
        self.say(
            f"epoch {row.number}/{self.epochs}  loss {row.loss:.4f}  accuracy {row.accuracy:.4f}  "
            f"val_loss {row.val_loss:.4f}  val_accuracy {row.val_accuracy:.4f}  "
            f"rate {row.learning_rate:.3g}  {row.images_per_second:.0f} images/s  {row.seconds:.1f} s  "
            f"{100 * logs['waiting']:.1f} % of it waiting for data"
        )
        patiently(self._look_at_flags)
        if self.stopping:
            self.model.stop_training = True

    def told(self, news: Mapping[str, Any]) -> None:
        """What a run says of itself that trains on a project's images; written once a second.

        Args:
            news: ``phase``; ``done`` and ``total`` images of it.

        Raises:
            Cancelled: the job was given up.
        """
        phase, now = str(news.get("phase") or self.live["phase"]), time.monotonic()
        done, total = int(news.get("done", 0)), int(news.get("total", 0))
        if phase != self.live["phase"]:
            self.started_at, self.begun_with, self.live["phase"] = now, done, phase
            self.say(PHASES.get(phase, phase))
            if phase == "features":
                self._begin_features(done)
        pace = (done - self.begun_with) / max(now - self.started_at, 1e-3)
        left = (total - done) / pace if pace > 0 and total else None
        self.on_progress(Progress(0, 1, done, total, pace or None, left, phase))
        if now - self.written_at < PROGRESS_SECONDS and done < total:
            return
        self.written_at = now
        self.live |= {"images_per_second": pace or None, "seconds_left": left, **self.usage.measure()}
        try:
            live = {**self.live, "log": self.lines}
            ownership.owner_writes(self.job, step=done, steps=total, live=live)
            self._look_at_flags()
        except DATABASE_AWAY:
            connection.close()

    def _begin_features(self, known: int) -> None:
        """A run that begins with more known features than any before is not charged for the crashes before.

        One that dies at the same place each time begins with no more than the time before.
        """
        file = self.folder / "features.txt"
        before = int(file.read_text()) if file.is_file() else 0
        if known > before:
            file.write_text(str(known))
            patiently(lambda: ownership.owner_writes(self.job, attempt=1))
        if known:
            self.say(f"The features of {known:,} images are known already.")

    def _look_at_flags(self) -> None:
        rows = TrainingJob.objects.filter(pk=self.job.pk)
        cancel, self.stopping = rows.values_list("cancel_requested", "stop_requested").get()
        if cancel:
            raise Cancelled

    def _progress(self, step: int) -> Progress:
        elapsed = time.monotonic() - self.started_at
        an_epoch = self.epoch_seconds or elapsed / step * self.steps
        left = max(an_epoch - elapsed, 0) + (self.epochs - self.epoch - 1) * an_epoch
        pace = self.images / self.steps * step / elapsed if elapsed else 0.0
        return Progress(self.epoch, self.epochs, step, self.steps, pace, left)

    def _row(self, number: int, logs: dict[str, float]) -> Epoch:
        return Epoch(job=self.job, number=number, **{name: float(logs[name]) for name in NUMBERS})
