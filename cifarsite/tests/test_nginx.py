"""deploy/nginx, run: https, limits, what a person and a program read of nginx itself, a dead upstream."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from html.parser import HTMLParser
from typing import Any

import httpx
import pytest

from cifarsite.test import image_bytes
from cifarsite.tests.hosts import Host
from conftest import ROOT, accepts, free_port, require, wait_until

HOST = "photos.example.org"
NGINX = ROOT / "deploy" / "nginx"
PAGE = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
SESSION = """
from django.test import Client
from classifier.models import User
client = Client()
client.force_login(User.objects.get())
answer = client.cookies['sessionid'].value
"""


def test_what_nginx_answers_with_is_there_for_people_and_for_programs() -> None:
    names = {path.name for path in (NGINX / "errors").iterdir()}
    text = (NGINX / "cifarsite.conf").read_text()
    statuses = set(re.findall(r"/cifarsite-errors/(\d+)\.", text))
    assert statuses == {"413", "429", "503"}
    assert names == {"error.css"} | {f"{s}.{end}" for s in statuses for end in ("json", "en.html", "vi.html")}
    for status in statuses:
        problem = httpx.Response(200, content=(NGINX / "errors" / f"{status}.json").read_bytes()).json()
        assert set(problem) == {"type", "title", "status", "detail", "code"}
        assert problem["status"] == int(status)
        for language in ("en", "vi"):
            page = (NGINX / "errors" / f"{status}.{language}.html").read_text()
            HTMLParser().feed(page)
            assert f'<html lang="{language}">' in page
            # Their policy allows neither.
            assert "<style" not in page and "<script" not in page


@pytest.fixture(scope="module")
def behind_nginx(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Host, str]]:
    """A web host as in production: https ended by nginx, gunicorn with its configuration, JSON lines."""
    program, tmp_path = require("needs_nginx"), tmp_path_factory.mktemp("nginx")
    web, plain, tls = free_port(), free_port(), free_port()
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    openssl = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    openssl += ["-subj", "/CN=photos.example.org", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(openssl, check=True, capture_output=True)
    text = (NGINX / "cifarsite.conf").read_text()
    for old, new in (
        ("127.0.0.1:8000", f"127.0.0.1:{web}"),
        ("listen 80;", f"listen 127.0.0.1:{plain};"),
        ("listen 443 ssl", f"listen 127.0.0.1:{tls} ssl"),
        ("/etc/ssl/cifarsite/fullchain.pem", str(certificate)),
        ("/etc/ssl/cifarsite/privkey.pem", str(key)),
        ("/var/log/nginx/cifarsite.log", str(tmp_path / "access.log")),
        ("alias /etc/nginx/cifarsite-errors/", f"alias {NGINX / 'errors'}/"),
        # Small enough to be passed by a test.
        ("client_max_body_size 256m", "client_max_body_size 2m"),
        ("client_max_body_size 2064m", "client_max_body_size 8m"),
    ):
        assert old in text, old
        text = text.replace(old, new)
    # A machine that is busy sends too slowly for the real rates; the bursts are the real ones.
    text = re.sub(r"rate=\d+r/s", "rate=1r/s", text)
    folders = "".join(
        f"{kind}_temp_path {tmp_path / kind};\n"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    # The user who owns the files: what starts as root would read them as nobody.
    user = "user root;" if os.geteuid() == 0 else ""
    (tmp_path / "nginx.conf").write_text(
        f"{user} daemon off; master_process off; pid {tmp_path / 'nginx.pid'};\n"
        f"error_log {tmp_path / 'error.log'};\nevents {{}}\nhttp {{\n{folders}{text}}}\n"
    )
    argv = [program, "-c", str(tmp_path / "nginx.conf"), "-p", str(tmp_path)]
    tested = subprocess.run([*argv, "-t"], capture_output=True, text=True)
    assert tested.returncode == 0, tested.stderr
    assert "warn" not in tested.stderr, tested.stderr

    host = Host(
        tmp_path / "site",
        HTTPS="true",
        TRUSTED_PROXIES=1,
        ALLOWED_HOSTS="photos.example.org,localhost,127.0.0.1",
        LOG_FORMAT="json",
        METRICS_TOKEN="metrics-token-of-the-test",
        WEB_BIND=f"127.0.0.1:{web}",
    )
    try:
        (host.folder / "token").write_text(host.prepare())
        host.collect_static()
        words = ("-m", "gunicorn", "cifarsite.wsgi", "--config", "deploy/gunicorn.conf.py")
        host.python(*words, name="web")
        host.start(*argv, name="nginx")
        wait_until(lambda: accepts(web) and accepts(tls), "gunicorn behind nginx", 90)
        yield host, f"https://127.0.0.1:{tls}"
    finally:
        host.destroy()


def client(address: str, **headers: str) -> httpx.Client:
    # Any certificate; no proxy of this machine's.
    return httpx.Client(
        base_url=address, verify=False, trust_env=False, timeout=60, headers={"Host": HOST, **headers}
    )


def at_once(address: str, requests: list[dict[str, Any]], **how: Any) -> list[httpx.Response]:
    """All requests at the same moment over one connection; ``how``: what httpx' transport takes."""

    async def ask() -> list[httpx.Response]:
        how.setdefault("limits", httpx.Limits(max_connections=1))
        transport = httpx.AsyncHTTPTransport(verify=False, trust_env=False, **how)
        async with httpx.AsyncClient(
            base_url=address, transport=transport, timeout=120, headers={"Host": HOST}
        ) as site:
            # One first, or each of them would open a connection of its own.
            await site.get("/healthz")
            return await asyncio.gather(*(site.request(**request) for request in requests))

    return asyncio.run(ask())


@pytest.mark.slow
def test_nginx_lets_uploads_in_up_to_its_limits_and_gives_each_request_its_id(
    behind_nginx: tuple[Host, str],
) -> None:
    host, address = behind_nginx
    token = (host.folder / "token").read_text()
    with client(address, Authorization=f"Bearer {token}") as site:
        photo = {"file": ("cat.jpg", image_bytes(size=(1200, 900)))}
        taken = site.post("/api/v1/photos", files=photo)
        assert taken.status_code == 202, taken.text
        # Set by nginx, whatever the client sends, and the same in the log of the site.
        sent = {"X-Request-ID": "0123456789abcdef", "X-Forwarded-For": "9.9.9.9"}
        page = site.get("/api/v1/photos", headers=sent)
        assert page.status_code == 200
        given = page.headers["X-Request-ID"]
        assert re.fullmatch("[0-9a-f]{32}", given)
        wait_until(lambda: given in host.said("web"), "the request's line", 10)
        # A form that grew too large is refused by nginx; what an archive may have is more.
        large = os.urandom(3 * 1024 * 1024)
        noise = {"file": ("noise.jpg", large)}
        through = site.post("/api/v1/photos", files=noise)
        assert (through.status_code, through.json()["code"]) == (400, "not_an_image")
        images = site.post("/api/v1/projects/cifar10/images", files={"archive": ("a.zip", large)})
        assert "nginx" not in images.text and images.status_code != 413

        assert site.get("/metrics").status_code == 404
    with client(address, **PAGE) as person:
        front = person.get("/")
        assert front.status_code == 200
        assert "Strict-Transport-Security" in front.headers
        cookies = front.headers.get_list("Set-Cookie")
        assert all("Secure" in cookie for cookie in cookies)
        # The addresses of mails carry keys: neither log has them.
        person.get("/accounts/confirm-email/MQ:1uXyz:s3cret/?next=s3cret")
    log = host.folder.parent / "access.log"
    wait_until(lambda: "confirm-email" in log.read_text(), "nginx' line", 10)
    assert "s3cret" not in log.read_text() + host.said("web")
    assert token not in log.read_text() + host.said("web")


@pytest.mark.slow
def test_nginx_refuses_what_is_too_large_in_the_words_of_whoever_asks(
    behind_nginx: tuple[Host, str],
) -> None:
    host, address = behind_nginx
    with client(address) as site:
        large = os.urandom(3 * 1024 * 1024)
        page = site.post("/", content=large, headers=PAGE)
        assert (page.status_code, page.headers["Content-Type"]) == (413, "text/html; charset=utf-8")
        assert "send fewer or smaller files" in page.text
        assert page.headers["Content-Security-Policy"].startswith("default-src 'none'; style-src 'self'")
        style = re.search(r'href="(/cifarsite-errors/\S+)"', page.text)
        assert style and site.get(style[1]).headers["Content-Type"] == "text/css"
        # The pages themselves are for errors alone.
        assert site.get("/cifarsite-errors/413.en.html").status_code == 404

        vietnamese = site.post("/", content=large, headers={**PAGE, "Accept-Language": "vi,en;q=0.5"})
        assert 'lang="vi"' in vietnamese.text and "Quá lớn" in vietnamese.text
        chosen = {**PAGE, "Accept-Language": "vi", "Cookie": "django_language=en"}
        assert 'lang="en"' in site.post("/", content=large, headers=chosen).text

        # The page's own script says what it reads.
        for path, accept in (("/api/v1/photos", "*/*"), ("/", "application/json")):
            refused = site.post(path, content=os.urandom(9 * 1024 * 1024), headers={"Accept": accept})
            assert (refused.status_code, refused.json()["code"]) == (413, "too_large"), path
            assert refused.headers["Content-Type"].startswith("application/problem+json")
    log = (host.folder.parent / "access.log").read_text()
    assert '"path":"/api/v1/photos","status":413' in log


@pytest.mark.slow
def test_pages_full_of_pictures_are_not_limited(behind_nginx: tuple[Host, str]) -> None:
    """Two windows of one person: over HTTP/2 each picture that is under way counts as a connection."""
    host, address = behind_nginx
    bearer = {"Authorization": f"Bearer {(host.folder / 'token').read_text()}"}
    with client(address) as site:
        photo = {"file": ("dog.jpg", image_bytes(size=(640, 480)))}
        stored = site.post("/api/v1/photos", files=photo, headers=bearer).json()["photos"][0]
    cookie = {"Cookie": f"sessionid={host.ask(SESSION)}"}
    picture = {"method": "GET", "url": f"/photos/{stored['id']}/thumbnail/", "headers": cookie}
    with ThreadPoolExecutor() as windows:
        both = [windows.submit(at_once, address, [picture] * 200, http2=True) for _ in range(2)]
    answers = [each for window in both for each in window.result()]
    assert {each.http_version for each in answers} == {"HTTP/2"}
    assert Counter(each.status_code for each in answers) == {200: 400}
    assert all(each.headers["Content-Type"].startswith("image/") for each in answers)


@pytest.mark.slow
def test_a_flood_of_changes_from_one_address_is_told_when_to_go_on(behind_nginx: tuple[Host, str]) -> None:
    _, address = behind_nginx
    many = httpx.Limits(max_connections=20)
    for path, burst in (("/accounts/login/", 60), ("/api/v1/photos", 300)):
        for number, accept in enumerate(("text/html", "application/json"), start=2):
            # From an address of its own, since each has its own count.
            sender = f"127.0.0.{number}"
            flood = {"method": "POST", "url": path, "headers": {"Accept": accept}}
            answers = at_once(address, [flood] * (burst + 150), limits=many, local_address=sender)
            refused = [each for each in answers if each.status_code == 429]
            # Refused by the site itself: no form's key, no token.
            assert {each.status_code for each in answers} == {429, 401 if "api" in path else 403}
            assert len(refused) >= 10
            for each in refused:
                assert each.headers["Retry-After"] == "5"
                if accept == "text/html" and "api" not in path:
                    assert "<h1>Too many requests</h1>" in each.text
                else:
                    assert each.json()["code"] == "rate"
    # Whoever only looks is let in all the same.
    look = {"method": "GET", "url": "/", "headers": PAGE}
    assert at_once(address, [look], local_address="127.0.0.2")[0].status_code == 200


@pytest.mark.slow
def test_forms_work_on_another_port_than_443(behind_nginx: tuple[Host, str]) -> None:
    """A browser names the port as the form's origin, and the site compares it with the host's."""
    _, address = behind_nginx
    origin = f"https://{HOST}:{address.rpartition(':')[2]}"
    with client(address, **PAGE, Host=origin.removeprefix("https://")) as site:
        page = site.get("/accounts/login/")
        key = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', page.text)
        assert key
        form = {"csrfmiddlewaretoken": key[1], "login": "nobody", "password": "wrong"}
        cookie = page.headers["Set-Cookie"].partition(";")[0]
        sent = {"Origin": origin, "Referer": f"{origin}/accounts/login/", "Cookie": cookie}
        answered = site.post("/accounts/login/", data=form, headers=sent)
        assert (answered.status_code, "The user name or the password is wrong" in answered.text) == (
            200,
            True,
        )


@pytest.mark.slow
def test_while_the_site_is_away_nginx_says_so(behind_nginx: tuple[Host, str]) -> None:
    """The last of these: it kills the site."""
    host, address = behind_nginx
    os.killpg(host.running[0].pid, signal.SIGKILL)
    host.running[0].wait()
    with client(address) as site:
        page = site.get("/history/", headers=PAGE)
        assert (page.status_code, page.headers["Retry-After"]) == (503, "15")
        assert "<h1>The site is away</h1>" in page.text
        problem = site.get("/api/v1/photos")
        assert (problem.status_code, problem.headers["Retry-After"]) == (503, "15")
        assert problem.headers["Content-Type"].startswith("application/problem+json")
        assert problem.json()["code"] == "away"
