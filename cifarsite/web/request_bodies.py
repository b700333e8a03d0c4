"""Bodies of requests: those sent in chunks get the length that Django goes by; all are read to their end.

Django reads as many bytes as the Content-Length says, so none of a body that comes without, as `curl -T -`
and streaming clients send it. Such a body is received into a temporary file first; what is longer than a
few photos has to say its length, so that it can be refused before it is received.

A connection that is closed while the client still sends is reset, and its system may throw the answer
away unread: who uploads a photo with an expired token would see a broken connection instead of 401, and
whoever asks too often no 429. Nor does a client that has vanished in the middle of an upload keep one of
a few threads for ever.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from http import HTTPStatus
from typing import IO, Any

from django.conf import settings

from cifarsite.web.refusals import PROBLEM, Refusal

Environ = dict[str, Any]
Application = Callable[[Environ, Callable[..., Any]], Iterable[bytes]]

IN_MEMORY = 1024 * 1024
PIECE = 64 * 1024
PHOTOS = 5
# How long a connection may bring nothing, or take nothing, before it is given up.
SILENCE_SECONDS = 30.0
# How long the rest of a refused request is read at most.
REST_SECONDS = 10.0


class WithLength:
    """A WSGI application around the site's."""

    def __init__(self, application: Application) -> None:
        self.application = application

    def __call__(self, environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        chunked = "chunked" in environ.get("HTTP_TRANSFER_ENCODING", "").lower()
        if not chunked or not environ.get("wsgi.input_terminated"):
            return self.application(environ, start_response)
        most = PHOTOS * settings.UPLOAD_MAX_MB * 1024 * 1024
        body: IO[bytes] = tempfile.SpooledTemporaryFile(IN_MEMORY)  # noqa: SIM115 (read later)
        try:
            while body.tell() <= most and (piece := environ["wsgi.input"].read(PIECE)):
                body.write(piece)
        except OSError:  # also what gunicorn raises where a chunk is not what its length says
            body.close()
            detail = "The request's body is broken off or not properly chunked. Send it again."
            return refuse(start_response, Refusal(HTTPStatus.BAD_REQUEST, "invalid", detail))
        size = body.tell()
        if size > most:
            body.close()
            detail = f"A body of more than {most // 1024**2} MB has to say its length: send Content-Length."
            return refuse(start_response, Refusal(HTTPStatus.LENGTH_REQUIRED, "length_required", detail))
        body.seek(0)
        received = {**environ, "wsgi.input": body, "CONTENT_LENGTH": str(size)}
        del received["HTTP_TRANSFER_ENCODING"]
        return self.application(received, start_response)


def refuse(start_response: Callable[..., Any], refusal: Refusal) -> list[bytes]:
    """In the shape of the API's errors, since programs alone send in chunks."""
    body = refusal.problem.encode()
    headers = [("Content-Type", PROBLEM), ("Content-Length", str(len(body)))]
    start_response(f"{refusal.status.value} {refusal.status.phrase}", headers)
    return [body]


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
