"""Turns a bare Python 3.11 into a ready virtual environment, then starts what was asked for.

Run by make as a plain script, before anything is installed: standard library only, and no syntax
that an older Python 3 cannot read, so that the wrong Python gets its sentence too.

    bootstrap.py run              install requirements.txt, then start the site
    bootstrap.py test [ARG...]    install requirements-dev.txt, then run pytest
    bootstrap.py install [FILE]   install only
"""

import sys

NEEDED = (3, 11)


def wrong_python(version: "tuple[int, ...]", executable: str) -> str:
    """The sentence for a Python that is not 3.11, or nothing."""
    if version[:2] == NEEDED:
        return ""
    return (
        "Python 3.11 is needed, {} is {}.{}: install python3.11, or name it: "
        "make PYTHON=/path/to/python3.11".format(executable or "this", version[0], version[1])
    )


if wrong_python(sys.version_info[:2], sys.executable):
    sys.exit(wrong_python(sys.version_info[:2], sys.executable))

import errno
import hashlib
import os
import shutil
import signal
import socket
import subprocess
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
VENV_PYTHON = VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
# What an installed environment takes, measured; asked for beforehand, not found out after minutes.
INSTALLED_MB = 2600
SIGNS_OF_NO_NETWORK = (
    "NewConnectionError",
    "ConnectionError",
    "ConnectTimeout",
    "ReadTimeout",
    "ProxyError",
    "SSLError",
    "Temporary failure in name resolution",
    "Network is unreachable",
)
CIFAR10 = ROOT / "var" / "cifar10"
CIFAR10_PACKED = ROOT.parent / "shared" / "cifar10" / "unpack.py"


def stop(sentence: str) -> "NoReturn":
    sys.stdout.flush()
    sys.exit(sentence)


def wanted_port() -> int:
    """The port in PORT; a wrong one ends the start."""
    text = os.environ.get("PORT") or "8000"
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= 65535):
        stop("PORT is {!r}, expected a number from 1 to 65535.".format(text))
    return int(text)


def refuse_taken_port(port: int) -> None:
    with socket.socket() as probe:
        # As the web server does, so that a connection of the last run that lingers is no obstacle.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except PermissionError:
            stop("Port {} is for the system's own programs: choose one from 1024 on.".format(port))
        except OSError:
            other = port + 1 if port < 65535 else 8000
            stop(
                "Port {} is taken by another program: end that, or choose another port: "
                "make run PORT={}".format(port, other)
            )


def requirement_files(name: str) -> "list[str]":
    """The file and all that it includes by -r."""
    found = [name]
    for line in (ROOT / name).read_text().splitlines():
        if line.startswith("-r "):
            found += requirement_files(line[3:].strip())
    return found


def stamp_of(name: str) -> "tuple[Path, str]":
    """Where it is noted what was installed for a requirements file, and what the note must say."""
    digest = hashlib.sha256(sys.version.encode())
    for file in requirement_files(name):
        digest.update((ROOT / file).read_bytes())
    return VENV / (name + ".installed"), digest.hexdigest()


def is_installed(name: str) -> bool:
    stamp, expected = stamp_of(name)
    return VENV_PYTHON.exists() and stamp.is_file() and stamp.read_text() == expected


def why_it_failed(output: str, doing: str) -> str:
    """One sentence for what pip or venv printed when it failed."""
    if "No space left on device" in output or "Errno 28" in output:
        return full_disk(VENV)
    if "ensurepip" in output:
        return "This Python lacks its venv module: install that (Debian: apt install python3.11-venv) first."
    if any(sign in output for sign in SIGNS_OF_NO_NETWORK):
        return (
            "The package index cannot be reached, and the first start needs it: connect to the network "
            "(or set PIP_INDEX_URL to an index near you), then try again. Later starts need no network."
        )
    last = [line for line in output.splitlines() if line.strip()][-5:]
    return "\n".join(last + ["{} failed: the lines above say why.".format(doing)])


def full_disk(path: Path) -> str:
    return (
        "The disk that holds {} is full: the first start needs about {:.1f} GB there; free some space, "
        "then try again.".format(path, INSTALLED_MB / 1000)
    )


def end_with_parent() -> None:
    """Have Linux end the calling process when its parent dies, however that dies."""
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # 1: PR_SET_PDEATHSIG


def run_quietly(argv: "list[str]", doing: str) -> None:
    """Run a step of the installation, showing only its larger downloads; a failure ends the start."""
    process = subprocess.Popen(
        argv,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        preexec_fn=end_with_parent,
    )
    output = []
    assert process.stdout
    for line in process.stdout:
        output.append(line)
        if "Downloading" in line and " MB)" in line:
            print("   " + line.strip(), flush=True)
    if process.wait():
        stop(why_it_failed("".join(output), doing))


def refuse_full_disk() -> None:
    used = sum(file.stat().st_size for file in VENV.rglob("*") if file.is_file()) if VENV.exists() else 0
    if (shutil.disk_usage(ROOT).free + used) / 1e6 < INSTALLED_MB:
        stop(full_disk(VENV))


def install(name: str) -> None:
    """Make .venv hold what a requirements file names; nothing to do when it was done before."""
    if is_installed(name):
        return
    refuse_full_disk()
    print("Installing {} into .venv: a minute or a few, once ...".format(name), flush=True)
    try:
        config = (VENV / "pyvenv.cfg").read_text() if (VENV / "pyvenv.cfg").exists() else ""
        if not VENV_PYTHON.exists() or "version = 3.11." not in config:
            run_quietly([sys.executable, "-m", "venv", "--clear", str(VENV)], "python -m venv")
        pip = [str(VENV_PYTHON), "-m", "pip", "install", "--disable-pip-version-check", "--no-input"]
        run_quietly(pip + ["--retries", "2", "-r", str(ROOT / name)], "pip install")
        for file in requirement_files(name):
            stamp, text = stamp_of(file)
            stamp.write_text(text)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            stop(full_disk(VENV))
        stop(".venv cannot be written: {}.".format(error))


def unpack_cifar10() -> None:
    """Point CIFAR10_DIR at the full data set where a packed copy lies beside the project."""
    if os.environ.get("CIFAR10_DIR"):
        return
    folder = CIFAR10 / "cifar-10-batches-bin"
    if CIFAR10_PACKED.exists():
        run_quietly([str(VENV_PYTHON), str(CIFAR10_PACKED), str(CIFAR10)], "Unpacking CIFAR-10")
    if (folder / "test_batch.bin").exists():
        os.environ["CIFAR10_DIR"] = str(folder)


def become(argv: "list[str]") -> "NoReturn":
    """Replace this process, so that signals and the exit status are those of what was started."""
    sys.stdout.flush()
    os.chdir(ROOT)
    os.execv(argv[0], argv)  # noqa: S606


def main(arguments: "list[str]") -> None:
    end_with_parent()  # holds for what this process becomes, too
    # A shell starts what runs in its background with Ctrl-C ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    verb, rest = (arguments[0], arguments[1:]) if arguments else ("", [])
    if verb == "run":
        port = wanted_port()
        if not is_installed("requirements.txt"):
            refuse_taken_port(port)
            install("requirements.txt")
        become([str(VENV_PYTHON), "-m", "cifarsite.supervisor"])
    elif verb == "test":
        install("requirements-dev.txt")
        unpack_cifar10()
        # Hundreds of processes are started, and each would compile the project anew.
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
        become([str(VENV_PYTHON), "-m", "pytest"] + rest)
    elif verb == "install":
        install(rest[0] if rest else "requirements.txt")
    else:
        stop(__doc__ or "")


if __name__ == "__main__":
    # A script's own folder comes first in the path, and this one's celery.py is not the library.
    sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != ROOT / "cifarsite"]
    try:
        main(sys.argv[1:])
    except KeyboardInterrupt:
        sys.exit("Stopped.")
