"""Starts a training run as a process of its own, keeps its lease, and ends it when asked.

Only that process imports TensorFlow. It leads a session of its own, and Linux kills it when the
worker that started it is killed.
"""

from __future__ import annotations

import errno
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import structlog
from django.conf import settings
from django.db import Error, connection
from structlog.contextvars import bound_contextvars

from cifarsite.core import leases, metrics
from training.jobs import lifecycle, notifications, ownership
from training.models import TrainingJob

logger = logging.getLogger(__name__)
log = structlog.get_logger(__name__)

LOOK_SECONDS = 0.5
# How long a process has after TERM before it is killed.
GRACE_SECONDS = 5.0
OUT_OF_MEMORY = "The machine ran out of memory and killed the run: choose a smaller batch_size."
DISK_FULL = "The disk is full: make room, then try the job again."


def train_next(worker: str, is_shutting_down: Callable[[], bool] = lambda: False) -> int:
    """Train waiting jobs one after the other until there is none, or ``is_shutting_down`` says so.

    Returns:
        How many jobs were taken.
    """
    taken = 0
    while not is_shutting_down():
        job = ownership.claim_next(worker)
        if job is None:
            break
        taken += 1
        with bound_contextvars(request_id=job.request_id, job=job.pk):
            log.info("training", recipe=job.recipe, attempt=job.attempt, worker=worker)
            supervise(job, is_shutting_down)
            job.refresh_from_db(fields=["state"])
            log.info("trained", state=job.state)
            if job.is_over:
                metrics.JOBS_ENDED.labels(job.state).inc()
    return taken


def supervise(job: TrainingJob, is_shutting_down: Callable[[], bool] = lambda: False) -> None:
    """See a claimed job through: start its process, watch, and write down how it ended.

    Args:
        is_shutting_down: true when the worker shall end; the job is then put back, free of charge.
    """
    said = lifecycle.run_folder(job) / f"process-{job.attempt}.txt"
    killed_before = _out_of_memory_kills()
    try:
        process = _start(job, said)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        ownership.fail(job, "disk_full", DISK_FULL)
        notifications.tell_requester(job)
        return
    with Heartbeat(job) as heartbeat:
        why = _watch(job, process, heartbeat, is_shutting_down)
        _end(process)
        if heartbeat.lost.is_set():
            logger.warning("Job #%s was taken over by another worker.", job.pk)
            return
        try:
            if why == "cancelled":
                ownership.finish(job, TrainingJob.State.CANCELLED)
            elif why == "ending":
                ownership.release(job, "Its worker was asked to end.")
            elif process.returncode == -signal.SIGKILL and _out_of_memory_kills() > killed_before:
                ownership.fail(job, "out_of_memory", OUT_OF_MEMORY, _tail(said))
            else:
                _note_crash(job, process.returncode, _tail(said))
        except ownership.ClaimLost:
            # The usual end: the process has written its last state itself.
            pass
    notifications.tell_requester(job)


class Heartbeat:
    """Renews a job's lease in a thread of its own; ``lost`` is set when somebody else has the job."""

    def __init__(self, job: TrainingJob) -> None:
        self.job = job
        self.lost = threading.Event()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True)

    def __enter__(self) -> Heartbeat:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        self._thread.join()

    def _beat(self) -> None:
        try:
            while not self._over.wait(settings.HEARTBEAT_SECONDS):
                try:
                    if not leases.renew(self.job):
                        # Over, or somebody else's: a row without a claim is nobody's.
                        if TrainingJob.objects.filter(pk=self.job.pk, claim__isnull=False).exists():
                            self.lost.set()
                        return
                except Error:
                    logger.warning("The lease of job #%s could not be renewed yet.", self.job.pk)
                    connection.close()
        finally:
            connection.close()


def _start(job: TrainingJob, said: Path) -> subprocess.Popen[bytes]:
    said.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, str(settings.BASE_DIR / "manage.py"), "run_training", str(job.pk)]
    with said.open("wb") as file:
        return subprocess.Popen(
            [*command, str(job.claim), "--parent", str(os.getpid())],
            cwd=settings.BASE_DIR,
            env={"TF_CPP_MIN_LOG_LEVEL": "2", **os.environ},
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def _watch(
    job: TrainingJob,
    process: subprocess.Popen[bytes],
    heartbeat: Heartbeat,
    is_shutting_down: Callable[[], bool],
) -> str:
    """Wait until the process ends, or shall end; say which: exited, cancelled, ending, lost."""
    over_since: float | None = None
    while True:
        try:
            process.wait(LOOK_SECONDS)
            return "exited"
        except subprocess.TimeoutExpired:
            pass
        if heartbeat.lost.is_set():
            return "lost"
        if is_shutting_down():
            return "ending"
        try:
            cancelled, claim = TrainingJob.objects.values_list("cancel_requested", "claim").get(pk=job.pk)
            if claim == job.claim and cancelled:
                return "cancelled"
            if claim != job.claim:
                # It has written its last state, or may write no more: it only has to end.
                over_since = over_since or time.monotonic()
                if time.monotonic() - over_since > GRACE_SECONDS:
                    return "exited"
        except Error:
            connection.close()


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the process and what it started: TERM, a while, KILL."""
    for number, seconds in ((signal.SIGTERM, GRACE_SECONDS), (signal.SIGKILL, None)):
        try:
            os.killpg(process.pid, number)
        except (ProcessLookupError, PermissionError):
            break  # nobody of the group is left
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            continue
    process.wait()


def _note_crash(job: TrainingJob, returncode: int, tail: str) -> None:
    if "bad_alloc" in tail:
        ownership.fail(job, "out_of_memory", OUT_OF_MEMORY, tail)
    elif returncode < 0:
        name = signal.Signals(-returncode).name
        ownership.crashed(job, f"The training process was killed by {name}.", tail)
    else:
        ownership.crashed(job, f"The training process ended with exit status {returncode}.", tail)


def _tail(file: Path, size: int = 8_000) -> str:
    try:
        return file.read_bytes()[-size:].decode(errors="replace")
    except OSError:
        return ""


def _out_of_memory_kills() -> int:
    """How often Linux killed something here for want of memory; 0 where it does not say."""
    try:
        lines = Path("/sys/fs/cgroup/memory.events").read_text().splitlines()
    except OSError:
        try:
            lines = Path("/proc/vmstat").read_text().splitlines()
        except OSError:
            return 0
    counts = dict(line.split()[:2] for line in lines)
    return int(counts.get("oom_kill", 0))
