"""Gunicorn's threaded worker, in which a slow client holds no thread: requests are received first.

The main thread receives headers, and bodies that are short, of all connections at once. A thread gets a
request when it is there. Long bodies (photos, archives) are received by threads, by at most half of them,
and no slower than ``LEAST_BYTES_A_SECOND``. So pages go on while hundreds of clients are silent. While two
thirds of the threads are busy the next long body waits unread, which costs its client nothing but time;
to be refused after it was sent would cost it twice. What a proxy does beyond that (limits for each
address, connections without number) is left to nginx.
"""

from __future__ import annotations

import re
import selectors
import socket
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any

from gunicorn import util
from gunicorn.errors import ConfigError
from gunicorn.workers.gthread import TConn, ThreadWorker

from cifarsite.web.refusals import TOO_LATE, TOO_LONG_ADDRESS, TOO_LONG_HEADERS, TOO_MANY, Refusal

# For the headers and a short body, from their first byte.
RECEIVE_SECONDS = 10.0
# A longer body may take this, and besides as long as it takes at this speed.
GRACE_SECONDS = 20.0
LEAST_BYTES_A_SECOND = 16 * 1024
# How long a request with a long body waits for a thread, and how many may; more are better told at once.
PATIENCE_SECONDS = 20.0
MOST_LONG_WAITING = 16
MOST_HEADER_BYTES = 64 * 1024
SHORT_BODY_BYTES = 64 * 1024
# After the answer: how long, and for how much, a client may still send until it has read it.
LINGER_SECONDS = 2.0
PIECE = 64 * 1024

END_OF_HEADERS = b"\r\n\r\n"
# What gunicorn's parser makes of the request counts in the end; this only tells when it is complete.
LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*0*(\d{1,18})", re.IGNORECASE)
CHUNKED = re.compile(rb"\r\ntransfer-encoding:", re.IGNORECASE)
# The body comes when it is asked for.
EXPECT = re.compile(rb"\r\nexpect:", re.IGNORECASE)


class ReceivingSocket:
    """A connection's socket, read by a thread against a deadline that grows with what was received."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self.begin(0, lambda: None)

    def begin(self, left: int | None, received: Callable[[], None]) -> None:
        """A new request: when ``left`` more bytes are there, ``received`` is called; None: not known."""
        self._since, self._count = time.monotonic(), 0
        self._left, self._received = left, received

    def recv(self, size: int) -> bytes:
        if self._left == 0:
            return b""  # all of the request was there before
        patience = self._socket.gettimeout()
        left = self._since + GRACE_SECONDS + self._count / LEAST_BYTES_A_SECOND - time.monotonic()
        if left <= 0:
            raise TimeoutError("The request's body comes too slowly.")
        self._socket.settimeout(left if patience is None else min(left, patience))
        try:
            data = self._socket.recv(size)
        finally:
            self._socket.settimeout(patience)
        self._count += len(data)
        if self._left is not None and self._count >= self._left:
            self._received()
        return data

    def __getattr__(self, name: str) -> Any:
        return getattr(self._socket, name)


class Connection(TConn):  # type: ignore[misc]
    """A client, and what it has sent of a request that is not complete."""

    def __init__(self, worker: Worker, sock: socket.socket, client: Any, server: Any) -> None:
        super().__init__(worker.cfg, sock, client, server)
        self.worker = worker
        self.buffer = bytearray()
        self.needed: int | None = None  # bytes of the whole request, once its headers are there
        self.deadline = 0.0
        self.holds_long = False

    def init(self) -> None:
        if not self.initialized:
            super().init()
            self.parser.unreader.sock = ReceivingSocket(self.sock)

    def close(self, graceful: bool = False) -> None:
        """The base class waits for the client's end here, in the main thread."""
        if graceful:
            self.worker.linger(self)
        else:
            util.close(self.sock)


class Worker(ThreadWorker):  # type: ignore[misc]
    @classmethod
    def check_config(cls, cfg: Any, log: Any) -> None:
        super().check_config(cfg, log)
        if cfg.is_ssl:
            raise ConfigError(
                "This web worker does not support https: let nginx terminate it, see deploy/nginx."
            )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # All of this belongs to the main thread.
        self.receiving: set[Connection] = set()
        self.lingering: set[Connection] = set()
        self.long_waiting: deque[tuple[Connection, int | None]] = deque()
        self.long_at_once = max(1, self.cfg.threads // 2)
        self.long_now = 0
        # The rest is for pages.
        self.most_busy = max(1, self.cfg.threads * 2 // 3)
        self.busy = 0

    def accept(self, listener: Any) -> None:
        try:
            client_sock, client_addr = listener.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return
        self.nr_conns += 1
        self.enqueue_req(Connection(self, client_sock, client_addr, listener.getsockname()))

    def enqueue_req(self, conn: Connection) -> None:
        """A connection is new, or has more to say: called in the main thread alone."""
        conn.init()
        conn.sock.setblocking(False)
        conn.buffer, conn.needed = bytearray(), None
        # An idle connection may be one that a browser opened beforehand.
        conn.deadline = time.monotonic() + max(self.cfg.keepalive, RECEIVE_SECONDS)
        self.receiving.add(conn)
        self.poller.register(conn.sock, selectors.EVENT_READ, partial(self.receive, conn))
        self.take(conn, conn.parser.unreader.take_buffered())
        if conn in self.receiving:
            self.receive(conn)

    def receive(self, conn: Connection, _sock: Any = None) -> None:
        """Something has come."""
        try:
            data = conn.sock.recv(PIECE)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if data:
            self.take(conn, data)
        else:
            self.drop(conn)  # ended before a request was complete

    def take(self, conn: Connection, data: bytes) -> None:
        """Go on with the request once it is complete, or its headers where a thread receives the rest."""
        if data and not conn.buffer:
            conn.deadline = time.monotonic() + RECEIVE_SECONDS
        searched = max(0, len(conn.buffer) - len(END_OF_HEADERS))
        conn.buffer += data
        if conn.needed is None:
            most = self.cfg.limit_request_line
            if len(conn.buffer) > most and conn.buffer.find(b"\r\n", 0, most + 2) < 0:
                self.drop(conn, TOO_LONG_ADDRESS)
                return
            end = conn.buffer.find(END_OF_HEADERS, searched) + len(END_OF_HEADERS)
            if end < len(END_OF_HEADERS):
                if len(conn.buffer) >= MOST_HEADER_BYTES:
                    self.drop(conn, TOO_LONG_HEADERS)
                return
            found = LENGTH.search(conn.buffer, 0, end)
            length = int(found[1]) if found else 0
            conn.needed = end + length
            if CHUNKED.search(conn.buffer, 0, end):
                self.submit_long(conn, None)
                return
            left = conn.needed - len(conn.buffer)
            if left > 0 and (length > SHORT_BODY_BYTES or EXPECT.search(conn.buffer, 0, end)):
                self.submit_long(conn, left)
                return
        if len(conn.buffer) >= conn.needed:
            self.submit(conn)

    def submit(self, conn: Connection, left: int | None = 0) -> None:
        """Give the request to a thread."""
        self.release(conn)
        conn.parser.unreader.unread(bytes(conn.buffer))
        conn.parser.unreader.sock.begin(left, partial(self.method_queue.defer, self.end_long, conn))
        conn.buffer = bytearray()
        conn.data_ready = True
        self.busy += 1
        super().enqueue_req(conn)

    def has_room_for_long(self) -> bool:
        return bool(self.long_now < self.long_at_once and self.busy < self.most_busy)

    def submit_long(self, conn: Connection, left: int | None) -> None:
        if self.has_room_for_long():
            self.long_now += 1
            conn.holds_long = True
            self.submit(conn, left)
        elif len(self.long_waiting) >= MOST_LONG_WAITING:
            self.drop(conn, TOO_MANY)
        else:
            self.release(conn)
            conn.deadline = time.monotonic() + PATIENCE_SECONDS
            self.long_waiting.append((conn, left))

    def end_long(self, conn: Connection) -> None:
        """A long body is received, or a request is over: the next long one may come."""
        if conn.holds_long:
            conn.holds_long = False
            self.long_now -= 1
        if self.long_waiting and self.has_room_for_long():
            self.submit_long(*self.long_waiting.popleft())

    def finish_request(self, conn: Connection, fs: Any) -> None:
        self.busy -= 1
        self.end_long(conn)
        super().finish_request(conn, fs)

    def murder_pending(self) -> None:
        """Called each second: give up who is too late."""
        super().murder_pending()
        now = time.monotonic()
        for conn in [conn for conn in self.receiving if conn.deadline < now or self.is_idle_at_the_end(conn)]:
            self.drop(conn, TOO_LATE if conn.buffer else None)
        while self.long_waiting and self.long_waiting[0][0].deadline < now:
            self.drop(self.long_waiting.popleft()[0], TOO_MANY)
        for conn in [conn for conn in self.lingering if conn.deadline < now]:
            self.end_linger(conn)

    def is_idle_at_the_end(self, conn: Connection) -> bool:
        return not self.alive and not conn.buffer

    def release(self, conn: Connection) -> None:
        """The main thread receives nothing more of it."""
        if conn in self.receiving:
            self.receiving.remove(conn)
            self.poller.unregister(conn.sock)

    def drop(self, conn: Connection, why: Refusal | None = None) -> None:
        """Give a connection up, with a word if the client waits for one."""
        self.release(conn)
        self.nr_conns -= 1
        if why:
            try:
                conn.sock.send(why.answer(conn.buffer))
            except OSError:
                pass  # it is gone
        conn.close(graceful=bool(why))

    def linger(self, conn: Connection) -> None:
        """Close our side first: a reset would throw the answer away that the client has not read."""
        try:
            conn.sock.setblocking(False)
            conn.sock.shutdown(socket.SHUT_WR)
            conn.deadline = time.monotonic() + LINGER_SECONDS
            self.poller.register(conn.sock, selectors.EVENT_READ, partial(self.drain, conn))
            self.lingering.add(conn)
        except (OSError, ValueError):
            util.close(conn.sock)

    def drain(self, conn: Connection, _sock: Any = None) -> None:
        try:
            gone = not conn.sock.recv(PIECE)
        except BlockingIOError:
            return
        except OSError:
            gone = True
        if gone:
            self.end_linger(conn)

    def end_linger(self, conn: Connection) -> None:
        self.lingering.discard(conn)
        self.poller.unregister(conn.sock)
        util.close(conn.sock)
