"""Real web processes and a real worker: one id from the upload to the answer, one sum of all counts."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
import requests
from prometheus_client.parser import text_string_to_metric_families

from cifarsite.test import PASSWORD, image_bytes
from cifarsite.tests.hosts import Host
from conftest import accepts, free_port, wait_until

METRICS = "metrics-token-of-the-test"


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    port = free_port()
    made = Host(
        tmp_path_factory.mktemp("site"),
        LOG_FORMAT="json",
        METRICS_TOKEN=METRICS,
        WEB_BIND=f"127.0.0.1:{port}",
        TRUSTED_PROXIES=1,
    )
    try:
        (made.folder / "token").write_text(made.prepare())
        made.collect_static()
        made.python("-m", "gunicorn", "cifarsite.wsgi", "--config", "deploy/gunicorn.conf.py", name="web")
        made.start_worker("w1")
        wait_until(lambda: accepts(port), "the web server", 90)
        made.wait_for_worker("w1")
        (made.folder / "address").write_text(f"http://127.0.0.1:{port}")
        yield made
    finally:
        made.destroy()


def call(host: Host, method: str, path: str, token: str = "", **more: Any) -> requests.Response:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    headers |= {"X-Forwarded-For": "127.0.0.1", **more.pop("headers", {})}
    address = (host.folder / "address").read_text()
    return requests.request(method, address + path, headers=headers, timeout=60, **more)


def lines(host: Host, name: str, **members: str) -> list[dict[str, Any]]:
    """The lines of a log with these members."""
    found = [json.loads(line) for line in host.said(name).splitlines() if line.startswith("{")]
    return [line for line in found if members.items() <= line.items()]


@pytest.mark.slow
def test_one_id_goes_from_the_upload_to_the_workers_line(host: Host) -> None:
    token = (host.folder / "token").read_text()
    given = {"X-Request-ID": "feedfacefeedfacefeedfacefeedface"}
    answer = call(
        host,
        "POST",
        "/api/v1/photos?wait=30",
        token,
        files={"file": ("my-holiday.jpg", image_bytes())},
        headers=given,
    )
    assert answer.status_code == 200, answer.text
    request_id = answer.headers["X-Request-ID"]
    assert request_id == given["X-Request-ID"]
    photo = answer.json()["photos"][0]["id"]
    wait_until(lambda: bool(lines(host, "w1", event="answered")), "the worker's line")
    (asked,) = lines(host, "web", event="request", request_id=request_id)
    assert (asked["route"], asked["status"]) == ("/api/v1/photos", 200)
    assert asked["person"]
    (answered,) = lines(host, "w1", event="answered")
    assert (answered["request_id"], answered["photo"]) == (request_id, photo)


@pytest.mark.slow
def test_no_log_holds_a_secret_or_a_person(host: Host) -> None:
    token = (host.folder / "token").read_text()
    for word in (token, "Bearer"):
        assert call(host, "GET", f"/api/v1/photos?cursor={word}", token).status_code in (200, 400)
    form = {"login": "alice@example.org", "password": PASSWORD}
    assert call(host, "POST", "/accounts/login/", data=form).status_code == 403  # no CSRF token
    assert call(host, "GET", "/accounts/password/reset/key/1-s3cretkey/").status_code in (200, 302, 404)
    wait_until(lambda: bool(lines(host, "web", route="/accounts/login/")), "the line", 10)
    for name in ("web", "w1"):
        said = host.said(name)
        for secret in (token, PASSWORD, "alice", "s3cretkey", "my-holiday", METRICS):
            assert secret not in said, name


@pytest.mark.slow
def test_metrics_are_the_sum_of_all_processes(host: Host) -> None:
    token = (host.folder / "token").read_text()

    def figure(name: str, **labels: str) -> float:
        answer = call(host, "GET", "/metrics", METRICS)
        assert answer.status_code == 200
        return sum(
            sample.value
            for family in text_string_to_metric_families(answer.text)
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )

    route = {"route": "/api/v1/photos", "method": "GET", "status": "200"}
    before, answered = (
        figure("cifarsite_request_seconds_count", **route),
        figure("cifarsite_predictions_total"),
    )
    for _ in range(20):
        assert call(host, "GET", "/api/v1/photos", token).status_code == 200
    # Whichever of the two web processes is asked, it tells of both.
    assert {figure("cifarsite_request_seconds_count", **route) for _ in range(6)} == {before + 20}
    call(host, "POST", "/api/v1/photos?wait=30", token, files={"file": ("a.jpg", image_bytes())})
    wait_until(lambda: figure("cifarsite_predictions_total") == answered + 1, "the worker's count")
    assert figure("cifarsite_workers", queue="predict") == 1
    assert call(host, "GET", "/metrics").status_code == 401
