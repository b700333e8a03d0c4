"""Redis and PostgreSQL of a test's own, which it may kill, freeze and start again."""

import os
import secrets
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import psycopg

from conftest import accepts, free_port, require, wait_until


class Server:
    """A process that listens on a port of its own; what it is, the heirs say."""

    name = "The server"

    def __init__(self) -> None:
        self.port = free_port()
        self.folder = Path(tempfile.mkdtemp(prefix="server-"))
        self.process: subprocess.Popen[bytes] | None = None

    def argv(self) -> list[str]:
        raise NotImplementedError

    def start(self) -> None:
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                self.argv(), cwd=self.folder, stdout=log, stderr=log, start_new_session=True, **self.person()
            )
        wait_until(self.is_ready, self.name, 120)

    def is_ready(self) -> bool:
        return accepts(self.port)

    def person(self) -> dict[str, Any]:
        return {}

    def signal(self, number: int) -> None:
        assert self.process
        os.kill(self.process.pid, number)

    def kill(self) -> None:
        """End it at once, in the way that leaves least time to clean up."""
        if self.process:
            self.signal(signal.SIGKILL)
            self.process.wait(30)
            self.process = None

    def freeze(self) -> None:
        """It keeps its connections and accepts new ones, and says nothing more."""
        self.signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self.signal(signal.SIGCONT)

    def destroy(self) -> None:
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)


class Redis(Server):
    """Keeps nothing on disk: what it held is gone when it is killed."""

    name = "Redis"

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def argv(self) -> list[str]:
        options = ["--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
        return [require("needs_redis"), *options]


class Postgres(Server):
    """A cluster with one empty database; it keeps what was committed, as in production."""

    name = "PostgreSQL"

    def __init__(self) -> None:
        super().__init__()
        self.programs = require("needs_postgres")
        self.password = secrets.token_hex(8)
        (self.folder / "password").write_text(self.password)
        if self.person():
            shutil.chown(self.folder, "postgres")
            shutil.chown(self.folder / "password", "postgres")
        initdb = [self.programs / "initdb", "--pgdata", self.folder / "data", "--username", "tests"]
        initdb += ["--pwfile", self.folder / "password", "--auth", "scram-sha-256", "--encoding", "UTF8"]
        quiet: dict[str, Any] = {"cwd": self.folder, "stdout": subprocess.DEVNULL}
        subprocess.run([*initdb, "--no-sync"], check=True, **quiet, **self.person())

    @property
    def url(self) -> str:
        return f"postgres://tests:{self.password}@127.0.0.1:{self.port}/postgres"

    def person(self) -> dict[str, Any]:
        # PostgreSQL refuses to run as root.
        if os.geteuid():
            return {}
        return {"user": "postgres", "group": "postgres", "extra_groups": []}

    def is_ready(self) -> bool:
        try:
            with psycopg.connect(self.url, connect_timeout=5):
                return True
        except psycopg.OperationalError:
            return False  # it reads its log

    def argv(self) -> list[str]:
        options = ["-D", str(self.folder / "data"), "-p", str(self.port), "-k", str(self.folder)]
        return [str(self.programs / "postgres"), *options, "-c", "listen_addresses=127.0.0.1"]

    def kill(self) -> None:
        """Immediate shutdown: every connection breaks, nothing is tidied up, the log is replayed."""
        if self.process:
            self.signal(signal.SIGQUIT)
            self.process.wait(30)
            self.process = None
