"""Requests that are sent in chunks, without saying how long they are."""

from __future__ import annotations

import http.client
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cifarsite.test import image_bytes
from cifarsite.tests.hosts import Host
from cifarsite.web.request_bodies import WithLength
from conftest import free_port


def ask(body: Any, **environ: Any) -> tuple[str, bytes]:
    """Status and answer of a site that echoes what Django would read."""
    said = []

    def echo(environ: dict[str, Any], start: Any) -> list[bytes]:
        start("200 OK", [])
        return [environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))]

    environ = {"HTTP_TRANSFER_ENCODING": "chunked", "wsgi.input_terminated": True} | environ
    answer = WithLength(echo)({"wsgi.input": body, **environ}, lambda status, headers: said.append(status))
    return said[0], b"".join(answer)


def test_a_chunked_body_gets_its_length() -> None:
    body = bytes(range(256)) * 10_000  # longer than what is held in memory
    assert ask(io.BytesIO(body)) == ("200 OK", body)
    assert ask(io.BytesIO(b"")) == ("200 OK", b"")


def test_other_requests_are_left_as_they_are() -> None:
    plain = {"HTTP_TRANSFER_ENCODING": "", "CONTENT_LENGTH": "3"}
    assert ask(io.BytesIO(b"abcdef"), **plain) == ("200 OK", b"abc")
    # A server that does not end the body would have it read for ever.
    assert ask(io.BytesIO(b"abc"), **{"wsgi.input_terminated": False}) == ("200 OK", b"")


def test_a_long_one_has_to_say_its_length(settings: Any) -> None:
    settings.UPLOAD_MAX_MB = 1

    class Endless(io.RawIOBase):
        given = 0

        def read(self, size: int = -1) -> bytes:
            self.given += size
            return bytes(size)

    endless = Endless()
    status, answer = ask(endless)
    assert (status, json.loads(answer)["code"]) == ("411 Length Required", "length_required")
    assert endless.given < 6 * 1024 * 1024


def test_a_broken_one_is_told() -> None:
    class Broken(io.RawIOBase):
        def read(self, size: int = -1) -> bytes:
            raise OSError("chunk without an end")

    status, answer = ask(Broken())
    assert (status, json.loads(answer)["code"]) == ("400 Bad Request", "invalid")


@pytest.fixture
def site(tmp_path: Path) -> Iterator[tuple[int, str]]:
    """Where a web server answers as `make run` starts it, and a token."""
    host, port = Host(tmp_path), free_port()
    try:
        host.migrate()
        host.collect_static()
        host.shell(
            "from classifier.models import User; User.objects.create_user('lan', 'lan@example.org', 'x')"
        )
        token = host.manage("apitoken", "lan", "--scopes", "predict,read").split()[-1]
        host.serve(port)
        yield port, token
    finally:
        host.destroy()


@pytest.mark.slow
def test_a_photo_sent_in_chunks_is_taken(site: tuple[int, str]) -> None:
    port, token = site
    content = image_bytes()
    parts = [
        b'--B\r\nContent-Disposition: form-data; name="file"; filename="a.jpg"\r\n\r\n',
        content[:100],
        content[100:],
        b"\r\n--B--\r\n",
    ]
    headers = {
        "Host": "localhost",
        "Authorization": f"Bearer {token}",
        "Content-Type": "multipart/form-data; boundary=B",
        "Transfer-Encoding": "chunked",
    }
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    for _again in range(2):  # on the same connection
        connection.request("POST", "/api/v1/photos", iter(parts), headers, encode_chunked=True)
        answer = connection.getresponse()
        body = json.loads(answer.read())
        assert answer.status == 202, body
        assert body["photos"][0]["filename"] == "a.jpg"
    connection.close()
