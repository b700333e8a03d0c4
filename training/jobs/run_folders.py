"""Logs and checkpoints of runs lie on the host that trains; each host forgets its own old ones."""

from __future__ import annotations

import logging
import os
import shutil
import time
from datetime import datetime, timedelta
from pathlib import Path

from django.conf import settings
from django.db.models import Q
from django.utils import timezone

from training.jobs.lifecycle import run_folder
from training.models import Project, TrainingJob

logger = logging.getLogger(__name__)

HOUR = 3_600.0
# A clock that went so many seconds further than time did has been put forward, or back.
JUMP_SECONDS = 60.0
# So many lines of a log stand on the job's row, for pages on other hosts.
LOG_LINES = 20
MOST_LOG_LINES = 1_000
# More than so many bytes of a log are never read.
LOG_BYTES = 512 * 1024


def expire() -> int:
    """Remove folders of jobs that ended ``KEEP_RUNS_DAYS`` ago, and of jobs that are no more; how many.

    So are the features of images of projects that trained nothing for so long; those of projects that are no
    more go in any case.
    """
    if not settings.RUNS_DIR.is_dir():
        return 0
    if not settings.KEEP_RUNS_DAYS:
        forget_features(None)
        return 0
    old = timezone.now() - timedelta(days=settings.KEEP_RUNS_DAYS)
    forget_features(old)
    folders = [folder for folder in settings.RUNS_DIR.iterdir() if folder.name.isdecimal()]
    jobs = TrainingJob.objects.in_bulk([int(folder.name) for folder in folders])
    removed = 0
    for folder in folders:
        job = jobs.get(int(folder.name))
        if job is None:
            ended_at: datetime | None = datetime.fromtimestamp(folder.stat().st_mtime, old.tzinfo)
        else:
            ended_at = job.finished_at if job.is_over else None
        if ended_at and ended_at < old:
            shutil.rmtree(folder, ignore_errors=True)
            removed += 1
    return removed


def log_tail(job: TrainingJob, lines: int = LOG_LINES) -> list[str]:
    """The last lines of a run's log, oldest first; on another host than the run's, those on its row."""
    on_row: list[str] = job.live.get("log", [])[-lines:]
    try:
        with (run_folder(job) / "log.txt").open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - LOG_BYTES))
            found = file.read(LOG_BYTES).decode(errors="replace").splitlines()[size > LOG_BYTES :]
    except FileNotFoundError:
        return on_row
    # A run that went on elsewhere left its beginning here.
    is_old = bool(on_row) and on_row[-1] not in found
    return (on_row if is_old else found)[-lines:]


def features_folder(project: str) -> Path:
    """Where the features of a project's images are kept on this host, from one job to the next."""
    folder: Path = settings.RUNS_DIR / "features" / project
    return folder


def forget_features(old: datetime | None) -> None:
    """Remove those of projects that are no more, and those that no run has read or written since ``old``."""
    folders = [folder for folder in features_folder("").glob("*") if folder.is_dir()]
    projects = set(Project.objects.filter(pk__in=[f.name for f in folders]).values_list("pk", flat=True))
    kept = projects
    if old:
        recent = Q(finished_at=None) | Q(finished_at__gt=old)
        jobs = TrainingJob.objects.filter(recent, project__in=projects)
        kept = set(jobs.values_list("project", flat=True))
    for folder in folders:
        if folder.name not in kept:
            shutil.rmtree(folder, ignore_errors=True)


class Hourly:
    """``expire`` once an hour, on a host without a sweeper; not after the clock has jumped."""

    def __init__(self) -> None:
        self._due_at = 0.0
        self._clock = time.time() - time.monotonic()

    def expire_if_due(self) -> None:
        now = time.monotonic()
        clock = time.time() - now
        jumped, self._clock = abs(clock - self._clock) > JUMP_SECONDS, clock
        if jumped:
            logger.warning("The clock has jumped: no run's folder is removed for an hour.")
            self._due_at = now + HOUR
        if now < self._due_at:
            return
        self._due_at = now + HOUR
        if removed := expire():
            logger.info("%d folders of old runs were removed.", removed)
