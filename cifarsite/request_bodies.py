"""What a client sends is read to its end, also where the answer was known before it.

A connection that is closed while the client still sends is reset, and its system may throw the answer
away unread: who uploads a photo with an expired token would see a broken connection instead of 401, and
whoever asks too often no 429. Nor does a client that has vanished in the middle of an upload keep one of
a few threads for ever.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

Environ = dict[str, Any]
Application = Callable[[Environ, Callable[..., Any]], Iterable[bytes]]

# How long a connection may bring nothing, or take nothing, before it is given up.
SILENCE_SECONDS = 30.0
# How long the rest of a refused request is read at most, and in which pieces.
REST_SECONDS = 10.0
PIECE = 64 * 1024


class ReadToTheEnd:
    """A WSGI application around the site's."""

    def __init__(self, application: Application) -> None:
        self.application = application

    def __call__(self, environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        wait_at_most(environ, SILENCE_SECONDS)
        answer = self.application(environ, start_response)
        has_body = environ.get("CONTENT_LENGTH") not in (None, "", "0") or "HTTP_TRANSFER_ENCODING" in environ
        # An answer to a request without a body stays as it is: a file is then sent by the kernel.
        return Answer(answer, environ) if has_body else answer


class Answer:
    """An answer after which the rest of the request is read; servers close it once it is sent."""

    def __init__(self, answer: Iterable[bytes], environ: Environ) -> None:
        self.answer, self.environ = answer, environ

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.answer)

    def close(self) -> None:
        try:
            if hasattr(self.answer, "close"):
                self.answer.close()
        finally:
            read_rest(self.environ)


def read_rest(environ: Environ) -> None:
    """Read what the application left of the request, for a while, and forget it."""
    deadline = time.monotonic() + REST_SECONDS
    try:
        while (left := deadline - time.monotonic()) > 0:
            wait_at_most(environ, left)
            if not environ["wsgi.input"].read(PIECE):
                break
    except (OSError, ValueError):
        pass  # the client is gone, or sends nonsense: the server closes the connection
    finally:
        wait_at_most(environ, SILENCE_SECONDS)


def wait_at_most(environ: Environ, seconds: float) -> None:
    """Bound each wait for the client, where the server is gunicorn, which would wait for ever."""
    if connection := environ.get("gunicorn.socket"):
        try:
            connection.settimeout(seconds)
        except OSError:
            pass  # closed meanwhile
