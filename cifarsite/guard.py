"""Ends every process of one run, also where the supervisor is killed outright."""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

MARK = "CIFARSITE_RUN"
# Names the pipe that ends when `manage.py prepare` has succeeded.
PREPARED = "CIFARSITE_PREPARED"
HAS_PROC = Path("/proc/self/environ").exists()
# A training run needs some of this to write its checkpoint.
SECONDS_TO_FINISH = 15


def signal_process(send: Callable[[int, int], None], number: int, what: int) -> None:
    try:
        send(what, number)
    except (ProcessLookupError, PermissionError):
        pass  # it ended by itself meanwhile


def marked(run: str) -> list[int]:
    """Processes with this run's mark in their environment, those too that left their group (Linux)."""
    wanted = f"{MARK}={run}".encode()
    found = []
    for file in Path("/proc").glob("[0-9]*/environ"):
        try:
            if wanted in file.read_bytes().split(b"\0"):
                found.append(int(file.parent.name))
        except OSError:
            continue  # it ended, or belongs to another person
    return found


def anything_lives(groups: list[int], run: str) -> bool:
    if HAS_PROC:
        return bool(marked(run))
    for group in groups:
        try:
            os.killpg(group, 0)
        except (ProcessLookupError, PermissionError):
            continue  # macOS: no permission for a group of zombies
        return True
    return False


def kill_what_is_left(groups: list[int], run: str) -> None:
    for group in groups:
        signal_process(os.killpg, signal.SIGKILL, group)
    for pid in marked(run):
        signal_process(os.kill, signal.SIGKILL, pid)


def start_guard(run: str) -> int:
    """Fork a guard that ends the run if this process dies; it is told `+pid`, `-pid` and `done`."""
    reading, writing = os.pipe()
    if os.fork():
        os.close(reading)
        return writing
    os.setsid()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    os.close(writing)
    groups: list[int] = []
    with os.fdopen(reading) as lines:
        for line in lines:
            if line == "done\n":
                os._exit(0)
            elif line[0] == "+":
                groups.append(int(line))
            else:
                groups.remove(-int(line))
    # The supervisor was killed. As it would have done: TERM to the leaders, time to finish, KILL.
    for group in groups:
        signal_process(os.kill, signal.SIGTERM, group)
    deadline = time.monotonic() + SECONDS_TO_FINISH
    while time.monotonic() < deadline and anything_lives(groups, run):
        time.sleep(0.2)
    kill_what_is_left(groups, run)
    os._exit(0)
