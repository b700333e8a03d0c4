from __future__ import annotations

import gc
import os
import platform
import shutil
import signal
import sys
import threading
import time
from argparse import ArgumentParser
from typing import TYPE_CHECKING, Any

from django.core.management.base import BaseCommand, CommandError

from training import jobs
from training.engine.recipe import ParameterError
from training.engine.recipes import RECIPES
from training.models import DatasetVersion, ModelVersion, TrainingJob
from training.runner import Heartbeat

if TYPE_CHECKING:
    from training.trainer import Progress

BAR_SECONDS = 0.2


class Command(BaseCommand):
    help = "Train a recipe here and now; ends with a model version and its report."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--recipe", help=f"One of {', '.join(sorted(RECIPES))}.")
        parser.add_argument("--epochs", help="How often the network sees every training image.")
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
            help="A dataset version: its number, its name, or 'newest'; plain CIFAR-10 where left out.",
        )
        parser.add_argument("--resume", type=int, metavar="JOB", help="Go on with a job that ended early.")

    def handle(self, *args: Any, **options: Any) -> None:
        worker = f"foreground {os.getpid()}@{platform.node()}"
        try:
            job = take_again(worker, options) if options["resume"] else take_new(worker, options)
        except (ParameterError, jobs.WrongState) as error:
            raise CommandError(str(error)) from error
        # TERM ends it as Ctrl-C does: the checkpoint stays, the row says so.
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, signal.default_int_handler)
        interrupted, lost, version = False, "", None
        try:
            version = self.train(job)
        except KeyboardInterrupt:
            interrupted = True
        except jobs.ClaimLost as error:
            lost = str(error)
        if interrupted or lost:
            # Only now that the exception is gone: what it held keeps a thread that makes batches,
            # and TensorFlow would wait for it for ever when this process ends.
            gc.collect()
            raise CommandError(lost) if lost else CommandError(put_down(job), returncode=130)
        job.refresh_from_db()
        if version is None:
            if job.state == TrainingJob.State.CANCELLED:
                raise CommandError(f"Job #{job.pk} was cancelled: nothing of it is kept.")
            again = f" Then: manage.py train --resume {job.pk}" if jobs.is_resumable(job) else ""
            raise CommandError(f"Job #{job.pk} failed ({job.error_code}). {job.error_detail}{again}")
        self.report(version)

    def train(self, job: TrainingJob) -> ModelVersion | None:
        self.stderr.write(f"Job #{job.pk}: loading TensorFlow ...")
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
        bar = Bar()
        with Heartbeat(job):
            from training import trainer

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
        test, validation = card["test"], card["validation"]
        low, high = test["interval"]
        worst = min(test["classes"], key=lambda row: row["recall"])
        self.stdout.write(
            f"Model {version.name} (id {version.pk}), {version.size:,} bytes, {card['weights']:,} weights, "
            f"best epoch {card['best_epoch']} of {len(card['history']['loss'])}, {card['seconds']:.0f} s\n"
            f"  test        {test['accuracy']:.2%} of {test['n']:,} ({low:.2%} to {high:.2%}), "
            f"top two {test['top2']:.2%}, ECE {test['ece']:.4f}\n"
            f"  validation  {validation['accuracy']:.2%} of {validation['n']:,}\n"
            f"  worst class {worst['name']}, {worst['recall']:.1%} recognised\n"
            f"  sha256      {version.sha256}"
        )


def take_new(worker: str, options: dict[str, Any]) -> TrainingJob:
    if not options["recipe"]:
        raise CommandError(f"Name a recipe: --recipe, one of {', '.join(sorted(RECIPES))}.")
    dataset = find_dataset(options["dataset"]) if options["dataset"] else None
    return jobs.own_new(options["recipe"], parameters(options), worker=worker, dataset=dataset)


def find_dataset(wanted: str) -> DatasetVersion:
    """By number or by name; 'newest': the last that was frozen."""
    rows = DatasetVersion.objects.defer("manifest")
    if wanted == "newest":
        found = rows.exclude(images=None).first()
    else:
        found = rows.filter(name=wanted).first()
        if found is None and wanted.isascii() and wanted.isdecimal() and len(wanted) < 10:
            found = rows.filter(pk=int(wanted)).first()
    if found is None:
        known = ", ".join(f"{row.pk} ({row.name})" for row in rows[:20]) or "none"
        raise CommandError(f"There is no dataset version '{wanted}'; there are: {known}.")
    return found


def take_again(worker: str, options: dict[str, Any]) -> TrainingJob:
    job = TrainingJob.objects.filter(pk=options["resume"]).first()
    if job is None:
        raise CommandError(f"There is no job #{options['resume']}.")
    if parameters(options) or options["dataset"] or options["recipe"] not in (None, job.recipe):
        raise CommandError(
            f"Job #{job.pk} goes on with its own recipe, data and parameters: leave --recipe, --epochs, "
            "--seed, --dataset and --set away, or train anew without --resume."
        )
    return jobs.own_again(job, worker=worker)


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
    if done:
        told = f"Interrupted after {done} whole epochs. Go on with: manage.py train --resume {job.pk}"
    else:
        told = "Interrupted before the first epoch was over: there is nothing to go on from."
    try:
        jobs.fail(job, "interrupted", told)
    except jobs.ClaimLost:
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
        share = progress.step / progress.steps
        text = (
            f"epoch {progress.epoch}/{progress.epochs} [{'#' * round(20 * share):.<20}] {share:4.0%}  "
            f"{progress.images_per_second:.0f} images/s  {clock(progress.seconds_left or 0)} left"
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
