"""A whole site in a folder of its own: web, workers, sweeper as real processes that may be killed."""

from __future__ import annotations

import http.client
import io
import json
import os
import secrets
import signal
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import psycopg
from PIL import Image

from cifarsite import supervisor
from cifarsite.tests.hosts import Host, Process
from conftest import free_port, wait_until

PREDICT = "predict,batch,default"


@dataclass(frozen=True)
class Reply:
    """An answer by HTTP and how long it took."""

    status: int
    body: bytes
    seconds: float

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def text(self) -> str:
        return self.body.decode()


@dataclass(frozen=True)
class Tally:
    """What became of the photos: ``lost`` have no answer, ``doubled`` were answered more than once."""

    photos: int
    lost: int
    doubled: int


class Site(Host):
    """A host whose processes may be killed, with what people do there and what its database says."""

    def __init__(self, folder: Path, *, database: str = "", broker: str = "", **settings: object) -> None:
        self.database = database
        self.port = free_port()
        self.lease = 3
        options: dict[str, Any] = {"LEASE_SECONDS": self.lease, "TRAINING_NICE": 0, **settings}
        super().__init__(folder, DATABASE_URL=database, BROKER_URL=broker, **options)

    # --- processes --------------------------------------------------------------------------

    def start_web(self) -> Process:
        return self.serve(self.port)

    def start_worker(
        self, name: str = "w1", queues: str = PREDICT, *, wait: bool = True, clock: int = 0
    ) -> Process:
        """A worker as in production; ``clock``: by how many seconds it is wrong."""
        argv = supervisor.commands(self.port)["predict"]
        argv = [*argv[: argv.index("--queues")], "--queues", queues, "--hostname", f"{name}@test"]
        process = self.start(*wrong_clock(argv, clock), name=name)
        if wait:
            self.wait_for_ready(name)
        return process

    def wait_for_ready(self, *names: str) -> None:
        for name in names:
            # It says so after its model is loaded.
            wait_until(lambda name=name: f"{name}@test ready" in self.said(name), name, 120)  # type: ignore[misc]

    def start_sweeper(self, every: float = 1, *, clock: int = 0) -> Process:
        argv = [sys.executable, "manage.py", "recover", "--every", str(every)]
        return self.start(*wrong_clock(argv, clock), name="sweeper")

    def freeze(self, process: Process) -> None:
        os.killpg(process.pid, signal.SIGSTOP)

    def thaw(self, process: Process) -> None:
        os.killpg(process.pid, signal.SIGCONT)

    # --- what people do ---------------------------------------------------------------------

    @cached_property
    def keys(self) -> dict[str, str]:
        found: dict[str, str] = json.loads((self.folder / "keys.json").read_text())
        return found

    def request(
        self, method: str, path: str, body: bytes = b"", timeout: float = 60, **headers: str
    ) -> Reply:
        """A program with a token for the API, a person with a session for pages."""
        sent = {"Host": "localhost", **headers}
        if path.startswith("/api/"):
            sent["Authorization"] = f"Bearer {self.keys['token']}"
        else:
            sent["Cookie"] = f"sessionid={self.keys['session']}"
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        started = time.monotonic()
        try:
            connection.request(method, path, body or None, sent)
            answer = connection.getresponse()
            return Reply(answer.status, answer.read(), time.monotonic() - started)
        finally:
            connection.close()

    def get(self, path: str, timeout: float = 60) -> Reply:
        return self.request("GET", path, timeout=timeout)

    def upload(self, count: int = 1, *, wait: int = 0, timeout: float = 120) -> Reply:
        """Send ``count`` different photos in one request."""
        boundary = secrets.token_hex(16)
        parts = []
        for number in range(count):
            head = f'Content-Disposition: form-data; name="file"; filename="{number}.png"'
            parts += [f"--{boundary}\r\n{head}\r\nContent-Type: image/png\r\n\r\n".encode(), photo(), b"\r\n"]
        body = b"".join([*parts, f"--{boundary}--\r\n".encode()])
        kind = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
        return self.request("POST", f"/api/v1/photos?wait={wait}", body, timeout, **kind)

    def upload_all(self, count: int, at_once: int = 50) -> None:
        """Two requests at a time, for the two web processes."""
        sizes = [min(at_once, count - first) for first in range(0, count, at_once)]
        with ThreadPoolExecutor(2) as people:
            for reply in people.map(self.upload, sizes):
                assert reply.status == 202, reply.text

    # --- what the database says -------------------------------------------------------------

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        if self.database:
            with psycopg.connect(self.database, connect_timeout=5) as connection:
                return connection.execute(query.encode()).fetchall()
        with self.sqlite() as database:
            return database.execute(query).fetchall()

    def one(self, query: str) -> Any:
        return self.rows(query)[0][0]

    def count(self, status: str) -> int:
        found: int = self.one(f"SELECT count(*) FROM classifier_prediction WHERE status = '{status}'")
        return found

    def tally(self) -> Tally:
        answered = "SELECT count(*) AS n FROM answered GROUP BY prediction"
        done = "SELECT photo_id FROM classifier_prediction WHERE status = 'done'"
        return Tally(
            photos=self.one("SELECT count(*) FROM classifier_photo"),
            lost=self.one(f"SELECT count(*) FROM classifier_photo WHERE id NOT IN ({done})"),
            doubled=self.one(f"SELECT count(*) FROM ({answered}) AS times WHERE n > 1"),
        )

    def wait_until_all_is_answered(self, photos: int, seconds: float = 300) -> None:
        wait_until(lambda: self.count("done") >= photos, f"{photos} answers", seconds)

    def clear_broker(self) -> None:
        """Lose every message of the filesystem broker."""
        for message in (self.folder / "broker" / "messages").glob("*"):
            message.unlink(missing_ok=True)


def wrong_clock(argv: list[str], seconds: int) -> list[str]:
    """The same command with a clock that is wrong by so many seconds."""
    module = ["-m", "cifarsite.tests.faults.wrong_clock", str(seconds)]
    return [argv[0], *module, *argv[1:]] if seconds else argv


def photo() -> bytes:
    """A small PNG that is like no other."""
    file = io.BytesIO()
    Image.frombytes("RGB", (8, 8), secrets.token_bytes(192)).resize((48, 48)).save(file, "PNG")
    return file.getvalue()
