"""Starts the site's processes, starts again what dies, and leaves nothing behind.

One thread and the standard library only. The processes are ended in three ways, each for what the
one before it misses: by this process on Ctrl-C, TERM or the death of its own parent; by a guard,
forked at the start, when this process is killed outright; by Linux' parent-death signal when both are.
"""

import errno
import fcntl
import os
import secrets
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from cifarsite import guard
from cifarsite.bootstrap import end_with_parent, refuse_taken_port, stop, wanted_port

ROOT = Path(__file__).resolve().parent.parent
VAR_DIR = Path(os.environ.get("VAR_DIR") or ROOT / "var").resolve()
LONGEST_PAUSE = 30
# On two cores their start would delay the first answer.
LATER, LATER_SECONDS = ("train", "sweeper"), 8
# What lived this many seconds was well: the pause before its next start is a short one again.
WELL_AFTER = 60


def commands(port: int) -> dict[str, list[str]]:
    """What runs side by side, by name; `web` is what people reach."""
    # --keep-alive: longer than programs usually keep a connection for the next request (5 s): one that
    # the server closes at that moment is reset.
    web = (
        f"-m gunicorn cifarsite.wsgi --bind 127.0.0.1:{port} --workers 2 --threads 24 "
        "--worker-class cifarsite.web.gunicorn_worker.Worker --timeout 60 --graceful-timeout 10 "
        "--keep-alive 15 --log-level warning --no-control-socket --preload"
    )
    # --skip-checks: they are `manage.py check`'s; here they would cost each start their time.
    worker = (
        "-m celery --quiet -A cifarsite --skip-checks worker --loglevel INFO --concurrency 1 "
        "--prefetch-multiplier 1 --without-gossip --without-mingle"
    )
    # Where root runs this, say in a container, Celery's advice is not repeated at each start.
    quiet = [sys.executable, "-W", "ignore:You're running the worker", *worker.split()]
    return {
        "web": [sys.executable, *web.split()],
        "predict": [*quiet, "--queues", "predict,batch,default", "--hostname", "predict@%h"],
        "train": [*quiet, "--queues", "train", "--hostname", "train@%h"],
        "sweeper": [sys.executable, "manage.py", "recover", "--every"],
    }


def say(text: str) -> None:
    try:
        print(text, flush=True)
    except OSError:
        pass  # the terminal is gone; the processes still have to be ended


@dataclass
class Child:
    """One of the processes, and how it fares."""

    name: str
    argv: list[str]
    process: "subprocess.Popen[bytes] | None" = None
    unsaid: bytes = b""
    started: float = 0.0
    starts_at: float = 0.0
    pause: float = 0.5


class Supervisor:
    """Runs the processes of one site until it is told to stop."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.run = secrets.token_hex(8)
        self.parent = os.getppid()
        self.children = [Child(name, argv) for name, argv in commands(port).items()]
        self.groups: list[int] = []
        self.is_preparing = False
        self.stop_requests = 0
        self.last_request = 0.0
        self.to_guard = guard.start_guard(self.run)
        # Made after the guard, which would hold it open.
        self.prepared, self.to_prepared = os.pipe()
        self.environment = {
            "TF_CPP_MIN_LOG_LEVEL": "2",  # TensorFlow's greetings are not warnings
            **os.environ,
            guard.MARK: self.run,
            guard.PREPARED: str(self.prepared),
            "PYTHONUNBUFFERED": "1",
        }
        self.selector = selectors.DefaultSelector()
        waking, woken = os.pipe()
        os.set_blocking(waking, False)
        os.set_blocking(woken, False)
        self.selector.register(waking, selectors.EVENT_READ)
        signal.set_wakeup_fd(woken, warn_on_full_buffer=False)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self.ask_to_stop)
        signal.signal(signal.SIGCHLD, lambda number, frame: None)  # only to wake up

    def ask_to_stop(self, number: int, frame: FrameType | None) -> None:
        # One Ctrl-C may arrive twice, from the terminal and from make.
        if time.monotonic() - self.last_request > 1:
            self.stop_requests += 1
            self.last_request = time.monotonic()

    # --- one process ------------------------------------------------------------------------

    def start(self, argv: list[str], output: int | None) -> "subprocess.Popen[bytes]":
        process = subprocess.Popen(
            argv,
            cwd=ROOT,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT if output else None,
            start_new_session=True,
            preexec_fn=end_with_parent,
            pass_fds=[self.prepared],
        )
        self.groups.append(process.pid)
        self.tell_guard(f"+{process.pid}")
        return process

    def tell_guard(self, line: str) -> None:
        try:
            os.write(self.to_guard, line.encode() + b"\n")
        except BrokenPipeError:
            pass  # somebody killed the guard; the parent-death signal remains

    def forget(self, process: "subprocess.Popen[bytes]") -> None:
        """What an ended process left in its group goes too, before anything takes its place."""
        guard.signal_process(os.killpg, signal.SIGKILL, process.pid)
        self.groups.remove(process.pid)
        self.tell_guard(f"-{process.pid}")

    def launch(self, child: Child) -> None:
        reading, writing = os.pipe()
        child.process = self.start(child.argv, writing)
        os.close(writing)
        child.started = time.monotonic()
        self.selector.register(reading, selectors.EVENT_READ, child)

    def look_after(self, child: Child) -> None:
        now = time.monotonic()
        if child.process is None:
            if child.starts_at and now >= child.starts_at:
                self.launch(child)
        elif child.process.poll() is not None:
            status = child.process.returncode
            ended = f"was killed by signal {-status}" if status < 0 else f"ended with status {status}"
            if now - child.started > WELL_AFTER:
                child.pause = 0.5
            child.pause = min(child.pause * 2, LONGEST_PAUSE)
            say(f"{child.name} {ended}; it starts again in {child.pause:g} s.")
            self.forget(child.process)
            child.process, child.starts_at = None, now + child.pause

    # --- all of them ------------------------------------------------------------------------

    def wait(self, seconds: float) -> None:
        """Pass on what the processes print, until something happens or the time is over."""
        for key, _ in self.selector.select(seconds):
            data = os.read(key.fd, 65536)
            if key.data is not None:
                self.pass_on(key.fd, key.data, data)
        if os.getppid() != self.parent and not self.stop_requests:
            self.stop_requests = 1

    def pass_on(self, pipe: int, child: Child, data: bytes) -> None:
        if not data:
            self.selector.unregister(pipe)
            os.close(pipe)
        child.unsaid += data
        if not self.is_preparing:
            self.tell(child, over=not data)

    def tell(self, child: Child, over: bool) -> None:
        *lines, child.unsaid = child.unsaid.split(b"\n")
        if child.unsaid and (over or len(child.unsaid) > 65536):
            lines, child.unsaid = [*lines, child.unsaid], b""
        for line in filter(bytes.strip, lines):
            say(f"{child.name:<8}| {line.decode(errors='replace')}")

    def prepare(self) -> int:
        """Bring database, files, model and first admin up to date; returns the exit status.

        The web server loads beside it and listens when it has succeeded, see ``cifarsite.wsgi``; what
        it complains of meanwhile is told only then, since a preparation that fails says it better.
        """
        self.is_preparing, web = True, self.children[0]
        process = self.start([sys.executable, "manage.py", "prepare"], None)
        self.launch(web)
        while process.poll() is None:
            self.wait(1)
            if self.stop_requests:
                process.terminate()
        self.forget(process)
        if process.returncode == 0:
            os.close(self.to_prepared)
            self.is_preparing = False
            self.tell(web, over=False)
        elif web.process:
            web.process.kill()
            web.process.wait()
        return process.returncode

    def serve(self) -> None:
        now = time.monotonic()
        for child in self.children:
            if child.process is None:
                child.starts_at = now + (LATER_SECONDS if child.name in LATER else 0)
        announced = False
        while not self.stop_requests:
            for child in self.children:
                self.look_after(child)
            if not announced and answers(self.port):
                announced = True
                say(f"\n    The site is at http://localhost:{self.port}/ (Ctrl-C ends it)\n")
            self.wait(1 if announced else 0.05)

    def end(self) -> None:
        living = [child.process for child in self.children if child.process and child.process.poll() is None]
        if living:
            say(f"\nStopping: work in hand gets {guard.SECONDS_TO_FINISH} s to finish (Ctrl-C again: none).")
        for process in living:
            process.terminate()
        deadline = time.monotonic() + guard.SECONDS_TO_FINISH
        asked_rest = False
        while time.monotonic() < deadline and self.stop_requests < 2:
            if all(process.poll() is not None for process in living):
                if not guard.anything_lives(self.groups, self.run):
                    break
                if not asked_rest:
                    for pid in guard.marked(self.run):
                        guard.signal_process(os.kill, signal.SIGTERM, pid)
                    asked_rest = True
            self.wait(0.1)
        for child in self.children:
            if child.process and child.process.poll() is None:
                say(f"{child.name} did not finish in time and is killed.")
        guard.kill_what_is_left(self.groups, self.run)
        self.tell_guard("done")
        if living:
            say("Stopped.")


def answers(port: int) -> bool:
    """Does the web server answer a request, whatever it says?"""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=0.25) as connection:
            connection.sendall(b"GET /healthz HTTP/1.0\r\nHost: localhost\r\n\r\n")
            return connection.recv(5) == b"HTTP/"
    except OSError:
        return False


def refuse_unwritable_folder() -> None:
    """A full disk is better told now than by four processes at once."""
    probe = VAR_DIR / f".probe-{os.getpid()}"
    try:
        VAR_DIR.mkdir(parents=True, exist_ok=True)
        try:
            with probe.open("wb") as file:
                file.write(bytes(1 << 20))
                os.fsync(file.fileno())
        finally:
            probe.unlink(missing_ok=True)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            stop(f"The disk that holds {VAR_DIR} is full: free some space, or set VAR_DIR.")
        stop(f"{VAR_DIR} cannot be written ({error.strerror}): give it to this user, or set VAR_DIR.")


def lock_folder(port: int) -> int:
    """One site a folder: two would share the workers' names and messages. Returns the lock's descriptor."""
    lock = os.open(VAR_DIR / "run.lock", os.O_RDWR | os.O_CREAT, 0o644)
    for patience in range(guard.SECONDS_TO_FINISH * 10 + 50, -1, -1):
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pid, other_port = (os.pread(lock, 100, 0).decode() or "? ?").split()
            # Killed outright: its guard still holds the lock while it ends the rest.
            if patience and not Path(f"/proc/{pid}").exists() and guard.HAS_PROC:
                time.sleep(0.1)
                continue
            stop(
                f"The site runs already on port {other_port}, with its data in {VAR_DIR} (process {pid}): "
                "end that, or give this one a port and a folder of its own: make run PORT=8001 VAR_DIR=/path"
            )
        break
    os.ftruncate(lock, 0)
    os.pwrite(lock, f"{os.getpid()} {port}\n".encode(), 0)
    return lock


def main() -> int:
    port = wanted_port()
    refuse_unwritable_folder()
    lock_folder(port)
    refuse_taken_port(port)
    supervisor = Supervisor(port)
    try:
        shutil.rmtree(VAR_DIR / "metrics", ignore_errors=True)  # what the last run counted
        status = supervisor.prepare()
        if status == 0:
            supervisor.serve()
    finally:
        supervisor.end()
    return 0 if supervisor.stop_requests else status


if __name__ == "__main__":
    sys.exit(main())
