"""An answer reaches its client, though the request was refused before its body was read."""

import http.client
import json
import re
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cifarsite.tests.hosts import Host
from cifarsite.web import request_bodies
from cifarsite.web.request_bodies import ReadToTheEnd
from conftest import free_port

# More than the systems of both sides keep for each other: the client has to wait until it is read.
BODY = bytes(16 * 1024 * 1024)


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """Where a web server answers as `make run` starts it."""
    host, free = Host(tmp_path_factory.mktemp("site")), free_port()
    try:
        host.migrate()
        host.collect_static()
        host.serve(free)
        yield free
    finally:
        host.destroy()


@pytest.mark.slow
def test_an_upload_with_a_wrong_token_gets_its_401_and_may_use_the_connection_again(port: int) -> None:
    headers = {"Host": "localhost", "Authorization": "Bearer no-such-token", "Content-Type": "image/jpeg"}
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.connect()
    connection.auto_open = 0  # no new one in its place
    for _again in range(2):
        # It sends all before it listens, as most programs do.
        connection.request("POST", "/api/v1/photos", BODY, headers)
        answer = connection.getresponse()
        assert answer.status == 401
        assert json.loads(answer.read())["code"] == "unauthorised"
    connection.close()


@pytest.mark.slow
def test_a_connection_that_rested_for_some_seconds_is_still_open(port: int) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.auto_open = 0  # no new one in its place
    connection.connect()
    for _again in range(2):
        connection.request("GET", "/healthz", headers={"Host": "localhost"})
        answer = connection.getresponse()
        assert (answer.status, answer.will_close) == (200, False)
        answer.read()
        time.sleep(5)  # as long as httpx keeps one
    connection.close()


@pytest.fixture
def connection() -> Iterator[tuple[socket.socket, socket.socket]]:
    """The server's end and the client's."""
    ends = socket.socketpair()
    yield ends
    for end in ends:
        end.close()


def ask(server: socket.socket, *, read: bool) -> bytes:
    """A request of ten bytes to an application that reads its body, or does not."""
    body = server.makefile("rb")
    environ = {"CONTENT_LENGTH": "10", "wsgi.input": body, "gunicorn.socket": server}
    answer = ReadToTheEnd(lambda environ, start: [environ["wsgi.input"].read(10) if read else b"refused"])(
        environ, lambda *words: None
    )
    said = b"".join(answer)
    answer.close()  # type: ignore[attr-defined]
    return said


def test_what_was_not_read_is_read_after_the_answer(connection) -> None:
    server, client = connection
    client.sendall(b"0123456789")
    client.shutdown(socket.SHUT_WR)
    assert ask(server, read=False) == b"refused"
    server.setblocking(False)
    assert server.recv(1) == b""


def test_a_client_that_vanished_within_its_upload_is_given_up(connection, monkeypatch) -> None:
    monkeypatch.setattr(request_bodies, "SILENCE_SECONDS", 0.1)
    server, client = connection
    client.sendall(b"01234")
    with pytest.raises(TimeoutError):
        ask(server, read=True)


def test_the_rest_of_a_refused_upload_is_not_waited_for_without_end(connection, monkeypatch) -> None:
    monkeypatch.setattr(request_bodies, "REST_SECONDS", 0.1)
    server, client = connection
    client.sendall(b"01234")
    assert ask(server, read=False) == b"refused"


def test_an_answer_to_a_request_without_a_body_stays_what_it_was() -> None:
    answer = [b"a file, say"]
    assert ReadToTheEnd(lambda environ, start: answer)({}, lambda *words: None) is answer


def test_each_side_keeps_a_connection_for_longer_than_the_one_before_it() -> None:
    """Whoever closes a connection must be the one who would send the next request on it."""
    deploy = Path(__file__).resolve().parents[2] / "deploy"
    nginx = re.search(r"keepalive_timeout (\d+)s;", (deploy / "nginx" / "cifarsite.conf").read_text())
    gunicorn = re.search(r"^keepalive = (\d+)$", (deploy / "gunicorn.conf.py").read_text(), re.MULTILINE)
    assert nginx and gunicorn
    assert int(nginx[1]) < int(gunicorn[1])
