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


def fastest_folder() -> str:
    """Where temporary files lie: in memory, where there is enough of it, unless TMPDIR says otherwise."""
    if "TMPDIR" not in os.environ and os.access(MEMORY, os.W_OK):
        system = os.statvfs(MEMORY)
        runs_programs = not system.f_flag & os.ST_NOEXEC
        if runs_programs and system.f_bavail * system.f_frsize >= MEMORY_BYTES:
            return str(MEMORY)
    return tempfile.gettempdir()


def run_folder() -> Path:
    """Made by the first process of the run; those that it starts inherit its name.

    All temporary files lie in it, also what killed processes leave; only files of tests that failed stay.
    """
    if "TESTS_FOLDER" not in os.environ:
        place = fastest_folder()
        folder = Path(tempfile.mkdtemp(prefix="cifarsite-tests-", dir=place))
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        folder.chmod(0o755)  # PostgreSQL, which runs as somebody else, passes through
        (folder / "tmp").mkdir()
        os.environ |= {
            "TESTS_FOLDER": str(folder),
            "TMPDIR": str(folder / "tmp"),
            "PYTEST_DEBUG_TEMPROOT": place,
        }
        tempfile.tempdir = None  # so that Python looks for it again
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
