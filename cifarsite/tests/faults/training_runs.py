"""Training runs of the tiny recipe on a site under test, and their processes."""

from pathlib import Path
from typing import Any

import pytest

from cifarsite.tests.faults.running import Site
from cifarsite.tests.hosts import Process
from conftest import wait_until
from training.tests.jobs.host import training_processes

needs_proc = pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="reads /proc, Linux has it")
TINY = "training.tests.tiny_recipe"


def training_site(sites: Any, cifar10: Path, **settings: object) -> Site:
    """Made-up images, short reports, a sweeper."""
    options = {"CIFAR10_DIR": cifar10, "EXTRA_RECIPES": TINY, **settings}
    site: Site = sites(REPORT_DISTORTED_IMAGES=10, SYNTHETIC_OOD_IMAGES=3, **options)
    site.start_sweeper()
    return site


def start_trainer(site: Site, name: str) -> Process:
    return site.start_worker(name, "train")


def request_job(site: Site, **parameters: float) -> int:
    asked = f"jobs.request_training(recipe='tiny', parameters={parameters!r}, by=None).pk"
    said = site.shell(f"from training.jobs import lifecycle as jobs\nprint('job', {asked})")
    return int(next(line for line in said.splitlines() if line.startswith("job ")).split()[1])


def job(site: Site, pk: int, column: str) -> Any:
    return site.one(f"SELECT {column} FROM training_trainingjob WHERE id = {pk}")


def epochs(site: Site, pk: int) -> list[int]:
    found = site.rows(f"SELECT number FROM training_epoch WHERE job_id = {pk} ORDER BY number")
    return [number for (number,) in found]


def events(site: Site, pk: int) -> list[str]:
    return [
        what for (what,) in site.rows(f"SELECT what FROM training_jobevent WHERE job_id = {pk} ORDER BY id")
    ]


def models(site: Site, pk: int) -> int:
    found: int = site.one(f"SELECT count(*) FROM training_modelversion WHERE job_id = {pk}")
    return found


def log(site: Site, pk: int) -> str:
    return (site.folder / "runs" / str(pk) / "log.txt").read_text()


def checkpoints(site: Site, pk: int) -> dict[str, bytes]:
    """Whole checkpoints, oldest first."""
    found = sorted((site.folder / "runs" / str(pk) / "checkpoints").glob("epoch-*.npz"))
    return {file.name: file.read_bytes() for file in found}


def wait_for_state(site: Site, pk: int, state: str, seconds: float = 200) -> None:
    wait_until(lambda: job(site, pk, "state") == state, f"job {pk} {state}", seconds)


def wait_for_epoch(site: Site, pk: int, number: int, seconds: float = 150) -> None:
    wait_until(lambda: len(epochs(site, pk)) >= number, f"epoch {number} of job {pk}", seconds)


def process_of(site: Site, pk: int, after: int = 0, seconds: float = 60) -> int:
    """The process that trains the job, waited for; another one than ``after``, which was killed."""
    found: list[int] = []

    def is_there() -> bool:
        found[:] = [pid for pid in training_processes(site.folder, pk) if pid != after]
        return bool(found)

    wait_until(is_there, f"a process that trains job {pk}", seconds)
    return found[0]
