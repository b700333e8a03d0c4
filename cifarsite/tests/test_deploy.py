"""What lies in deploy/: read by the programs that it is for, as far as they are there, and run."""

import configparser
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import urllib3
import yaml

from cifarsite.test import image_bytes
from cifarsite.tests.hosts import Host
from classifier.management.commands.configuration import variables
from conftest import ROOT, accepts, free_port, require, wait_until

DEPLOY = ROOT / "deploy"
UNITS = sorted((DEPLOY / "systemd").glob("cifarsite-*"))
DOCKERFILE = DEPLOY / "docker" / "Dockerfile"
# Read by the libraries, by gunicorn's configuration or by Docker's commands, not by the settings.
OTHERS = {
    *("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION", "TF_CPP_MIN_LOG_LEVEL"),
    *("WEB_BIND", "WEB_PROCESSES", "QUEUES", "POSTGRES_PASSWORD"),
    *("PYTHONUNBUFFERED", "PYTHONDONTWRITEBYTECODE", "PIP_NO_CACHE_DIR", "PIP_DISABLE_PIP_VERSION_CHECK"),
}


def known_variables() -> set[str]:
    settings = (ROOT / "cifarsite" / "settings.py").read_text()
    return {variable.name for variable in variables(settings)} | OTHERS


def test_the_example_of_settings_names_only_settings_that_there_are() -> None:
    lines = (DEPLOY / "env.example").read_text().splitlines()
    named = {match[1] for line in lines if (match := re.match(r"#?([A-Z0-9_]+)=", line))}
    assert len(named) > 15
    assert named <= known_variables()


def test_the_example_of_settings_starts_a_site_once_its_secrets_are_filled_in(tmp_path: Path) -> None:
    environment = {"PATH": os.environ["PATH"]}
    for line in (DEPLOY / "env.example").read_text().splitlines():
        if match := re.match(r"([A-Z0-9_]+)=(.*)", line):
            environment[match[1]] = match[2].replace("change-me", secrets.token_urlsafe(48))
    environment["VAR_DIR"] = str(tmp_path)
    done = subprocess.run(
        [sys.executable, "manage.py", "check", "--deploy", "--fail-level", "WARNING"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.name)
def test_systemd_takes_each_unit(unit: Path, tmp_path: Path) -> None:
    if not shutil.which("systemd-analyze"):
        pytest.skip("systemd-analyze is not installed.")
    # All of them, since they name each other; with this project's folder for the one in production.
    for file in UNITS:
        text = file.read_text().replace("/opt/cifarsite/.venv/bin/python", sys.executable)
        (tmp_path / file.name).write_text(text.replace("/opt/cifarsite", str(ROOT)))
    name = unit.name.replace("@.", "@1.")
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(tmp_path / name)], capture_output=True, text=True
    )
    said = [line for line in (done.stdout + done.stderr).splitlines() if "cifarsite" in line]
    assert (done.returncode, said) == (0, [])


@pytest.mark.parametrize("unit", [u for u in UNITS if u.suffix == ".service"], ids=lambda path: path.name)
def test_each_command_of_a_unit_exists(unit: Path) -> None:
    parser = configparser.RawConfigParser(strict=False)
    parser.optionxform = str  # type: ignore[method-assign, assignment]
    parser.read(unit)
    words = parser["Service"]["ExecStart"].split()
    assert words[0] == "/opt/cifarsite/.venv/bin/python"
    if words[1] == "manage.py":
        argv = [sys.executable, "manage.py", words[2], "--help"]
    else:
        argv = [sys.executable, "-m", words[2], "--help"]
    assert subprocess.run(argv, cwd=ROOT, capture_output=True).returncode == 0
    queues = re.search(r"--queues (\S+)", parser["Service"]["ExecStart"])
    assert not queues or set(queues[1].split(",")) <= {"predict", "batch", "default", "train"}


def test_the_compose_file_hangs_together() -> None:
    compose = yaml.safe_load((DEPLOY / "docker" / "compose.yaml").read_text())
    services = compose["services"]
    assert set(services) == {"postgres", "redis", "prepare", "web", "sweeper", "predict", "train"}
    targets = set(re.findall(r"^FROM \S+ AS (\w+)", DOCKERFILE.read_text(), re.MULTILINE))
    for name, service in services.items():
        assert ("image" in service) or ("build" in service)
        if build := service.get("build"):
            assert build["target"] in targets
            assert (DEPLOY / "docker" / build["context"] / build["dockerfile"]).resolve() == DOCKERFILE
        for other in service.get("depends_on", {}):
            assert other in services
        for volume in service.get("volumes", []):
            source, target = re.sub(r"\$\{\w+:-(\w+)\}", r"\1", volume).split(":")[:2]
            assert source in compose["volumes"]
            # A new volume belongs to root where the image has no such folder.
            assert not target.startswith("/var/lib/cifarsite/") or target in DOCKERFILE.read_text()
        if service.get("build", {}).get("target") == "web":
            # The image's check asks a web server, and only one of them is one.
            assert (name == "web") != ("healthcheck" in service)
        if name not in ("postgres", "redis"):
            assert set(service["environment"]) <= known_variables()
    assert "--appendonly" in services["redis"]["command"]
    # Longer than the processes take that are asked to end.
    patience = {name: int(services[name].get("stop_grace_period", "10s")[:-1]) for name in services}
    graceful = re.search(r"^graceful_timeout = (\d+)", (DEPLOY / "gunicorn.conf.py").read_text(), re.M)
    assert graceful and patience["web"] > int(graceful[1])
    assert min(patience["predict"], patience["train"], patience["postgres"]) >= 60
    # What trains keeps its checkpoints through a new container.
    assert any("runs" in volume for volume in services["train"]["volumes"])


def test_the_dockerfile_takes_each_set_of_requirements_for_its_host() -> None:
    text = DOCKERFILE.read_text()
    found = dict(re.findall(r"^FROM base AS (\w+)\nRUN pip install -r (\S+)", text, re.MULTILINE))
    assert found == {
        "web": "requirements-web.txt",
        "worker": "requirements.txt",
        "gpu": "requirements-gpu.txt",
    }
    assert all((ROOT / name).is_file() for name in found.values())
    assert text.count("USER cifarsite") == 3
    assert set(re.findall(r"\b([A-Z][A-Z_]{3,})=", text)) - known_variables() == set()


def test_redis_takes_its_configuration_and_keeps_messages(tmp_path: Path) -> None:
    program, port = require("needs_redis"), free_port()
    text = (DEPLOY / "redis.conf").read_text().replace("port 6379", f"port {port}")
    (tmp_path / "redis.conf").write_text(text.replace("bind 0.0.0.0", "bind 127.0.0.1"))
    from redis import Redis

    client = Redis(port=port, password="change-me")
    for first in (True, False):
        argv = [program, str(tmp_path / "redis.conf"), "--dir", str(tmp_path)]
        process = subprocess.Popen(argv, stdout=subprocess.DEVNULL)
        try:
            wait_until(lambda: accepts(port), "Redis")
            if first:
                client.rpush("predict", "look")
            else:
                assert client.lrange("predict", 0, -1) == [b"look"]
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()


def test_postgresql_takes_its_configuration() -> None:
    programs = require("needs_postgres")
    text = (DEPLOY / "postgresql.conf").read_text().replace("ssl = on", "ssl = off")
    person: dict[str, Any] = {}
    # A folder that PostgreSQL's person can reach, which pytest's own is not.
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if os.geteuid() == 0:
            person = {"user": "postgres", "group": "postgres", "extra_groups": []}
            shutil.chown(folder, "postgres")
        (folder / "postgresql.conf").write_text(text)
        argv = [programs / "postgres", "-C", "archive_mode", "-D", name]
        done = subprocess.run(
            [*argv, "-c", f"config_file={folder / 'postgresql.conf'}"],
            capture_output=True,
            text=True,
            cwd=name,
            **person,
        )
    assert done.stdout.strip() == "on", done.stderr


@pytest.fixture
def behind_nginx(tmp_path: Path) -> Iterator[tuple[Host, str]]:
    """A web host as in production: https ended by nginx, gunicorn with its configuration, JSON lines."""
    program = require("needs_nginx")
    web, plain, tls = free_port(), free_port(), free_port()
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    openssl = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    openssl += ["-subj", "/CN=photos.example.org", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(openssl, check=True, capture_output=True)
    text = (DEPLOY / "nginx" / "cifarsite.conf").read_text()
    for old, new in (
        ("127.0.0.1:8000", f"127.0.0.1:{web}"),
        ("listen 80;", f"listen 127.0.0.1:{plain};"),
        ("listen 443 ssl", f"listen 127.0.0.1:{tls} ssl"),
        ("/etc/ssl/cifarsite/fullchain.pem", str(certificate)),
        ("/etc/ssl/cifarsite/privkey.pem", str(key)),
        ("/var/log/nginx/cifarsite.log", str(tmp_path / "access.log")),
        # Small enough to be passed by a test.
        ("client_max_body_size 256m", "client_max_body_size 2m"),
        ("client_max_body_size 2064m", "client_max_body_size 8m"),
    ):
        assert old in text, old
        text = text.replace(old, new)
    folders = "".join(
        f"{kind}_temp_path {tmp_path / kind};\n"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (tmp_path / "nginx.conf").write_text(
        f"daemon off; master_process off; pid {tmp_path / 'nginx.pid'}; error_log {tmp_path / 'error.log'};\n"
        f"events {{}}\nhttp {{\n{folders}{text}}}\n"
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
        host.manage("collectstatic", "--noinput", "--verbosity", "0")
        words = ("-m", "gunicorn", "cifarsite.wsgi", "--config", "deploy/gunicorn.conf.py")
        host.python(*words, name="web")
        host.start(*argv, name="nginx")
        wait_until(lambda: accepts(web) and accepts(tls), "gunicorn behind nginx", 90)
        yield host, f"https://127.0.0.1:{tls}"
    finally:
        host.destroy()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::urllib3.exceptions.InsecureRequestWarning")
def test_nginx_lets_uploads_in_up_to_its_limits_and_gives_each_request_its_id(
    behind_nginx: tuple[Host, str],
) -> None:
    urllib3.disable_warnings()
    host, address = behind_nginx
    token = (host.folder / "token").read_text()
    site = requests.Session()
    site.trust_env = site.verify = False
    site.headers.update({"Host": "photos.example.org", "Authorization": f"Bearer {token}"})
    photos = f"{address}/api/v1/photos"

    taken = site.post(photos, files={"file": ("cat.jpg", image_bytes(size=(1200, 900)))}, timeout=60)
    assert taken.status_code == 202, taken.text
    # Set by nginx, whatever the client sends, and the same in the log of the site.
    sent = {"X-Request-ID": "0123456789abcdef", "X-Forwarded-For": "9.9.9.9"}
    page = site.get(f"{address}/api/v1/photos", headers=sent, timeout=60)
    assert page.status_code == 200
    given = page.headers["X-Request-ID"]
    assert re.fullmatch("[0-9a-f]{32}", given)
    wait_until(lambda: given in host.said("web"), "the request's line", 10)
    # A form that grew too large is refused by nginx; what an archive may have is more.
    large = os.urandom(3 * 1024 * 1024)
    refused = site.post(f"{address}/", data=large, timeout=60)
    assert (refused.status_code, refused.json()["code"]) == (413, "too_large")
    through = site.post(photos, files={"file": ("noise.jpg", large)}, timeout=60)
    assert (through.status_code, through.json()["code"]) == (400, "not_an_image")
    assert site.post(photos, data=os.urandom(9 * 1024 * 1024), timeout=60).status_code == 413

    assert site.get(f"{address}/metrics", timeout=60).status_code == 404
    front = site.get(f"{address}/", headers={"Authorization": ""}, timeout=60)
    assert front.status_code == 200
    assert "Strict-Transport-Security" in front.headers
    assert front.cookies.get_dict() == {} or all(cookie.secure for cookie in front.cookies)
    # The addresses of mails carry keys: neither log has them.
    site.get(f"{address}/accounts/confirm-email/MQ:1uXyz:s3cret/", timeout=60)
    log = host.folder.parent / "access.log"
    wait_until(lambda: "confirm-email" in log.read_text(), "nginx' line", 10)
    assert "s3cret" not in log.read_text() + host.said("web")
    assert token not in log.read_text() + host.said("web")

    os.killpg(host.running[0].pid, signal.SIGKILL)
    host.running[0].wait()
    away = site.get(f"{address}/history/", timeout=60)
    assert (away.status_code, away.json()["code"], away.headers["Retry-After"]) == (503, "away", "15")
