"""Log lines: an id from the page on, no secret, nobody's name; JSON for machines, text for people."""

import io
import json
import logging
import logging.config
import time
from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from django.conf import settings
from django.test import Client, override_settings

from cifarsite import logs
from cifarsite.core.leases import current_request_id
from cifarsite.test import PASSWORD, image_file, make_user
from classifier.models import Prediction

SECRETS = [
    "Authorization: Bearer cifar_Zm9vYmFyYmF6cXV4",
    "token cifar_Zm9vYmFyYmF6cXV4 was sent",
    "mail to alice@example.org failed",
    "Not Found: /accounts/confirm-email/MQ:1uXyz:abc_DEF/",
    "Bad Request: /accounts/password/reset/key/1-cabc-deadbeef/",
    "connect postgres://cifarsite:hunter2@db/cifarsite",
    "password=hunter2&next=/",
    "{'password': 'hunter2'}",
    "GET /history/?q=hunter2",
    "access_token=hunter2&next=/",
    "refresh_token: hunter2",
    "api_key=hunter2",
    "{'my_secret_key': 'a pass phrase, hunter2'}",
    'WEBHOOK_SECRET="of words; hunter2"',
    "Authorization: Token hunter2",
]
WORDS = ["Zm9v", "alice", "1uXyz", "deadbeef", "hunter2"]


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    """What would be written, in JSON, while the test runs."""
    written = io.StringIO()
    config = logs.configure(as_json=True, level="INFO")
    config["handlers"]["console"]["stream"] = written
    structlog.reset_defaults()
    config = {**logs.configure(as_json=True, level="INFO"), "handlers": config["handlers"]}
    logging.config.dictConfig(config)
    yield written
    structlog.reset_defaults()
    logging.config.dictConfig(logs.configure(as_json=False, level=settings.LOG_LEVEL))


def parsed(written: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in written.getvalue().splitlines()]


@pytest.mark.parametrize("text", SECRETS)
def test_it_leaves_secrets_and_people_out(text: str, lines: io.StringIO) -> None:
    logging.getLogger("some.library").warning("It said: %s", text)
    structlog.get_logger("own").warning("said", detail=text, parts=[text], more={"inside": text})
    try:
        raise ValueError(text)
    except ValueError:
        logging.getLogger("some.library").exception("It broke")
    assert len(parsed(lines)) == 3
    assert not [word for word in WORDS if word in lines.getvalue()]


@pytest.mark.parametrize(
    "part", ["9", "_", "a.", "/", "/a", "-", " ", "a@", "a?", "passw", "Bearer ", "x://"]
)
def test_a_long_word_costs_its_length_and_not_its_square(part: str) -> None:
    """Whoever asks for long addresses must not keep the web process busy with its log."""
    text = (part * 100_000)[:100_000]
    began = time.process_time()
    logs.without_secrets(None, "info", {"event": text})
    # Milliseconds; its square would be a minute.
    assert time.process_time() - began < 10


def test_it_leaves_members_out_whose_name_says_that_they_are_secret(lines: io.StringIO) -> None:
    structlog.get_logger("own").info("made", token="abc", new_password="abc", user_email="abc", photo="kept")
    (line,) = parsed(lines)
    assert [line[name] for name in ("token", "new_password", "user_email", "photo")] == [
        logs.LEFT_OUT,
        logs.LEFT_OUT,
        logs.LEFT_OUT,
        "kept",
    ]


def test_a_traceback_is_text_without_the_values_of_variables(lines: io.StringIO) -> None:
    def broken(quiet: str) -> None:
        raise RuntimeError("no details")

    try:
        broken("-".join(["s3cret", "value"]))
    except RuntimeError:
        logging.getLogger("some.library").exception("It broke")
    (line,) = parsed(lines)
    assert "RuntimeError: no details" in line["exception"]
    assert "s3cret-value" not in lines.getvalue()


@pytest.mark.django_db
def test_a_request_leaves_one_line_with_its_id_and_route(lines: io.StringIO) -> None:
    alice = make_user("alice")
    client = Client()
    client.force_login(alice)
    answer = client.get("/history/?label=cat")
    (line,) = [line for line in parsed(lines) if line["event"] == "request"]
    assert line["request_id"] == answer.headers["X-Request-ID"]
    assert (line["method"], line["route"], line["status"]) == ("GET", "/history/", 200)
    assert line["person"] == alice.pk
    assert line["milliseconds"] > 0
    assert "cat" not in lines.getvalue()


@pytest.mark.django_db
def test_a_sign_in_leaves_neither_name_nor_password(lines: io.StringIO) -> None:
    make_user("alice")
    for password in (PASSWORD, "wrong-horse-battery"):
        Client().post("/accounts/login/", {"login": "alice@example.org", "password": password})
    said = lines.getvalue()
    assert '"route": "/accounts/login/"' in said
    assert not [word for word in ("alice", "horse", "example.org") if word in said]


@pytest.mark.django_db
def test_the_id_of_a_request_stays_on_what_it_asked_for() -> None:
    client = Client()
    client.force_login(make_user("alice"))
    answer = client.post("/", {"file": image_file()}, headers={"Accept": "application/json"})
    assert answer.status_code == 201
    assert Prediction.objects.get().request_id == answer.headers["X-Request-ID"]
    assert current_request_id() == ""  # nothing of it is left for the next request


@pytest.mark.django_db
def test_an_id_from_outside_counts_only_behind_a_proxy_of_our_own() -> None:
    sent = {"X-Request-ID": "0123456789abcdef0123456789abcdef"}
    assert Client().get("/healthz", headers=sent).headers["X-Request-ID"] != sent["X-Request-ID"]
    with override_settings(TRUSTED_PROXIES=1, ALLAUTH_TRUSTED_PROXY_COUNT=1):
        assert Client().get("/healthz", headers=sent).headers["X-Request-ID"] == sent["X-Request-ID"]
        forged = {"X-Request-ID": 'x" onload="\nforged line'}
        assert Client().get("/healthz", headers=forged).headers["X-Request-ID"] != forged["X-Request-ID"]


@pytest.mark.django_db
def test_questions_of_machines_after_health_are_not_logged(lines: io.StringIO) -> None:
    Client().get("/healthz")
    assert not [line for line in parsed(lines) if line["event"] == "request"]


def test_load_that_is_shed_is_no_error_a_time(lines: io.StringIO) -> None:
    for status in (503, 507, 500):
        logging.getLogger("django.request").error("Said: %d", status, extra={"status_code": status})
    assert [line["event"] for line in parsed(lines)] == ["Said: 500"]


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("method", "path", "status", "refused"),
    [("get", "/photos/no-such/", 404, ""), ("post", "/", 403, "CSRF cookie not set."), ("put", "/", 405, "")],
)
def test_a_refusal_leaves_one_line_with_its_id(
    method: str, path: str, status: int, refused: str, lines: io.StringIO
) -> None:
    client = Client(enforce_csrf_checks=method == "post")
    client.force_login(make_user("alice"))
    answer = getattr(client, method)(path)
    assert answer.status_code == status
    (line,) = parsed(lines)
    assert (line["event"], line["status"], line.get("refused", "")) == ("request", status, refused)
    assert line["request_id"] == answer.headers["X-Request-ID"]


def test_people_read_a_line_of_words() -> None:
    config = logs.configure(as_json=False, level="INFO")
    written = config["handlers"]["console"]["stream"] = io.StringIO()
    logging.config.dictConfig(config)
    try:
        logging.getLogger("some.library").info("Photos wait.")
        logging.getLogger("cifarsite.web.request_logging").info("left out")
        assert "Photos wait." in written.getvalue()
        assert "{" not in written.getvalue()
        assert "left out" not in written.getvalue()
    finally:
        logging.config.dictConfig(logs.configure(as_json=False, level=settings.LOG_LEVEL))
