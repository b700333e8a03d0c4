"""A folder for a run of the tests; in it a VAR_DIR for each of its processes, and what they share."""

import atexit
import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

# Which process of the run this is: gw0, gw1, ..., or none.
WORKER = os.environ.get("PYTEST_XDIST_WORKER", "")
NUMBER = int(WORKER.removeprefix("gw") or 0)


# A file system in memory, where waiting for a disk and deleting cost nothing.
MEMORY = Path("/dev/shm")
MEMORY_BYTES = 8 * 2**30  # that must be free


def use_memory() -> None:
    """Let this process and those that it starts keep temporary files in memory, where there is enough."""
    if "TMPDIR" in os.environ or not os.access(MEMORY, os.W_OK):
        return
    system = os.statvfs(MEMORY)
    runs_programs = not system.f_flag & os.ST_NOEXEC
    if runs_programs and system.f_bavail * system.f_frsize >= MEMORY_BYTES:
        os.environ["TMPDIR"] = str(MEMORY)
        tempfile.tempdir = None  # ask for it again


def run_folder() -> Path:
    """Made by the first process of the run; those that it starts inherit its name."""
    if "TESTS_FOLDER" not in os.environ:
        use_memory()
        os.environ["TESTS_FOLDER"] = tempfile.mkdtemp(prefix="cifarsite-tests-")
        atexit.register(shutil.rmtree, os.environ["TESTS_FOLDER"], ignore_errors=True)
    return Path(os.environ["TESTS_FOLDER"])


def begin() -> None:
    """Give this process a VAR_DIR of its own, before Django's settings are read."""
    var = run_folder() / f"var{WORKER}"
    (var / "static").mkdir(parents=True, exist_ok=True)  # where whitenoise looks
    os.environ["VAR_DIR"] = str(var)


def once(name: str, make: Callable[[Path], object]) -> Path:
    """A folder that ``make`` fills for the first test of the run that wants it; all others only read it."""
    folder = run_folder() / name
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            part = folder.with_suffix(".part")
            shutil.rmtree(part, ignore_errors=True)
            part.mkdir()
            make(part)
            part.rename(folder)
    return folder


def synthetic_cifar10() -> Path:
    """A folder in CIFAR-10's official binary layout whose images a small network can learn."""
    from training.engine.tests.data.synthetic import write_binary

    return once("cifar10", write_binary) / "cifar-10-batches-bin"
