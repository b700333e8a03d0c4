"""The key that signs sessions is made once, by whichever process is first."""

import os
import subprocess
import sys
from pathlib import Path

from conftest import ROOT

PROCESSES = 24
# Many processes that find no key; each takes a while to make one.
CODE = f"""
import multiprocessing, secrets, time
from cifarsite import environment, settings

make = secrets.token_urlsafe

def slowly(size):
    time.sleep(0.2)
    return make(size)

def key(number):
    together.wait()
    return environment.kept_secret_key(settings.VAR_DIR / "secret_key")

(settings.VAR_DIR / "secret_key").unlink()
secrets.token_urlsafe = slowly
fork = multiprocessing.get_context("fork")
together = fork.Barrier({PROCESSES})
with fork.Pool({PROCESSES}) as pool:
    print(*pool.map(key, range({PROCESSES}), chunksize=1))
"""


def test_processes_that_start_at_once_agree_on_one_whole_key(tmp_path: Path) -> None:
    environment = {**os.environ, "VAR_DIR": str(tmp_path), "SECRET_KEY": ""}
    done = subprocess.run(
        [sys.executable, "-c", CODE], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    keys = done.stdout.split()
    assert len(keys) == PROCESSES
    assert set(keys) == {(tmp_path / "secret_key").read_text()}
    assert len(keys[0]) > 80
    # Nothing is left beside it.
    assert [file.name for file in tmp_path.glob("*secret_key*")] == ["secret_key"]
