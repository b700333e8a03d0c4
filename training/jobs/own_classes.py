"""A run on the images of a project: freeze them, train on them, measure, keep the model.

Imports TensorFlow, so only the commands that train import this module.
"""

from __future__ import annotations

import logging
from functools import partial

from django.utils import translation
from tensorflow.config import experimental as config

from training.data import project_versions
from training.engine import transfer
from training.engine.data.image_set import ImageSet
from training.engine.data.labelled_images import TRAINING, LabelledImages
from training.engine.evaluation.report import Measured
from training.engine.packaging.package import Package
from training.engine.training import devices
from training.engine.training.recipe import Values
from training.evaluation import measuring, reports
from training.jobs import lifecycle, ownership
from training.jobs.recorder import Cancelled, Recorder, keep, patiently
from training.jobs.run_folders import features_folder
from training.models import DatasetVersion, ModelVersion, TrainingJob
from training.reports.fine_tuning import fine_tuning

logger = logging.getLogger(__name__)


def train(job: TrainingJob, values: Values, recorder: Recorder) -> ModelVersion:
    """Train a job of a recipe for any classes, up to its last state.

    Raises:
        DatasetError: there are too few images, or one cannot be read.
        ClaimLost, Cancelled: see ``training.jobs.trainer``.
    """
    dataset = patiently(partial(_dataset, job))
    images = patiently(partial(project_versions.labelled_images, dataset))
    recorder.say(f"{len(images.ids):,} images of {len(images.classes):,} classes, dataset '{dataset}'.")
    if int(values["epochs"]):
        _prepare_fine_tuning(images, recorder)
    folder = features_folder(job.project_id)
    folder.mkdir(parents=True, exist_ok=True)
    made = transfer.train(
        images,
        values,
        features_dir=folder,
        report=recorder.told,
        should_stop=lambda: recorder.stopping,
        callbacks=[recorder],
        checkpoints=recorder.folder / "checkpoints",
    )
    made.card["data"] |= {"name": dataset.name, "sha256": images.dataset_sha256}
    _say_of_fine_tuning(made, recorder)
    recorder.say("The model is made; now its report.", phase="report")
    measured = _measure(job, made, images, recorder)
    version = patiently(lambda: keep(job, made, measured, early=recorder.stopping))
    lifecycle.forget_checkpoints(job)
    again = "" if version.job_id == job.pk else " This run gave the same file, which is no new model."
    accuracy = 100 * (version.test_accuracy or 0)
    recorder.say(f"{version.name}: test accuracy {accuracy:.2f} %.{again}", write=False)
    return version


def _say_of_fine_tuning(made: Package, recorder: Recorder) -> None:
    """In the log and on the job's row: the file may be an earlier model's, whose card says nothing of it."""
    if said := made.card["transfer"].get("fine_tuning"):
        recorder.live["fine_tuning"] = said
        with translation.override("en"):
            recorder.say(fine_tuning(said))


def _prepare_fine_tuning(images: LabelledImages, recorder: Recorder) -> None:
    """Go on after the last epoch's checkpoint, unless images were withdrawn since: it has learned them."""
    if not devices.prepare():
        config.enable_op_determinism()
    learned = recorder.folder / "images.txt"
    if not learned.is_file() or learned.read_text() != images.dataset_sha256:
        lifecycle.forget_checkpoints(recorder.job)
        learned.write_text(images.dataset_sha256)
    recorder.images = len(images.rows(TRAINING))
    recorder.steps = transfer.steps_an_epoch(recorder.images)
    recorder.reconcile()


def _dataset(job: TrainingJob) -> DatasetVersion:
    """The images that the job was asked for; otherwise those of now, which a second attempt keeps."""
    if job.dataset is None:
        dataset = project_versions.freeze(job.project_id, by=job.requested_by)
        ownership.owner_writes(job, dataset=dataset)
        job.dataset = dataset
    return job.dataset


def _measure(
    job: TrainingJob, made: Package, images: LabelledImages, recorder: Recorder
) -> list[tuple[ImageSet, Measured]]:
    """What the report pages show, of this model and of the champion on the same images; a failure costs the
    panels alone, not the model."""
    measured: list[tuple[ImageSet, Measured]] = []
    try:
        for found in measuring.measure_project(made, images, recorder.say):
            patiently(partial(reports.keep_files, made.sha256, *found))
            measured.append(found)
        patiently(partial(measuring.measure_champion_of, job.project_id, images, recorder.say))
    except (ownership.ClaimLost, Cancelled):
        raise
    except Exception:
        logger.exception("A report has no panels: run 'manage.py evaluate' on the model.")
    return measured
