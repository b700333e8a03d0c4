"""What happens inside a training process: data in, epochs as rows, a model out.

Imports TensorFlow, so only the commands that train import this module.
"""

from __future__ import annotations

import errno
import gc
import logging
import math
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import keras
import tensorflow as tf
from django.conf import settings
from django.db import InterfaceError, OperationalError, connection, transaction
from django.utils import timezone

from training import datasets, evaluation, jobs, model_store, shipped_reports, trust
from training.engine import checkpoints, devices
from training.engine.data import Cifar10, DatasetError, load_cifar10
from training.engine.fit import StopTraining, TrainingError, fit
from training.engine.image_set import ImageSet
from training.engine.package import SPLIT_SEED, Package, package
from training.engine.photo_set import PhotosError, PhotoSet
from training.engine.recipe import ParameterError, Recipe
from training.engine.report import Measured
from training.models import Epoch, ModelVersion, TrainingJob
from training.storage import StorageAway
from training.usage import Usage

logger = logging.getLogger(__name__)
Result = TypeVar("Result")

DATABASE_AWAY = (OperationalError, InterfaceError)
AWAY = (*DATABASE_AWAY, StorageAway)
# Seconds between two writes of the progress, and the longest a row waits for the database.
PROGRESS_SECONDS = 1.0
PATIENCE_SECONDS = 60.0
LOG_LINES = 20
HISTORY = ("loss", "accuracy", "val_loss", "val_accuracy", "learning_rate", "seconds", "images_per_second")


class Cancelled(Exception):
    """Somebody gave the job up while it ran."""


@dataclass(frozen=True)
class Progress:
    """Where a run is; ``epoch`` and ``step`` count from 1, ``seconds_left`` is an estimate."""

    epoch: int
    epochs: int
    step: int
    steps: int
    images_per_second: float
    seconds_left: float | None


def run(
    job: TrainingJob,
    *,
    on_progress: Callable[[Progress], None] = lambda progress: None,
    on_line: Callable[[str], None] = lambda line: None,
) -> ModelVersion | None:
    """Train a job that this process has claimed, up to its last state.

    Returns:
        The model, or None where the run failed or was cancelled: the row has the reason.

    Raises:
        ClaimLost: the job belongs to somebody else by now; nothing more was written.
    """
    try:
        return _train(job, on_progress, on_line)
    except jobs.ClaimLost:
        raise
    except Cancelled:
        jobs.finish(job, TrainingJob.State.CANCELLED)
    except Exception as error:
        logger.exception("Job #%s failed.", job.pk)
        code, detail = reason(error)
        text = traceback.format_exc()
        _patiently(lambda: jobs.fail(job, code, detail, text))
    finally:
        # What an exception cut short still holds a thread that makes batches: TensorFlow would
        # wait for it for ever when the process ends.
        gc.collect()
    return None


def reason(error: Exception) -> tuple[str, str]:
    """The code and the sentence that an error leaves on the job's row."""
    if isinstance(error, TrainingError):
        return "diverged", str(error)
    if isinstance(error, DatasetError):
        return "dataset", str(error)
    if isinstance(error, ParameterError):
        return "parameters", str(error)
    if isinstance(error, (MemoryError, tf.errors.ResourceExhaustedError)):
        return "out_of_memory", "The run needed more memory than it may take: choose a smaller batch_size."
    if isinstance(error, StorageAway):
        return "storage_away", "The store of files does not answer: resume the job when it does."
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "disk_full", "The disk is full: make room, then resume the job."
    return "error", f"{type(error).__name__}: {error}"


def _train(
    job: TrainingJob, on_progress: Callable[[Progress], None], on_line: Callable[[str], None]
) -> ModelVersion:
    recipe = jobs.find_recipe(job.recipe)
    values = recipe.clean(job.parameters)
    recorder = Recorder(job, int(values["epochs"]), on_progress, on_line)
    recorder.say(f"Job #{job.pk}, {recipe.name}, attempt {job.attempt} by {job.worker}.")
    strategy = devices.prepare(hosts=False)
    cifar = _patiently(lambda: _load(job))
    dataset = job.dataset
    assert dataset is not None  # _load has seen to it
    data = _patiently(
        lambda: datasets.load(dataset, cifar, fraction=recipe.validation_fraction, seed=SPLIT_SEED)
    )
    recorder.images = len(data.x_train)
    recorder.steps = math.ceil(len(data.x_train) / int(values["batch_size"]))
    recorder.say(f"{len(data.x_train):,} images to train on, {len(data.x_val):,} to validate on.")
    recorder.reconcile()
    folder = jobs.run_folder(job) / "checkpoints"
    fitted = fit(recipe, data, values, callbacks=[recorder], checkpoint_folder=folder, strategy=strategy)
    kept = f"epoch {fitted.best_epoch}, the best one"
    if fitted.averaged:
        kept = f"the mean of the weights after epochs {', '.join(map(str, fitted.averaged))}"
    recorder.say(f"Kept is {kept}; now the test images.", phase="measuring")
    made = package(fitted, recipe, values, cifar, data, _photos(), made_up_images=settings.MADE_UP_IMAGES)
    # Now, since the process has little time left once the job's row is closed.
    measured = _measure(made, cifar, recorder)
    early = recorder.stopping and len(fitted.history["loss"]) < int(values["epochs"])
    version = _patiently(lambda: _keep(job, recipe, made, measured, early))
    recorder.say(f"{version.name}: {version.test_accuracy:.2%} of the test images right.", write=False)
    try:
        shipped_reports.show_images(cifar)
    except Exception:
        logger.exception("Reports of shipped models lack their images: the next start or run adds them.")
    return version


def _photos() -> PhotoSet | None:
    """Photos to measure the model on; where they cannot be read, it is kept without."""
    try:
        return trust.photo_set()
    except PhotosError:
        logger.exception("The card has no figures on photos: mend PHOTOS_DIR, then run 'manage.py evaluate'.")
        return None


def _measure(made: Package, cifar: Cifar10, recorder: Recorder) -> list[tuple[ImageSet, Measured]]:
    """All that the report pages show, of this model and, on the same images, of the champion; a
    failure costs the panels alone, not the model."""
    measured: list[tuple[ImageSet, Measured]] = []
    try:
        found = evaluation.measure_new(
            made.content, made.card, cifar, made.outputs, recorder.say, patiently=_patiently
        )
        for images, of_new in found:
            _patiently(partial(evaluation.keep_files, made.sha256, images, of_new, cifar=cifar))
            measured.append((images, of_new))
        sets = [images for images, _ in found]
        _patiently(lambda: evaluation.measure_champion(cifar, sets, recorder.say))
    except (jobs.ClaimLost, Cancelled):
        raise
    except Exception:
        logger.exception("A report has no panels: run 'manage.py evaluate' on the model.")
    return measured


def _load(job: TrainingJob) -> Cifar10:
    cifar = load_cifar10(settings.CIFAR10_DIR or None)
    if job.dataset is None:
        job.dataset = model_store.cifar10_version(cifar.sha256)
        jobs.owner_writes(job, dataset=job.dataset)
    elif job.dataset.manifest["cifar10"] != cifar.sha256:
        raise DatasetError(
            f"{cifar.source} is not the CIFAR-10 of dataset '{job.dataset}': another copy was "
            "put in its place. Point CIFAR10_DIR at the copy that the dataset was made with."
        )
    return cifar


def _keep(
    job: TrainingJob,
    recipe: Recipe,
    made: Package,
    measured: list[tuple[ImageSet, Measured]],
    early: bool,
) -> ModelVersion:
    """The model, its reports and the job's last state, all or nothing."""
    earlier = job.models.count()
    name = f"{recipe.name}-{job.pk}" + (f"-{earlier + 1}" if earlier else "")
    with transaction.atomic():
        # First, since it takes the lock and refuses an owner that came too late.
        jobs.finish(
            job,
            TrainingJob.State.STOPPED if early else TrainingJob.State.SUCCEEDED,
            f"Model {name}, {made.test['accuracy']:.2%} of the test images right.",
        )
        version = model_store.register(made, job=job, name=name)
        for images, found in measured:
            evaluation.keep_row(version, images, found)
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
        self.on_progress, self.on_line = on_progress, on_line
        self.images = self.steps = 0
        self.epoch = 0
        self.epoch_seconds: float | None = None
        self.stopping = False
        self.usage = Usage()
        self.lines: list[str] = []
        self.live: dict[str, Any] = {"phase": "data"}
        self.written_at = self.started_at = time.monotonic()
        self.folder = jobs.run_folder(job)
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
            _patiently(lambda: jobs.owner_writes(self.job, live={**self.live, "log": self.lines}))

    def reconcile(self) -> None:
        """Make the rows agree with the checkpoint that the run goes on from: no gap, no doubles."""
        checkpoint = checkpoints.load_latest(self.folder / "checkpoints")
        history = checkpoint.note["history"] if checkpoint else {}
        self.epoch = checkpoint.epoch if checkpoint else 0

        def write() -> None:
            with transaction.atomic():
                jobs.owner_writes(self.job, step=0, steps=self.steps)
                known = set(self.job.epochs.values_list("number", flat=True))
                self.job.epochs.filter(number__gt=self.epoch).delete()
                Epoch.objects.bulk_create(
                    self._row(number, {name: history[name][number - 1] for name in HISTORY})
                    for number in range(1, self.epoch + 1)
                    if number not in known
                )

        _patiently(write)
        if self.epoch:
            self.epoch_seconds = history["seconds"][-1]
            self.say(f"It goes on after epoch {self.epoch}.")

    def on_train_begin(self, logs: Any = None) -> None:
        self.live["phase"] = "training"

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.epoch = epoch
        self.started_at = time.monotonic()

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        progress = self._progress(batch + 1)
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
            jobs.owner_writes(
                self.job, step=batch + 1, steps=self.steps, live={**self.live, "log": self.lines}
            )
            self._look_at_flags()
        except DATABASE_AWAY:
            # A database that is away for a moment costs a line of progress, not the run.
            connection.close()
        # The first epoch is always finished, so that there is something to keep.
        if self.stopping and self.epoch > 0:
            raise StopTraining

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        logs = logs or {}
        row = self._row(epoch + 1, logs)
        if not math.isfinite(row.val_loss):
            raise TrainingError(f"The validation loss became {row.val_loss}: try a smaller learning rate.")

        def write() -> None:
            with transaction.atomic():
                # A run that gets on is not charged for the crashes before; one that dies at the
                # same place each time still has three attempts.
                jobs.owner_writes(self.job, step=0, attempt=1)
                row.save()

        _patiently(write)
        self.epoch_seconds = row.seconds
        left = (self.epochs - epoch - 1) * row.seconds
        self.live |= {"seconds_left": left, "images_per_second": row.images_per_second}
        self.say(
            f"epoch {row.number}/{self.epochs}  loss {row.loss:.4f}  accuracy {row.accuracy:.4f}  "
            f"val_loss {row.val_loss:.4f}  val_accuracy {row.val_accuracy:.4f}  "
            f"rate {row.learning_rate:.3g}  {row.images_per_second:.0f} images/s  {row.seconds:.1f} s  "
            f"{logs['waiting']:.1%} of it waiting for data"
        )
        _patiently(self._look_at_flags)
        if self.stopping:
            self.model.stop_training = True

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
        return Progress(self.epoch + 1, self.epochs, step, self.steps, pace, left)

    def _row(self, number: int, logs: dict[str, float]) -> Epoch:
        return Epoch(job=self.job, number=number, **{name: float(logs[name]) for name in HISTORY})


def _patiently(write: Callable[[], Result]) -> Result:
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
