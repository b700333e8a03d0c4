"""Clients that send half of a request, or too much of one: the site goes on, without a proxy before it."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from cifarsite.tests.hosts import Host
from conftest import free_port

CROWD = 60
HALF_HEADERS = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-Half:"
FORM = (
    b"POST /accounts/login/ HTTP/1.1\r\nHost: localhost\r\n"
    b"Content-Type: application/x-www-form-urlencoded\r\n%s\r\nlogin=al"
)
HALF_BODIES = {
    "short": FORM % b"Content-Length: 1000\r\n",
    "long": FORM % b"Content-Length: 1000000\r\n",
    "chunked": FORM % b"Transfer-Encoding: chunked\r\n",
    "expected": FORM % b"Content-Length: 1000\r\nExpect: 100-continue\r\n",
    "zeros": FORM % b"Content-Length: 0000000000000000000001000\r\n",
}
# Less than any of the limits in time, so that what is answered was not waited for.
PATIENCE = 5.0


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, Path]]:
    """Where a web server answers as `make run` starts it, and its temporary folder."""
    temporary = tmp_path_factory.mktemp("temporary")
    host, port = Host(tmp_path_factory.mktemp("site"), TMPDIR=temporary), free_port()
    try:
        host.migrate()
        host.collect_static()
        host.serve(port)
        yield port, temporary
    finally:
        host.destroy()


@contextmanager
def crowd(port: int, sent: bytes, size: int = CROWD) -> Iterator[list[socket.socket]]:
    with ExitStack() as stack:
        clients = [stack.enter_context(socket.create_connection(("127.0.0.1", port))) for _ in range(size)]
        for client in clients:
            client.sendall(sent)
        yield clients


def ask(port: int, path: str = "/healthz", patience: float = PATIENCE) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=patience)
    try:
        connection.request("GET", path, headers={"Host": "localhost"})
        return connection.getresponse().status
    finally:
        connection.close()


@pytest.mark.slow
@pytest.mark.parametrize("sent", [HALF_HEADERS, *HALF_BODIES.values()], ids=["headers", *HALF_BODIES])
def test_half_sent_requests_stop_nobody(site, sent: bytes) -> None:
    port, _ = site
    with crowd(port, sent):
        for _again in range(8):  # both processes
            assert ask(port) == 200
            assert ask(port, "/accounts/login/") == 200


@pytest.mark.slow
def test_clients_that_never_close_stop_nobody(site) -> None:
    port, _ = site
    request = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    with crowd(port, request):
        for _again in range(8):
            assert ask(port) == 200


@pytest.mark.slow
def test_half_sent_headers_get_a_408_in_time(site) -> None:
    port, _ = site
    with crowd(port, HALF_HEADERS, 1) as (client,):
        client.settimeout(60)
        assert client.recv(100).startswith(b"HTTP/1.1 408 ")


@pytest.mark.slow
def test_headers_without_end_are_refused(site) -> None:
    port, _ = site
    with crowd(port, HALF_HEADERS, 1) as (client,):
        client.settimeout(60)
        try:
            for _more in range(200):
                client.sendall(b"x" * 1_000)
        except OSError:
            pass  # refused while it was being sent
        assert client.recv(100).startswith(b"HTTP/1.1 431 ")


@pytest.mark.slow
@pytest.mark.parametrize("end", [b"", b" HTTP/1.1\r\nHost: localhost\r\n\r\n"], ids=["half", "whole"])
def test_an_address_that_is_too_long_is_a_problem_of_the_api(site, end: bytes) -> None:
    port, _ = site
    with crowd(port, b"GET /api/v1/photos?cursor=" + b"x" * 5_000 + end, 1) as (client,):
        client.settimeout(60)
        said = b""
        while data := client.recv(65536):
            said += data
    head, _, body = said.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 414 ")
    assert b"Content-Type: application/problem+json" in head
    assert json.loads(body)["code"] == "address_too_long"


@pytest.mark.slow
def test_a_request_that_comes_byte_by_byte_is_answered(site) -> None:
    port, _ = site
    body = b"login=alice&password=x"
    request = FORM.replace(b"login=al", b"") % f"Content-Length: {len(body)}\r\n".encode() + body
    with crowd(port, b"", 1) as (client,):
        client.settimeout(60)
        for at in range(len(request)):
            client.sendall(request[at : at + 1])
        assert client.recv(100).startswith(b"HTTP/1.1 403 ")  # no CSRF token


@pytest.mark.slow
def test_requests_sent_in_one_go_are_answered_one_after_the_other(site) -> None:
    port, _ = site
    request = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with crowd(port, request * 3, 1) as (client,):
        client.settimeout(PATIENCE)
        said = b""
        while said.count(b"HTTP/1.1 200 ") < 3:
            data = client.recv(65536)
            assert data
            said += data


@pytest.mark.slow
def test_a_body_that_waits_to_be_asked_for_is_asked_for(site) -> None:
    port, _ = site
    with crowd(port, HALF_BODIES["expected"].removesuffix(b"login=al"), 1) as (client,):
        client.settimeout(60)
        said = client.recv(25)
        assert said.startswith(b"HTTP/1.1 100 ")
        client.sendall(b"x" * 1_000)
        while b"HTTP/1.1 403 " not in said:
            data = client.recv(65536)
            assert data
            said += data


@pytest.mark.slow
def test_150_mb_to_the_sign_in_page_are_refused_and_never_lie_on_the_disk(site) -> None:
    port, temporary = site
    head = (
        b"POST /accounts/login/ HTTP/1.1\r\nHost: localhost\r\n"
        b"Content-Type: multipart/form-data; boundary=b\r\nContent-Length: %d\r\n\r\n"
    )
    start = b'--b\r\nContent-Disposition: form-data; name="f"; filename="f"\r\n\r\n'
    piece = bytes(1024 * 1024)
    most = 0
    with crowd(port, head % (150 * len(piece)) + start, 1) as (client,):
        client.settimeout(60)
        try:
            for _megabyte in range(100):
                client.sendall(piece)
                most = max(most, held_in(temporary, site_pids(port)))
        except OSError:
            pass  # it is refused meanwhile
        answer = client.recv(100)
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert most < len(piece)


def site_pids(port: int) -> list[int]:
    """The web processes of this site."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if f"127.0.0.1:{port}".encode() in (folder / "cmdline").read_bytes():
                found.append(int(folder.name))
        except OSError:
            continue
    return found


def held_in(folder: Path, pids: list[int]) -> int:
    """Bytes of files there, also of those that have no name and are only held open."""
    total = 0
    for pid in pids:
        for link in Path(f"/proc/{pid}/fd").glob("*"):
            try:
                if str(link.readlink()).startswith(str(folder)):
                    total += link.stat().st_size
            except OSError:
                continue
    return total
