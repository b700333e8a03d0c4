"""Web, worker and broker are killed in turn while an archive comes in and is looked at."""

import http.client
import json
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from classifier.tests.uploads.archives import photos, zipped
from classifier.tests.uploads.test_batches_survive import Site, site  # noqa: F401 - a fixture
from conftest import accepts, free_port, require, wait_until

PHOTOS = 60
CSRF = "x" * 32
SIGN_IN = """
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.contrib.sessions.backends.db import SessionStore
from classifier.models import User
user, session = User.objects.create_user("o"), SessionStore()
session[SESSION_KEY], session[HASH_SESSION_KEY] = str(user.pk), user.get_session_auth_hash()
session[BACKEND_SESSION_KEY] = "django.contrib.auth.backends.ModelBackend"
session.save()
print("session", session.session_key)
"""


class Browser:
    """Somebody signed in, who sends what the batch page's script sends."""

    def __init__(self, port: int, session: str) -> None:
        self.port = port
        self.headers = {
            "Cookie": f"sessionid={session}; csrftoken={CSRF}",
            "X-CSRFToken": CSRF,
            "Accept": "application/json",
        }

    def ask(self, method: str, path: str, body: bytes = b"", **headers: str) -> tuple[int, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        connection.request(method, path, body, {**self.headers, **headers})
        response = connection.getresponse()
        content = response.read()
        connection.close()
        is_json = "json" in response.headers.get("Content-Type", "")
        return response.status, json.loads(content) if is_json else content

    def form(self, path: str, body: bytes = b"") -> tuple[int, Any]:
        return self.ask("POST", path, body, **{"Content-Type": "application/x-www-form-urlencoded"})

    def send(self, path: str, content: bytes, offset: int, most: int) -> int:
        status, answer = self.ask(
            "PATCH", path, content[offset : offset + most], **{"Upload-Offset": str(offset)}
        )
        assert status in (200, 409), answer
        return int(answer["offset"])


def start_redis(folder: Path, port: int) -> subprocess.Popen[Any]:
    """One that keeps nothing: what it held is lost with it."""
    argv = [require("needs_redis"), "--port", str(port), "--bind", "127.0.0.1", "--save", ""]
    process = subprocess.Popen(
        [*argv, "--appendonly", "no", "--dir", str(folder)], stdout=subprocess.DEVNULL, start_new_session=True
    )
    wait_until(lambda: accepts(port), "Redis")
    return process


@pytest.mark.faults
@pytest.mark.slow
@pytest.mark.parametrize("broker", ["filesystem", "redis"])
def test_web_worker_and_broker_are_killed_in_turn(site: Site, tmp_path: Path, broker: str) -> None:  # noqa: F811
    redis_port, port = free_port(), free_port()
    if broker == "redis":
        site.environment["BROKER_URL"] = f"redis://127.0.0.1:{redis_port}/0"
        site.running.append(start_redis(tmp_path, redis_port))
    site.prepare()
    session = site.shell(SIGN_IN).split("session ")[1].strip()
    browser = Browser(port, session)

    def lose_the_broker() -> None:
        if broker == "redis":
            site.end(site.running[0], signal.SIGKILL)
            site.running.insert(0, start_redis(tmp_path, redis_port))
        for message in (tmp_path / "broker" / "messages").glob("*"):
            message.unlink(missing_ok=True)

    # The upload: the web process is killed between two pieces, and a piece is sent twice.
    web = site.web(port)
    content = zipped({**photos(PHOTOS - 1), "broken.jpg": b"no image"}).getvalue()
    begin = f"filename=many.zip&size={len(content)}&fingerprint=1-2".encode()
    status, answer = browser.form("/batches/uploads/", begin)
    assert status == 201
    path, third = f"/batches/uploads/{answer['id']}/", len(content) // 3
    assert browser.send(path, content, 0, third) == third
    site.end(web, signal.SIGKILL)
    web = site.web(port)
    assert browser.form("/batches/uploads/", begin)[1]["offset"] == third
    offset = browser.send(path, content, 0, third)
    while offset < len(content):
        offset = browser.send(path, content, offset, third)
    status, answer = browser.form(f"{path}finish/")
    assert status == 201
    page = answer["url"]
    site.python("manage.py", "recover", "--every", "1", name="sweeper")

    def after(least: int, kill: Callable[[], None]) -> None:
        worker = site.start_worker(f"w{least}")
        wait_until(lambda: site.stored() >= least, f"{least} stored entries", 150)
        kill()
        site.end(worker, signal.SIGKILL)

    def lose_web_and_broker() -> None:
        site.end(web, signal.SIGKILL)
        lose_the_broker()

    after(5, lose_the_broker)
    after(25, lose_web_and_broker)
    site.web(port)
    site.start_worker("last")
    over = "SELECT count(*) FROM classifier_batch WHERE state = 'done'"
    wait_until(lambda: site.one(over) == 1, "the end of the batch", 240)
    assert site.one("SELECT count(*) FROM classifier_batch") == 1
    assert site.stored() == site.answered() == PHOTOS - 1
    assert site.one("SELECT count(*) FROM classifier_photo") == PHOTOS - 1
    assert site.one("SELECT count(*) FROM classifier_prediction") == PHOTOS - 1
    assert site.one("SELECT count(*) FROM classifier_batchitem WHERE error_code = 'not_an_image'") == 1
    status, table = browser.ask("GET", f"{page}results.csv")
    assert status == 200
    assert len(table.decode().splitlines()) == PHOTOS + 1
    assert not [path for path in (tmp_path / "media").rglob("*") if path.suffix == ".zip"]
    assert not [path for path in (tmp_path / "media" / "uploads").rglob("*") if path.is_file()]
