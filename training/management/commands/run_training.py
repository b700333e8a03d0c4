import ctypes
import gc
import os
import resource
import signal
import sys
from argparse import ArgumentParser
from typing import Any
from uuid import UUID

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from training.models import TrainingJob

PR_SET_PDEATHSIG = 1


class Command(BaseCommand):
    help = "Train a job that a worker has claimed. Workers start this; people use 'manage.py train'."
    # The worker that starts it has checked already.
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("job", type=int)
        parser.add_argument("claim", type=UUID, help="The worker's claim: without it nothing is written.")
        parser.add_argument("--parent", type=int, help="End when this process is gone.")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["parent"]:
            end_with(options["parent"])
        limit_memory(settings.TRAINING_MEMORY_MB)
        # Somebody waits for each answer, nobody for an epoch.
        os.nice(settings.TRAINING_NICE)
        job = TrainingJob.objects.filter(pk=options["job"], claim=options["claim"]).first()
        if job is None:
            raise CommandError("This claim on the job is no longer valid.")
        # Only now: it imports TensorFlow.
        from training.jobs import ownership, trainer

        lost = ""
        try:
            trainer.run(job)
        except ownership.ClaimLost as error:
            lost = str(error)
        if lost:
            # Outside of the handler, see manage.py train: what the exception holds has to go first.
            gc.collect()
            raise CommandError(lost)


def end_with(parent: int) -> None:
    """Have Linux kill this process when the worker that started it dies."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        raise CommandError("The worker that started this run has ended.")


def limit_memory(megabytes: int) -> None:
    """Refuse this process more memory of its own than that; 0: no limit."""
    if megabytes:
        limit = megabytes * 2**20
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
