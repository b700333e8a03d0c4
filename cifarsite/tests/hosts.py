"""One host of a site in a folder of its own: the project's own commands as real processes."""

from __future__ import annotations

import json
import os
import secrets
import selectors
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import weakref
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import psycopg

from cifarsite import supervisor
from cifarsite.tests.run_folder import once
from conftest import ROOT, accepts, wait_until

Process = subprocess.Popen[bytes]
WORKER = ["-m", "celery", "-A", "cifarsite", "worker", "--loglevel", "INFO", "--concurrency", "1"]
WORKER += ["--prefetch-multiplier", "1", "--without-gossip", "--without-mingle"]
# The database with all tables, empty, on a server of PostgreSQL that the tests start.
TABLES = "tables_of_tests"
# Runs pieces of code, one JSON string a line, and answers each with whether it failed and what it wrote.
SHELL = """
import contextlib, io, json, sys, traceback
from django.db import connections
answers = sys.stdout
for code in map(json.loads, sys.stdin):
    failed, said = False, io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        try:
            exec(code, {"__name__": "__main__"})
        except BaseException:
            failed = True
            traceback.print_exc()
    connections.close_all()
    print(json.dumps([failed, said.getvalue()]), file=answers, flush=True)
"""
# The small one of the models that ship, so that workers start soon.
ONE_MODEL = """
import shutil, tempfile
from pathlib import Path
from training.registry import pretrained
_folder = Path(tempfile.mkdtemp())
shutil.copytree(pretrained.PRETRAINED_DIR / 'fast_cnn', _folder / 'fast_cnn')
pretrained.PRETRAINED_DIR, pretrained.SHIPPED_CHAMPION = _folder, 'fast_cnn'
pretrained.install_pretrained()
"""
PEOPLE = """
from cifarsite.test import make_user
from classifier.accounts.tokens import make_token
alice = make_user('alice', is_staff=True)
print('token', make_token(alice, scopes=['predict', 'read', 'train'])[1])
"""


class Host:
    """Commands and processes that share settings and a folder.

    Args:
        inside: what goes before each command, such as ``ip netns exec NAME``.
    """

    def __init__(self, folder: Path, *, inside: tuple[str, ...] = (), **settings: object) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.inside = folder, list(inside)
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("PYTEST")},
            "VAR_DIR": str(folder),
            "SECRET_KEY": "of-tests-" * 8,
            "DATABASE_URL": "",
            "BROKER_URL": "",
            "CACHE_URL": "",
            "STORAGE_URL": "",
            "EMAIL_URL": "dummymail://",
            "HEARTBEAT_SECONDS": "1",
            "LEASE_SECONDS": "6",
            "API_RATE_BURST": "100000",
            "API_RATE_SUSTAINED": "1000000",
            "CUDA_VISIBLE_DEVICES": "",
            "TF_CPP_MIN_LOG_LEVEL": "3",
            "PYTHONUNBUFFERED": "1",
            **{name: str(value) for name, value in settings.items()},
        }
        self.running: list[Process] = []
        self._shell: tuple[dict[str, str], Process] | None = None

    def manage(self, *words: str, expected: int = 0, **environment: str) -> str:
        """Run a command to its end; its output, both streams."""
        done = subprocess.run(
            [*self.inside, sys.executable, "manage.py", *words],
            cwd=ROOT,
            env={**self.environment, **environment},
            capture_output=True,
            text=True,
            timeout=900,
        )
        assert done.returncode == expected, done.stdout + done.stderr
        return done.stdout + done.stderr

    def shell(self, code: str) -> str:
        """Run code in a process that has loaded the site once; what it wrote."""
        process = self._running_shell()
        assert process.stdin and process.stdout
        process.stdin.write(json.dumps(code).encode() + b"\n")
        process.stdin.flush()
        with selectors.DefaultSelector() as selector:  # select() itself knows no descriptor beyond 1,023
            selector.register(process.stdout, selectors.EVENT_READ)
            assert selector.select(900), f"No answer to {code}"
        failed, said = json.loads(process.stdout.readline())
        assert not failed, said
        return str(said)

    def _running_shell(self) -> Process:
        if self._shell and self._shell[0] == self.environment and self._shell[1].poll() is None:
            return self._shell[1]
        argv = [*self.inside, sys.executable, "manage.py", "shell", "--no-imports", "-c", SHELL]
        with self.log("shell").open("ab") as log:
            process = subprocess.Popen(
                argv,
                cwd=ROOT,
                env=self.environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
            )
        weakref.finalize(self, end_by_silence, process)
        self._shell = dict(self.environment), process
        return process

    def ask(self, code: str) -> Any:
        """What ``code`` leaves in ``answer``."""
        said = self.shell(f"{code}\nimport json\nprint('answer', json.dumps(answer, default=str))")
        return json.loads(next(line for line in said.splitlines() if line.startswith("answer "))[7:])

    def sqlite(self, timeout: float = 20) -> closing[sqlite3.Connection]:
        """Its SQLite database, to look into, closed behind the block: the collector may take long for it."""
        return closing(sqlite3.connect(self.folder / "db.sqlite3", timeout=timeout))

    def migrate(self) -> None:
        """All tables, empty: a copy of what is made once a run."""
        if database := self.environment["DATABASE_URL"]:
            copy_tables(database)
        else:
            self.copy(empty_tables().parent)

    def make_tables(self) -> None:
        self.manage("migrate", "--verbosity", "0")
        self.manage("createcachetable")

    def collect_static(self) -> None:
        """The collected static files: a link to what is collected once a run of the tests."""
        words = ("collectstatic", "--noinput", "--verbosity", "0")
        made = once("static-files", lambda folder: Host(folder).manage(*words))
        (self.folder / "static").symlink_to(made / "static")

    def prepare(self) -> str:
        """Tables, one model, and Alice, who is staff; her token."""
        self.migrate()
        said = self.shell(ONE_MODEL + PEOPLE)
        return next(line for line in said.splitlines() if line.startswith("token ")).split()[1]

    def copy(self, folder: Path, *left_out: str) -> None:
        """Begin with what lies in the folder of another host, but its logs."""
        ignore = shutil.ignore_patterns("log-*", *left_out)
        shutil.copytree(folder, self.folder, ignore=ignore, dirs_exist_ok=True)

    def start(self, *argv: str, name: str) -> Process:
        """A leader of a group of its own; what it says lies in the folder."""
        with self.log(name).open("ab") as file:
            process = subprocess.Popen(
                [*self.inside, *argv],
                cwd=ROOT,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.running.append(process)
        return process

    def python(self, *words: str, name: str) -> Process:
        return self.start(sys.executable, *words, name=name)

    def serve(self, port: int) -> Process:
        """The web processes as `make run` starts them; returns when they listen."""
        web = self.start(*supervisor.commands(port)["web"], name="web")
        wait_until(lambda: accepts(port), "the web server", 90)
        return web

    def start_worker(self, name: str, queues: str = "predict,batch,default") -> Process:
        return self.python(*WORKER, "--queues", queues, "--hostname", f"{name}@test", name=name)

    def wait_for_worker(self, name: str) -> None:
        wait_until(lambda: f"{name}@test ready" in self.said(name), name, 180)

    def log(self, name: str) -> Path:
        return self.folder / f"log-{name}.txt"

    def said(self, name: str) -> str:
        return self.log(name).read_text(errors="replace") if self.log(name).exists() else ""

    def kill(self, process: Process) -> None:
        """Kill -9, and what it forked too."""
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass  # it ended by itself
        process.wait()
        self.running.remove(process)

    def ask_to_end(self, process: Process, seconds: float = 60) -> None:
        """TERM, as a supervisor or a machine that goes down sends it."""
        process.terminate()
        process.wait(seconds)
        self.running.remove(process)

    def destroy(self) -> None:
        for process in list(self.running):
            self.kill(process)
        if self._shell:
            end_by_silence(self._shell[1])


def empty_tables() -> Path:
    """A file of SQLite with all tables, empty, made once a run of the tests."""
    return once("tables", lambda folder: Host(folder).make_tables()) / "db.sqlite3"


def end_by_silence(process: Process) -> None:
    """End what runs until nothing more is said to it."""
    process.communicate()


def demo_site() -> Path:
    """A folder with what ``prepare`` and ``demo`` make, and what the demo said in ``said.txt``.

    People's password is ``PASSWORD`` of ``cifarsite.test``.
    """

    from cifarsite.test import PASSWORD  # needs Django, which is not there yet where hosts are imported

    def make(folder: Path) -> None:
        host = Host(folder, CIFAR10_DIR="", NEIGHBOUR_IMAGES=200)
        host.migrate()
        host.manage("prepare")
        (folder / "said.txt").write_text(host.manage("demo", "--password", PASSWORD))

    return once("demo", make)


def has_tables(server: str) -> bool:
    """Is there, on this server of PostgreSQL, what databases of tests are copied from?"""
    with psycopg.connect(server) as connection:
        asked = "SELECT 1 FROM pg_database WHERE datname = %s"
        return connection.execute(asked, [TABLES]).fetchone() is not None


def add_tables(server: str) -> None:
    """Make, on this server of PostgreSQL, what databases are copied from."""
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {TABLES}".encode())
    with tempfile.TemporaryDirectory() as folder:
        Host(Path(folder), DATABASE_URL=f"{server.rpartition('/')[0]}/{TABLES}").make_tables()


def copy_tables(database: str) -> None:
    """Make a database of PostgreSQL, empty so far, one with all tables."""
    server, _, name = database.rpartition("/")
    if not has_tables(f"{server}/postgres"):  # one that a benchmark has started
        add_tables(f"{server}/postgres")
    with psycopg.connect(f"{server}/postgres", autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {TABLES}".encode())


@contextmanager
def new_database(postgres_url: str) -> Iterator[str]:
    """An empty database on a server that runs; its URL."""
    name = f"site_{secrets.token_hex(4)}"
    with psycopg.connect(postgres_url, autocommit=True) as server:
        server.execute(f"CREATE DATABASE {name}".encode())
    try:
        yield postgres_url.rpartition("/")[0] + f"/{name}"
    finally:
        with psycopg.connect(postgres_url, autocommit=True) as server:
            server.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())
