from __future__ import annotations

import gc
import os
import platform
import shutil
import signal
import sys
import threading
import time
import traceback
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from training.engine.data.cifar10 import DatasetError
from training.engine.recipes import RECIPES
from training.engine.training.recipe import ParameterError
from training.jobs import lifecycle, ownership
from training.jobs.learning_curves import Progress
from training.jobs.runner import Heartbeat
from training.management.finding import find_dataset, find_project
from training.management.tensorflow import need_tensorflow
from training.models import DEFAULT_PROJECT, ModelVersion, TrainingJob

BAR_SECONDS = 0.2


class Command(BaseCommand):
    help = "Train a recipe in this process; the result is a model version and its report."
    # It serves no page: what is checked of them would cost its start 0.3 s, and memory.
    requires_system_checks = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--project", metavar="SLUG", help="The project to train for; default: cifar10.")
        parser.add_argument("--recipe", help=f"One of {', '.join(sorted(RECIPES))}.")
        parser.add_argument("--epochs", help="Number of passes over the training images.")
        parser.add_argument("--seed", help="The same seed gives the same order and augmentation.")
        parser.add_argument(
            "--set",
            action="append",
            default=[],
            metavar="NAME=VALUE",
            help="Another parameter of the recipe; may be given several times.",
        )
        parser.add_argument(
            "--dataset",
            metavar="VERSION",
            help="A dataset version: its number, its name, or 'newest'; default: plain CIFAR-10, or the "
            "project's images as they are now.",
        )
        parser.add_argument("--resume", type=int, metavar="JOB", help="Continue a job that ended early.")

    def handle(self, *args: Any, **options: Any) -> None:
        worker = f"foreground {os.getpid()}@{platform.node()}"
        # Before there is a job: nobody else would take one that this process has claimed.
        need_tensorflow("start the job on the Training page, for a training worker to run")
        try:
            job = take_again(worker, options) if options["resume"] else take_new(worker, options)
        except (ParameterError, DatasetError, lifecycle.InvalidTransition) as error:
            raise CommandError(str(error)) from error
        # TERM ends it as Ctrl-C does: the checkpoint stays, the row says so.
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, signal.default_int_handler)
        interrupted, lost, version = False, "", None
        try:
            version = self.train(job)
        except KeyboardInterrupt:
            interrupted = True
        except ownership.ClaimLost as error:
            lost = str(error)
        except Exception as error:
            # Such as a TensorFlow that cannot be loaded: the row says so and does not run for ever.
            detail = f"{type(error).__name__}: {error}"
            ownership.fail(job, "error", detail, traceback.format_exc())
            raise CommandError(f"Job #{job.pk} failed. {detail}") from error
        if interrupted or lost:
            # Only now that the exception is gone: what it held keeps a thread that makes batches,
            # and TensorFlow would wait for it for ever when this process ends.
            gc.collect()
            raise CommandError(lost) if lost else CommandError(put_down(job), returncode=130)
        job.refresh_from_db()
        if version is None:
            if job.state == TrainingJob.State.CANCELLED:
                raise CommandError(f"Job #{job.pk} was cancelled: nothing of it is kept.")
            again = (
                f" Continue with: manage.py train --resume {job.pk}" if lifecycle.is_resumable(job) else ""
            )
            raise CommandError(f"Job #{job.pk} failed ({job.error_code}). {job.error_detail}{again}")
        self.report(version)

    def train(self, job: TrainingJob) -> ModelVersion | None:
        self.stderr.write(f"Job #{job.pk}: loading TensorFlow ...")
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
        bar = Bar()
        with Heartbeat(job):
            from training.jobs import trainer

            def say(line: str) -> None:
                bar.clear()
                self.stdout.write(line)
                self.stdout.flush()

            try:
                return trainer.run(job, on_progress=bar.show, on_line=say)
            finally:
                bar.clear()

    def report(self, version: ModelVersion) -> None:
        card = version.card
        test, validation = card["test"], card.get("validation")
        low, high = test["interval"]
        measured = [row for row in test["classes"] if row["support"]]
        worst = min(measured, key=lambda row: row["recall"])
        validated = (
            f"  validation  {validation['accuracy']:.2%} of {validation['n']:,}\n" if validation else ""
        )
        epochs = len(card["history"].get("loss", ()))
        best = f"best epoch {card['best_epoch']} of {epochs}, " if epochs else ""
        self.stdout.write(
            f"Model {version.name} (id {version.pk}), {version.size:,} bytes, {card['weights']:,} weights, "
            f"{best}{card['seconds']:.0f} s\n"
            f"  {card.get('measured_by', 'test'):11} {test['accuracy']:.2%} of {test['n']:,} "
            f"({low:.2%} to {high:.2%}), top two {test['top2']:.2%}, ECE {test['ece']:.4f}\n"
            f"{validated}  worst class {worst['name']}, recall {worst['recall']:.1%}\n"
            f"  sha256      {version.sha256}"
        )


def take_new(worker: str, options: dict[str, Any]) -> TrainingJob:
    if not options["recipe"]:
        raise CommandError(f"Choose a recipe: --recipe, one of {', '.join(sorted(RECIPES))}.")
    project = find_project(options["project"] or DEFAULT_PROJECT)
    dataset = find_dataset(options["dataset"], project) if options["dataset"] else None
    return ownership.own_new(
        options["recipe"], parameters(options), worker=worker, project=project, dataset=dataset
    )


def take_again(worker: str, options: dict[str, Any]) -> TrainingJob:
    job = TrainingJob.objects.filter(pk=options["resume"]).first()
    if job is None:
        raise CommandError(f"There is no job #{options['resume']}.")
    if (
        parameters(options)
        or options["dataset"]
        or options["recipe"] not in (None, job.recipe)
        or (options["project"] not in (None, job.project_id))
    ):
        raise CommandError(
            f"Job #{job.pk} continues with its own recipe, data and parameters: leave out --recipe, "
            "--project, --epochs, --seed, --dataset and --set, or start a new job without --resume."
        )
    return ownership.own_again(job, worker=worker)


def parameters(options: dict[str, Any]) -> dict[str, str]:
    given = {}
    for pair in options["set"]:
        name, equals, value = pair.partition("=")
        if not equals:
            raise CommandError(f"--set {pair}: write NAME=VALUE, such as --set batch_size=500.")
        given[name.strip()] = value.strip()
    for name in ("epochs", "seed"):
        if options[name] is not None:
            given[name] = options[name]
    return given


def put_down(job: TrainingJob) -> str:
    """Write that somebody interrupted the job; return the sentence for them."""
    done = job.epochs.count()
    if lifecycle.find_recipe(job.recipe).own_classes:
        told = (
            f"Interrupted; what is known of the images is kept. Go on with: manage.py train --resume {job.pk}"
        )
    elif done:
        told = f"Interrupted after {done} whole epochs. Go on with: manage.py train --resume {job.pk}"
    else:
        told = "Interrupted before the first epoch was over: there is nothing to go on from."
    try:
        ownership.fail(job, "interrupted", told)
    except ownership.ClaimLost:
        job.refresh_from_db()
        told = f"Interrupted; job #{job.pk} is {job.get_state_display()}."
    return told


class Bar:
    """One line that tells how far the epoch is; silent where standard error is no terminal."""

    def __init__(self) -> None:
        self.on = sys.stderr.isatty()
        self.shown_at = 0.0

    def show(self, progress: Progress) -> None:
        now = time.monotonic()
        if not self.on or now - self.shown_at < BAR_SECONDS:
            return
        self.shown_at = now
        share = progress.epoch_percent / 100
        what = f"epoch {progress.epoch}/{progress.epochs}"
        if progress.phase:
            what = f"{progress.phase} {progress.step:,}/{progress.steps:,}"
        text = (
            f"{what} [{'#' * round(20 * share):.<20}] {share:4.0%}  "
            f"{progress.images_per_second or 0:.0f} images/s  {clock(progress.seconds_left or 0)} left"
        )
        width = shutil.get_terminal_size().columns - 1
        sys.stderr.write(f"\r{text[:width]:<{width}}")
        sys.stderr.flush()

    def clear(self) -> None:
        if self.on:
            sys.stderr.write("\r" + " " * (shutil.get_terminal_size().columns - 1) + "\r")
            sys.stderr.flush()


def clock(seconds: float) -> str:
    """61.0 becomes 1:01, 3661.0 becomes 1:01:01."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
