"""Clients of the site and of its peers, light ones: a kept connection each, standard library only.

Each ``answer`` sends one photo and returns when its label is there, whatever that takes: for the site
an upload with ``?wait``, and where that gave 202, looks at the photo until it is done.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import re
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from http.cookies import SimpleCookie
from typing import Any, Protocol

from benchmarks.process_tree import processor_seconds

BOUNDARY = "cifarsite-bench"
MULTIPART = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
PATIENCE = 300.0
# After a 503 the site asks for a pause of a minute; these clients are less patient.
PAUSE_AFTER_REFUSAL = 0.25
FIRST_LOOK, LAST_LOOK = 0.05, 0.5


class NotAnswered(Exception):
    """A system said something else than an answer; the message is what it said."""


class Photo:
    """A file as it goes over the line, made once so that sending it costs the client little."""

    def __init__(self, content: bytes) -> None:
        self.size = len(content)
        self.forms = {name: self._form(name, content) for name in ("file", "files")}

    @staticmethod
    def _form(name: str, content: bytes) -> bytes:
        head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"; filename="photo.jpg"\r\n'
        return b"".join(
            (head.encode(), b"Content-Type: image/jpeg\r\n\r\n", content, f"\r\n--{BOUNDARY}--\r\n".encode())
        )


class Client:
    """One connection that is kept, and opened again where the server has closed it."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.headers: dict[str, str] = {}
        self.refused = 0
        self._connection: http.client.HTTPConnection | None = None

    def answer(self, photo: Photo) -> None:
        raise NotImplementedError

    def close(self) -> None:
        if self._connection:
            self._connection.close()
        self._connection = None

    def ask(
        self, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None
    ) -> tuple[int, bytes, http.client.HTTPMessage]:
        sent = {**self.headers, **(headers or {})}
        while True:
            kept = self._connection is not None
            self._connection = self._connection or http.client.HTTPConnection(
                "127.0.0.1", self.port, timeout=PATIENCE
            )
            try:
                self._connection.request(method, path, body=body or None, headers=sent)
                response = self._connection.getresponse()
                return response.status, response.read(), response.headers
            except (http.client.RemoteDisconnected, ConnectionError):
                self.close()
                if not kept:
                    raise

    def ask_json(self, method: str, path: str, body: bytes = b"", headers: Any = None) -> Any:
        status, content, _headers = self.ask(method, path, body, headers)
        if status >= 300:
            raise NotAnswered(f"{status} {content[:200]!r}")
        return json.loads(content)


class ReportClient(Client):
    """Of ``peers/report_api.py``."""

    def __init__(self, port: int, path: str = "/predict") -> None:
        super().__init__(port)
        self.path = path

    def answer(self, photo: Photo) -> None:
        if not self.ask_json("POST", self.path, photo.forms["file"], MULTIPART)["label"]:
            raise NotAnswered("no label")


class GradioClient(Client):
    """Of ``peers/gradio_app.py``: upload, call, read the event."""

    def answer(self, photo: Photo) -> None:
        (path,) = self.ask_json("POST", "/gradio_api/upload", photo.forms["files"], MULTIPART)
        call = {"data": [{"path": path, "meta": {"_type": "gradio.FileData"}}]}
        json_type = {"Content-Type": "application/json"}
        event = self.ask_json("POST", "/gradio_api/call/predict", json.dumps(call).encode(), json_type)
        _status, said, _headers = self.ask("GET", f"/gradio_api/call/predict/{event['event_id']}")
        if not said.startswith(b"event: complete") or b'"label"' not in said:
            raise NotAnswered(said[:200].decode(errors="replace"))


class SiteClient(Client):
    """Somebody who is signed in to the site, by a token or by a session."""

    def __init__(self, port: int) -> None:
        super().__init__(port)
        self.answered: list[str] = []

    def use_token(self, token: str) -> None:
        self.headers["Authorization"] = f"Bearer {token}"

    def sign_in(self, name: str, password: str) -> None:
        """Through the page and its form, as a browser does."""
        cookies: SimpleCookie = SimpleCookie()
        _status, page, headers = self.ask("GET", "/accounts/login/")
        for line in headers.get_all("Set-Cookie", []):
            cookies.load(line)
        (hidden, *_more) = re.findall(r'name="csrfmiddlewaretoken" value="([^"]+)"', page.decode())
        form = f"login={name}&password={password}&csrfmiddlewaretoken={hidden}"
        form_type = {"Content-Type": "application/x-www-form-urlencoded", "Cookie": _line(cookies)}
        status, page, headers = self.ask("POST", "/accounts/login/", form.encode(), form_type)
        for line in headers.get_all("Set-Cookie", []):
            cookies.load(line)
        if status != 302 or "sessionid" not in cookies:
            raise NotAnswered(f"The sign-in of {name} was answered with {status}.")
        self.headers = {"Cookie": _line(cookies), "X-CSRFToken": cookies["csrftoken"].value}

    def answer(self, photo: Photo) -> None:
        while True:
            status, content, _headers = self.ask(
                "POST", "/api/v1/photos?wait=30", photo.forms["file"], MULTIPART
            )
            if status != 503:
                break
            self.refused += 1
            time.sleep(PAUSE_AFTER_REFUSAL)
        if status not in (200, 202):
            raise NotAnswered(f"{status} {content[:200]!r}")
        (shown,) = json.loads(content)["photos"]
        pause = FIRST_LOOK
        while shown["status"] == "queued":
            time.sleep(pause)
            pause = min(pause * 1.5, LAST_LOOK)
            shown = self.ask_json("GET", f"/api/v1/photos/{shown['id']}")
        if shown["status"] != "done" or not shown["prediction"]["label"]:
            raise NotAnswered(str(shown["error"]))
        self.answered.append(shown["id"])

    def history(self) -> set[str]:
        """The ids of all answered photos that the history shows."""
        found: set[str] = set()
        cursor: str | None = ""
        while cursor is not None:
            page = self.ask_json("GET", f"/api/v1/photos?status=done&limit=100&cursor={cursor}")
            found.update(photo["id"] for photo in page["photos"])
            cursor = page["next_cursor"]
        return found


def _line(cookies: SimpleCookie) -> str:
    return "; ".join(f"{name}={cookie.value}" for name, cookie in cookies.items())


class System(Protocol):
    """What is asked: the process that it all belongs to, and its clients."""

    name: str
    pid: int

    @property
    def clients(self) -> Sequence[Client]: ...


@dataclass
class Turns:
    """What the clients of one system saw, over one or more turns.

    Attributes:
        seconds: from sending a photo to having its label, of each answered photo.
        rates: answered photos a second, of each turn.
        client_processor: seconds of the processor that the clients themselves took.
        system_processor: the same of the system's processes, by what they are.
    """

    seconds: list[float] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)
    elapsed: float = 0.0
    client_processor: float = 0.0
    system_processor: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)

    @property
    def rate(self) -> float:
        return len(self.seconds) / self.elapsed if self.elapsed else 0.0

    def milliseconds(self, share: float) -> float:
        ordered = sorted(self.seconds)
        return ordered[min(int(len(ordered) * share), len(ordered) - 1)] * 1000 if ordered else float("inf")

    def described(self) -> dict[str, Any]:
        n = max(len(self.seconds), 1)
        return {
            "answered": len(self.seconds),
            "photos_per_s": round(self.rate, 2),
            "photos_per_s_of_turns": [round(rate, 2) for rate in self.rates],
            **{f"p{p}_ms": round(self.milliseconds(p / 100), 1) for p in (50, 95, 99)},
            "processor_ms_a_photo": round(self.system_processor.total() / n * 1000, 1),
            "processor_ms_a_photo_of": {
                part: round(seconds / n * 1000, 1) for part, seconds in self.system_processor.most_common()
            },
            "client_processor_ms_a_photo": round(self.client_processor / n * 1000, 1),
            "errors": dict(self.errors.most_common(5)),
        }


def take_turn(
    system: System, photos: Sequence[Photo], seconds: float, found: Turns, clients: int = 0
) -> None:
    """Let the first ``clients`` clients (0: all) send photo after photo for so many seconds, one at least."""
    working = list(system.clients)[: clients or None]
    lock = threading.Lock()
    answered = 0
    own, theirs = time.process_time(), processor_seconds(system.pid)
    started = time.perf_counter()

    def work(number: int, client: Client) -> None:
        nonlocal answered
        while True:
            begun = time.perf_counter()
            try:
                client.answer(photos[number % len(photos)])
            except (NotAnswered, OSError, http.client.HTTPException, ValueError) as error:
                with lock:
                    found.errors[f"{type(error).__name__}: {error}"[:200]] += 1
                time.sleep(0.1)
            else:
                with lock:
                    found.seconds.append(time.perf_counter() - begun)
                    answered += 1
            number += 1
            if time.perf_counter() >= started + seconds:
                return

    threads = [threading.Thread(target=work, args=(n, client)) for n, client in enumerate(working)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    elapsed = time.perf_counter() - started
    for client in working:
        client.close()
    found.elapsed += elapsed
    found.rates.append(answered / elapsed)
    found.client_processor += time.process_time() - own
    found.system_processor.update(processor_seconds(system.pid) - theirs)


class Connections:
    """Requests to the site, as many at a time as the caller starts, over connections that are kept.

    Each takes so little work that the site has the processor: a client that falls behind measures itself.
    """

    # Sooner than the server (15 s), or a request may meet a connection that it is closing.
    KEPT_SECONDS = 5.0

    def __init__(self, port: int, token: str, patience: float) -> None:
        self.port, self.patience = port, patience
        self.head = f"Host: 127.0.0.1:{port}\r\nAuthorization: Bearer {token}\r\n"
        self.kept: list[tuple[float, asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def ask(
        self, request: str, headers: str = "", body: bytes = b""
    ) -> tuple[int, dict[str, str], bytes]:
        """Send a request, as ``GET /path``; status, headers with small names, and body of the answer.

        Raises:
            OSError, EOFError, TimeoutError: there was none.
        """
        async with asyncio.timeout(self.patience):
            reader, writer = await self._connection()
            writer.write(f"{request} HTTP/1.1\r\n{self.head}{headers}\r\n".encode() + body)
            try:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
                found = {
                    name.lower(): value for name, _, value in (text.partition(": ") for text in head[1:])
                }
                content = await reader.readexactly(int(found.get("content-length", 0)))
            except BaseException:
                writer.close()
                raise
        if found.get("connection") == "close":
            writer.close()
        else:
            self.kept.append((time.perf_counter(), reader, writer))
        return int(head[0].split()[1]), found, content

    async def _connection(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        while self.kept:
            since, reader, writer = self.kept.pop()
            if time.perf_counter() - since < self.KEPT_SECONDS and not reader.at_eof():
                return reader, writer
            writer.close()
        return await asyncio.open_connection("127.0.0.1", self.port)

    def close(self) -> None:
        for _since, _reader, writer in self.kept:
            writer.close()
        self.kept.clear()
