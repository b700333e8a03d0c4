"""Fifty guesses at the same time at a real server of two processes: ten are looked at, no more."""

from __future__ import annotations

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from cifarsite.test import PASSWORD
from cifarsite.tests.hosts import Host
from conftest import accepts, free_port, wait_until

AT_ONCE = 50
ALLOWED = 10
COUNT = """
from django.db.models import Count
from classifier.models import AuditEntry
answer = dict(AuditEntry.objects.values_list("kind").annotate(n=Count("pk")).order_by())
"""


@pytest.fixture(params=["database", "redis"])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, Host]]:
    """The site's address, and its host; counts in the database or in Redis."""
    counts = request.getfixturevalue("redis_url") if request.param == "redis" else ""
    host, port = Host(tmp_path / "site", CACHE_URL=counts, LOG_LEVEL="WARNING"), free_port()
    host.migrate()
    host.collect_static()
    host.shell("from cifarsite.test import make_user; make_user('alice')")
    argv = ["-m", "gunicorn", "cifarsite.wsgi", "--bind", f"127.0.0.1:{port}"]
    host.python(*argv, "--workers", "2", "--threads", "16", "--timeout", "300", name="web")
    try:
        wait_until(lambda: accepts(port), "the server", 60)
        yield f"http://127.0.0.1:{port}", host
    finally:
        host.destroy()


def guess(url: str, login: str, password: str) -> httpx.Response:
    with httpx.Client(base_url=url, timeout=300) as client:
        page = client.get("/accounts/login/")
        token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page.text)
        assert token
        data = {"login": login, "password": password, "csrfmiddlewaretoken": token[1]}
        return client.post("/accounts/login/", data=data)


def guess_wrong(url: str, login: str) -> int:
    """The status; 0 where a machine that is too busy dropped the connection, which lets nobody in."""
    try:
        return guess(url, login, "wrong-password").status_code
    except httpx.TransportError:
        return 0


@pytest.mark.slow
def test_of_fifty_guesses_at_once_ten_are_looked_at(server: tuple[str, Host]) -> None:
    url, host = server
    # By the name and by the address: it is one account. An address of a machine may fail fifty times.
    logins = [("alice", "alice@example.org")[number % 2] for number in range(AT_ONCE - 1)]
    with ThreadPoolExecutor(AT_ONCE) as threads:
        answers = list(threads.map(lambda login: guess_wrong(url, login), logins))
    assert set(answers) <= {0, 200, 429} and answers.count(0) < AT_ONCE / 2
    counts = host.ask(COUNT)
    assert 1 <= counts["sign_in_failed"] <= ALLOWED
    # All others were turned away unread, and so is the right password now.
    assert counts.get("sign_in_locked") or counts.get("access_refused")
    right = guess(url, "alice", PASSWORD)
    assert right.status_code in (200, 429)
    assert "sessionid" not in right.cookies
