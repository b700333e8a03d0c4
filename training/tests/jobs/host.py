"""A host for tests of training: short leases, the tiny recipe, made-up images; what its rows say."""

import json
import signal
import sqlite3
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

from cifarsite.tests import hosts
from cifarsite.tests.hosts import Process
from conftest import ROOT, wait_until


class Host(hosts.Host):
    """Runs the project's own commands in ``folder``, with the tiny recipe and made-up images."""

    def __init__(self, folder: Path, cifar10: Path) -> None:
        super().__init__(
            folder,
            CIFAR10_DIR=cifar10,
            EXTRA_RECIPES="training.tests.tiny_recipe",
            LEASE_SECONDS=4,
            TRAINING_NICE=0,
            REPORT_DISTORTED_IMAGES=10,
            SYNTHETIC_OOD_IMAGES=3,
        )
        self.migrate()

    def begin(self, *words: str) -> subprocess.Popen[str]:
        """Start a command whose output is read by the test, and which Ctrl-C reaches."""
        return subprocess.Popen(
            [sys.executable, "manage.py", *words],
            cwd=ROOT,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
            # A shell that runs the tests in the background has them, and so this, ignore Ctrl-C.
            preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
        )

    def shell(self, code: str) -> str:
        code = f"from training.jobs import lifecycle as jobs\nfrom training.models import *\n{code}"
        return super().shell(code).strip()

    def request(self, **parameters: float) -> int:
        """Ask for a run of the tiny recipe; the job's number."""
        asked = f"jobs.request_training(recipe='tiny', parameters={parameters!r}, by=None).pk"
        said = self.shell(f"print('job', {asked})")
        return int(next(line for line in said.splitlines() if line.startswith("job ")).split()[1])

    def verb(self, name: str, job: int) -> None:
        self.shell(f"jobs.{name}(TrainingJob.objects.get(pk={job}))")

    def rows(self, query: str, *values: object) -> list[sqlite3.Row]:
        with self.sqlite() as database:
            database.row_factory = sqlite3.Row
            return database.execute(query, values).fetchall()

    def job(self, pk: int) -> sqlite3.Row:
        return self.rows("SELECT * FROM training_trainingjob WHERE id = ?", pk)[0]

    def epochs(self, pk: int) -> list[int]:
        found = self.rows("SELECT number FROM training_epoch WHERE job_id = ? ORDER BY number", pk)
        return [row["number"] for row in found]

    def events(self, pk: int) -> list[str]:
        return [
            row["what"]
            for row in self.rows("SELECT what FROM training_jobevent WHERE job_id = ? ORDER BY id", pk)
        ]

    def models(self, pk: int) -> list[dict[str, Any]]:
        found = self.rows("SELECT card FROM training_modelversion WHERE job_id = ?", pk)
        return [json.loads(row["card"]) for row in found]

    def wait_for_state(self, pk: int, *states: str, seconds: float = 300) -> None:
        wait_until(lambda: self.job(pk)["state"] in states, f"job {pk} {states}", seconds)

    def wait_for_row(self, pk: int) -> None:
        query = "SELECT id FROM training_trainingjob WHERE id = ?"
        wait_until(lambda: bool(self.rows(query, pk)), f"job {pk}", 60)

    def wait_for_epoch(self, pk: int, number: int, seconds: float = 300) -> None:
        wait_until(lambda: number in self.epochs(pk), f"epoch {number} of job {pk}", seconds)

    def start_worker(self, name: str = "train", queues: str = "train") -> Process:
        return super().start_worker(name, queues)

    def training_processes(self, pk: int) -> list[int]:
        """Processes that train this job on this host."""
        return training_processes(self.folder, pk)


def training_processes(var_dir: Path, pk: int) -> list[int]:
    """Processes that train a job of the site whose data folder it is."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().split(b"\0")
            mine = f"VAR_DIR={var_dir}".encode() in (folder / "environ").read_bytes().split(b"\0")
            if mine and b"run_training" in words and str(pk).encode() in words:
                found.append(int(folder.name))
        except OSError:
            continue
    return found
