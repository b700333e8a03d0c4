"""What a client reads whose request is refused before Django sees it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from http import HTTPStatus

API = b" /api/v1/"
PROBLEM = "application/problem+json"


@dataclass(frozen=True)
class Refusal:
    """What a client reads whose request reaches no thread."""

    status: HTTPStatus
    code: str
    detail: str

    @property
    def problem(self) -> str:
        shown = {"type": "about:blank", "title": self.status.phrase, "status": self.status}
        return json.dumps({**shown, "detail": self.detail, "code": self.code})

    def answer(self, buffer: bytearray) -> bytes:
        """The whole response: problem+json where the request was one to the API."""
        kind, text = (PROBLEM, self.problem) if API in buffer[:32] else ("text/plain", self.detail)
        head = f"HTTP/1.1 {self.status.value} {self.status.phrase}\r\nConnection: close\r\n"
        head += "Retry-After: 60\r\n" if self.status == HTTPStatus.SERVICE_UNAVAILABLE else ""
        head += f"Content-Type: {kind}\r\nContent-Length: {len(text)}\r\n\r\n"
        return (head + text).encode()


TOO_LATE = Refusal(
    HTTPStatus.REQUEST_TIMEOUT, "too_late", "The request did not arrive in time. Send it again."
)
TOO_LONG_ADDRESS = Refusal(
    HTTPStatus.REQUEST_URI_TOO_LONG, "address_too_long", "The address is too long: send fewer parameters."
)
TOO_LONG_HEADERS = Refusal(
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "headers_too_long", "The headers are too long: send fewer."
)
TOO_MANY = Refusal(
    HTTPStatus.SERVICE_UNAVAILABLE, "busy", "The site receives too many uploads. Try again in a minute."
)
