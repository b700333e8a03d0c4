"""Check images in processes of their own: a decoder that crashes, hangs or eats memory harms one file.

``check_isolated`` is for web processes and workers. It hands the bytes to one of a few children
(``classifier.images.sandbox_child``), each on a socket pair, each answering one file at a time.
A child knows no settings and no secrets, may map 1 GiB, and is killed when it exceeds its time.
It ends when its parent does: its socket then reads as closed.

A message is a 4-byte length, JSON, and the byte strings whose lengths the JSON gives.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import logging
import os
import socket
import struct
import subprocess
import sys
import threading
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO

from classifier.images.decoding import Limits
from classifier.images.errors import ImageRefused
from classifier.images.training_copies import TrainingCopy
from classifier.images.validation import CheckedImage, limits_from_settings, read_limited
from training.engine.data.preprocessing import find_version

logger = logging.getLogger(__name__)

# As many as the process has cores to decode with; each may take some 100 MB.
CHILDREN = max(2, min(4, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 2))
SECONDS_A_FILE = 10.0
SECONDS_TO_START = 30.0
FILES_A_CHILD = 2_000  # then a fresh one: what a decoder leaks does not add up
BLOBS = ("display", "thumbnail", "input")
ROOT = Path(__file__).resolve().parents[2]
PASSED_ON = ("PATH", "HOME", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "PYTHONPATH", "TMPDIR")


class DecoderUnavailable(RuntimeError):
    """No decoder process could be started: the host's fault, not the file's."""


class Gone(Exception):
    """The child closed its end: it crashed, was killed or never started."""


def check_isolated(
    file: BinaryIO | bytes, *, preprocessing: str, limits: Limits | None = None, pool: Pool | None = None
) -> CheckedImage:
    """Do what ``check_image`` does, in a process apart. Safe in threads and after a fork.

    Limits are the site's unless given. It waits while all children are busy. A file that
    crashes its decoder is tried once more in a fresh child, since the first may have been hurt
    by an earlier file or killed from outside.

    Raises:
        ImageRefused: as ``check_image``; also when the decoder crashed or took too long.
        UnknownPreprocessing: ``preprocessing`` does not exist.
        DecoderUnavailable: no child could be started.
    """
    find_version(preprocessing)
    limits = limits or limits_from_settings()
    data = read_limited(file, limits)
    return (pool or _shared_pool()).check(data, preprocessing, limits)


def training_copy_isolated(
    file: BinaryIO | bytes, *, limits: Limits | None = None, pool: Pool | None = None
) -> TrainingCopy:
    """Do what ``make_training_copy`` does, in a process apart, as ``check_isolated`` does.

    Raises:
        ImageRefused, DecoderUnavailable: as ``check_isolated``.
    """
    limits = limits or limits_from_settings()
    data = read_limited(file, limits)
    answer, blobs = (pool or _shared_pool()).ask(data, {"preprocessing": None}, limits)
    return TrainingCopy(**answer, content=blobs[0])


class Pool:
    """Up to ``children`` decoder processes, started when needed.

    Args:
        children: how many at most.
        seconds: time for one file, from sending it to having the answer.
    """

    def __init__(self, children: int = CHILDREN, seconds: float = SECONDS_A_FILE) -> None:
        self.seconds = seconds
        self._free = threading.Semaphore(children)
        self._idle: list[_Child] = []
        self._all: set[_Child] = set()

    def check(self, data: bytes, preprocessing: str, limits: Limits) -> CheckedImage:
        answer, blobs = self.ask(data, {"preprocessing": preprocessing}, limits)
        return CheckedImage(**(answer | dict(zip(BLOBS, blobs, strict=True))))

    def ask(self, data: bytes, request: dict[str, Any], limits: Limits) -> tuple[dict[str, Any], list[bytes]]:
        """What a child makes of a file: figures, and files.

        Args:
            request: ``preprocessing``: its name; None: make a copy for training.

        Raises:
            ImageRefused: it makes nothing of it.
        """
        request = {**request, "limits": asdict(limits), "seconds": self.seconds}
        with self._free:
            for attempt in (1, 2):
                child = self._take(fresh=attempt == 2)
                try:
                    answer, blobs = child.ask(request, data, self.seconds)
                except TimeoutError:
                    logger.warning("decoder %d: no answer in %g s, killed", child.pid, self.seconds)
                    self._discard(child)
                    break
                except (Gone, OSError) as error:
                    self._discard(child)
                    logger.warning("decoder %d: died (%s), attempt %d", child.pid, error, attempt)
                    continue
                except BaseException:
                    self._discard(child)
                    raise
                self._give_back(child)
                if "reason" in answer:
                    raise ImageRefused.because(answer["reason"], **answer["figures"])
                return answer, blobs
        raise ImageRefused.because("too_costly")

    def pids(self) -> list[int]:
        """Return the process ids of the living children."""
        return [child.pid for child in list(self._all)]

    def close(self) -> None:
        """End all children; the pool may be used again afterwards."""
        for child in list(self._all):
            self._discard(child)

    def forget(self) -> None:
        """Let go of the children without ending them: after a fork they belong to the parent."""
        for child in self._all:
            child.forget()

    def _take(self, *, fresh: bool) -> _Child:
        while not fresh:
            try:
                child = self._idle.pop()  # the last used: its memory is warm
            except IndexError:
                break
            if child.is_alive():
                return child
            self._discard(child)
        child = _Child()
        self._all.add(child)
        return child

    def _give_back(self, child: _Child) -> None:
        if child.answered >= FILES_A_CHILD:
            self._discard(child)
        else:
            self._idle.append(child)

    def _discard(self, child: _Child) -> None:
        self._all.discard(child)
        with contextlib.suppress(ValueError):
            self._idle.remove(child)
        child.end()


class _Child:
    def __init__(self) -> None:
        self.answered = 0
        self._socket, theirs = socket.socketpair()
        environment = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
        environment |= {"MALLOC_ARENA_MAX": "1", "OPENBLAS_NUM_THREADS": "1"}
        try:
            with theirs:
                # A session of its own: Ctrl-C in the terminal is the parent's business.
                self._process = subprocess.Popen(
                    [sys.executable, "-m", "classifier.images.sandbox_child"],
                    stdin=theirs.fileno(),
                    stdout=subprocess.DEVNULL,
                    cwd=ROOT,
                    env=environment,
                    start_new_session=True,
                )
        except OSError as error:
            self._socket.close()
            raise DecoderUnavailable(f"The image decoder does not start: {error}.") from error
        self.pid = self._process.pid
        try:
            receive(self._socket, time.monotonic() + SECONDS_TO_START)
        except (Gone, OSError) as error:
            self.end()
            raise DecoderUnavailable(
                f"The image decoder does not start (exit status {self._process.returncode})."
            ) from error

    def is_alive(self) -> bool:
        return self._process.poll() is None

    def ask(self, request: dict[str, Any], data: bytes, seconds: float) -> tuple[dict[str, Any], list[bytes]]:
        deadline = time.monotonic() + seconds
        send(self._socket, request, [data], deadline)
        answer = receive(self._socket, deadline)
        self.answered += 1
        return answer

    def end(self) -> None:
        self._socket.close()
        self._process.kill()
        self._process.wait()

    def forget(self) -> None:
        self._socket.close()
        self._process.returncode = 0  # not ours to wait for


def send(link: socket.socket, message: dict[str, Any], blobs: list[bytes], deadline: float | None) -> None:
    head = json.dumps({**message, "blobs": [len(blob) for blob in blobs]}).encode()
    for part in (struct.pack("<I", len(head)) + head, *blobs):
        link.settimeout(_remaining(deadline))  # for the whole of sendall
        link.sendall(part)


def receive(link: socket.socket, deadline: float | None) -> tuple[dict[str, Any], list[bytes]]:
    (length,) = struct.unpack("<I", _receive_bytes(link, 4, deadline))
    message: dict[str, Any] = json.loads(_receive_bytes(link, length, deadline))
    return message, [bytes(_receive_bytes(link, size, deadline)) for size in message.pop("blobs")]


def _receive_bytes(link: socket.socket, count: int, deadline: float | None) -> bytearray:
    received = bytearray(count)
    view = memoryview(received)
    while view:
        link.settimeout(_remaining(deadline))
        size = link.recv_into(view)
        if not size:
            raise Gone("connection closed")
        view = view[size:]
    return received


def _remaining(deadline: float | None) -> float | None:
    if deadline is None:
        return None
    remaining = deadline - time.monotonic()
    if remaining <= 0:
        raise TimeoutError
    return remaining


_pool: Pool | None = None
_pool_lock = threading.Lock()


def _shared_pool() -> Pool:
    global _pool
    with _pool_lock:
        if _pool is None:
            _pool = Pool()
        return _pool


def _close_shared_pool() -> None:
    if _pool is not None:
        _pool.close()


def _start_anew_after_fork() -> None:
    global _pool, _pool_lock
    if _pool is not None:
        _pool.forget()
    _pool, _pool_lock = None, threading.Lock()


atexit.register(_close_shared_pool)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_anew_after_fork)
