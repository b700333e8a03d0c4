"""Fifty guesses at the same time at a real server of two processes: ten are looked at, no more."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from conftest import ROOT, accepts, free_port, wait_until

PASSWORD = "correct-horse-battery"
AT_ONCE = 50
ALLOWED = 10
MAKE_ALICE = f"""
from allauth.account.models import EmailAddress
from classifier.models import User
alice = User.objects.create_user("alice", "alice@example.org", {PASSWORD!r})
EmailAddress.objects.create(user=alice, email=alice.email, verified=True, primary=True)
"""
COUNT = """
import json
from django.db.models import Count
from classifier.models import AuditEntry
print("COUNTS", json.dumps(dict(AuditEntry.objects.values_list("kind").annotate(n=Count("pk")).order_by())))
"""


@pytest.fixture(params=["database", "redis"])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    """The site's address, and what runs a line of Python in it; counts in the database or in Redis."""
    environment = {**os.environ, "VAR_DIR": str(tmp_path / "var"), "LOG_LEVEL": "WARNING"}
    for name in ("DATABASE_URL", "BROKER_URL", "CACHE_URL", "DJANGO_SETTINGS_MODULE"):
        environment.pop(name, None)
    if request.param == "redis":
        environment["CACHE_URL"] = request.getfixturevalue("redis_url")

    def run(*arguments: str) -> str:
        argv = [sys.executable, "manage.py", *arguments]
        done = subprocess.run(argv, cwd=ROOT, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    run("migrate", "--verbosity", "0")
    run("createcachetable")
    run("collectstatic", "--noinput", "--verbosity", "0")
    run("shell", "--verbosity", "0", "--command", MAKE_ALICE)
    port = free_port()
    argv = [sys.executable, "-m", "gunicorn", "cifarsite.wsgi", "--bind", f"127.0.0.1:{port}"]
    argv += ["--workers", "2", "--threads", "16", "--timeout", "300"]
    process = subprocess.Popen(argv, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL)
    try:
        wait_until(lambda: accepts(port), "the server", 60)
        yield f"http://127.0.0.1:{port}", run
    finally:
        process.terminate()
        process.wait(30)


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
def test_of_fifty_guesses_at_once_ten_are_looked_at(server: Any, request: pytest.FixtureRequest) -> None:
    url, run = server
    # By the name and by the address: it is one account. An address of a machine may fail fifty times.
    logins = [("alice", "alice@example.org")[number % 2] for number in range(AT_ONCE - 1)]
    with ThreadPoolExecutor(AT_ONCE) as threads:
        answers = list(threads.map(lambda login: guess_wrong(url, login), logins))
    assert set(answers) <= {0, 200, 429} and answers.count(0) < AT_ONCE / 2
    counts = json.loads(run("shell", "--verbosity", "0", "--command", COUNT).split("COUNTS ")[1])
    assert 1 <= counts["sign_in_failed"] <= ALLOWED
    # All others were turned away unread, and so is the right password now.
    assert counts.get("sign_in_locked") or counts.get("access_refused")
    right = guess(url, "alice", PASSWORD)
    assert right.status_code in (200, 429)
    assert "sessionid" not in right.cookies
