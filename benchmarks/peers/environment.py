"""Environments for the peers, under the ignored ``var/``: made once, used again.

Each sees the project's packages behind its own (a ``.pth`` file), so that TensorFlow is neither
downloaded twice nor of another version; nothing is installed into the project's environment.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import sysconfig
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
ENVIRONMENTS = ROOT / "var" / "benchmarks" / "peers"
# Gradio asks for another Pillow than the project's (``requirements-gradio.txt``): it has one by itself.
REQUIREMENTS = {"fastapi": "requirements.txt", "gradio": "requirements-gradio.txt"}


class PeerMissing(Exception):
    """A peer cannot be installed here; the message says why."""


def python_of(peer: str) -> Path:
    """The Python of a peer's environment, made and filled where it is not there yet.

    Raises:
        PeerMissing: its packages cannot be had.
    """
    requirements = HERE / REQUIREMENTS[peer]
    folder = ENVIRONMENTS / peer
    python, stamp = folder / "bin" / "python", folder / "installed"
    shared = sysconfig.get_path("purelib")
    wanted = hashlib.sha256(f"{sys.version}{shared}".encode() + requirements.read_bytes()).hexdigest()
    if python.exists() and stamp.exists() and stamp.read_text() == wanted:
        return python
    print(f"Installing {peer} into {folder.relative_to(ROOT)}, once ...", flush=True)
    _run([sys.executable, "-m", "venv", "--clear", str(folder)], peer)
    own = folder / "lib" / f"python3.{sys.version_info.minor}" / "site-packages"
    (own / "project.pth").write_text(f"{shared}\n")
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input"]
    _run([*pip, "--requirement", str(requirements)], peer)
    stamp.write_text(wanted)
    return python


def _run(words: list[str], peer: str) -> None:
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines()[-3:]
        raise PeerMissing(f"{peer} cannot be installed: {' '.join(said)}")
