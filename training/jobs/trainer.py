"""What happens inside a training process: data in, epochs as rows, a model out.

CIFAR-10's recipes are trained here, those for any classes in ``training.jobs.own_classes``.

Imports TensorFlow, so only the commands that train import this module.
"""

from __future__ import annotations

import errno
import gc
import logging
import math
import traceback
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import tensorflow as tf
from django.conf import settings

from cifarsite.core.storage import StorageUnavailable
from training.data import cifar10_copy, dataset_versions
from training.engine.data.cifar10 import SPLIT_SEED, Cifar10, DatasetError, load_cifar10
from training.engine.data.image_set import ImageSet
from training.engine.data.photo_set import PhotosError, PhotoSet
from training.engine.evaluation.report import Measured
from training.engine.packaging.package import Package, package
from training.engine.training import devices
from training.engine.training.callbacks import TrainingError
from training.engine.training.fit import fit
from training.engine.training.recipe import ParameterError, Recipe, Values
from training.evaluation import measuring, pretrained_reports, reliability, reports
from training.jobs import lifecycle, ownership
from training.jobs.learning_curves import Progress
from training.jobs.recorder import Cancelled, Recorder, keep, patiently
from training.models import ModelVersion, TrainingJob
from training.registry import model_store

logger = logging.getLogger(__name__)


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
    except ownership.ClaimLost:
        raise
    except Cancelled:
        ownership.finish(job, TrainingJob.State.CANCELLED)
    except Exception as error:
        logger.exception("Job #%s failed.", job.pk)
        code, detail = reason(error)
        text = traceback.format_exc()
        patiently(lambda: ownership.fail(job, code, detail, text))
    finally:
        # What an exception cut short still holds a thread that makes batches: TensorFlow would
        # wait for it for ever when the process ends.
        gc.collect()
    return None


def reason(error: Exception) -> tuple[str, str]:
    """The code and the sentence that an error leaves on the job's row."""
    if isinstance(error, TrainingError):
        return "diverged", str(error)
    if isinstance(error, DatasetError | PhotosError):
        return "dataset", str(error)
    if isinstance(error, ParameterError):
        return "parameters", str(error)
    if isinstance(error, (MemoryError, tf.errors.ResourceExhaustedError)):
        return "out_of_memory", "The run needed more memory than it may take: choose a smaller batch_size."
    if isinstance(error, StorageUnavailable):
        return "storage_away", "The file storage does not respond: resume the job when it does."
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "disk_full", "The disk is full: make room, then resume the job."
    return "error", f"{type(error).__name__}: {error}"


def _train(
    job: TrainingJob, on_progress: Callable[[Progress], None], on_line: Callable[[str], None]
) -> ModelVersion:
    recipe = lifecycle.find_recipe(job.recipe)
    values = recipe.clean(job.parameters)
    recorder = Recorder(job, int(values["epochs"]), on_progress, on_line)
    recorder.say(f"Job #{job.pk}, {recipe.name}, attempt {job.attempt} by {job.worker}.")
    if recipe.own_classes:
        from training.jobs import own_classes

        return own_classes.train(job, values, recorder)
    return _train_on_cifar10(job, recipe, values, recorder)


def _train_on_cifar10(job: TrainingJob, recipe: Recipe, values: Values, recorder: Recorder) -> ModelVersion:
    strategy = devices.prepare_training()
    if not tf.config.list_physical_devices("GPU"):
        # On a processor it costs nothing; on a GPU it costs speed, and not every operation has such a form.
        tf.config.experimental.enable_op_determinism()
    cifar = patiently(lambda: _load(job))
    dataset = job.dataset
    assert dataset is not None  # _load has seen to it
    data = patiently(
        lambda: dataset_versions.load(dataset, cifar, fraction=recipe.validation_fraction, seed=SPLIT_SEED)
    )
    data = replace(data, photos=reliability.training_photos())
    recorder.images = len(data.x_train)
    recorder.steps = math.ceil(len(data.x_train) / int(values["batch_size"]))
    recorder.say(f"{len(data.x_train):,} images to train on, {len(data.x_val):,} to validate on.")
    recorder.reconcile()
    folder = lifecycle.run_folder(job) / "checkpoints"
    fitted = fit(
        recipe,
        data,
        values,
        callbacks=[recorder],
        checkpoint_folder=folder,
        strategy=strategy,
    )
    kept = f"epoch {fitted.best_epoch}, the best one"
    if fitted.averaged:
        kept = f"the mean of the weights after epochs {', '.join(map(str, fitted.averaged))}"
    recorder.say(f"Kept is {kept}; now the test images.", phase="measuring")
    made = package(
        fitted, recipe, values, cifar, data, _photos(), synthetic_ood_images=settings.SYNTHETIC_OOD_IMAGES
    )
    # Now, since the process has little time left once the job's row is closed.
    measured = _measure(made, cifar, recorder)
    early = recorder.stopping and len(fitted.history["loss"]) < int(values["epochs"])
    version = patiently(lambda: keep(job, made, measured, early=early))
    recorder.say(f"{version.name}: test accuracy {100 * (version.test_accuracy or 0):.2f} %.", write=False)
    try:
        pretrained_reports.show_images(cifar)
    except Exception:
        logger.exception("Reports of shipped models lack their images: the next start or run adds them.")
    return version


def _photos() -> PhotoSet | None:
    """Photos to measure the model on; where they cannot be read, it is kept without."""
    try:
        return reliability.photo_set()
    except PhotosError:
        logger.exception(
            "The card has no figures on photos: correct PHOTOS_DIR, then run 'manage.py evaluate'."
        )
        return None


def _measure(made: Package, cifar: Cifar10, recorder: Recorder) -> list[tuple[ImageSet, Measured]]:
    """All that the report pages show, of this model and, on the same images, of the champion; a
    failure costs the panels alone, not the model."""
    measured: list[tuple[ImageSet, Measured]] = []
    try:
        found = measuring.measure_new(made, cifar, recorder.say, patiently=patiently)
        for images, of_new in found:
            patiently(partial(reports.keep_files, made.sha256, images, of_new, cifar=cifar))
            measured.append((images, of_new))
        sets = [images for images, _ in found]
        patiently(lambda: measuring.measure_champion(cifar, sets, recorder.say))
    except (ownership.ClaimLost, Cancelled):
        raise
    except Exception:
        logger.exception("A report has no panels: run 'manage.py evaluate' on the model.")
    return measured


def _load(job: TrainingJob) -> Cifar10:
    cifar = load_cifar10(cifar10_copy.folder())
    if job.dataset is None:
        job.dataset = model_store.cifar10_version(cifar.sha256)
        ownership.owner_writes(job, dataset=job.dataset)
    elif job.dataset.manifest["cifar10"] != cifar.sha256:
        raise DatasetError(
            f"{cifar.source} is not the CIFAR-10 of dataset '{job.dataset}': another copy was "
            "put in its place. Point CIFAR10_DIR at the copy that the dataset was made with."
        )
    return cifar
