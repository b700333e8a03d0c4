"""Versions with published holes are not installed, and production settings have nothing to complain of."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from conftest import ROOT

# Each closes holes that are published: do not go below.
FLOORS = {"pillow": (13, 0, 0), "Django": (5, 2, 19), "keras": (3, 15, 1)}
SECRET = re.compile(
    r"(?i)(secret_key|password|token|aws_secret_access_key)\s*[:=]\s*[\"'][A-Za-z0-9+/_-]{24,}[\"']"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----|\bAKIA[0-9A-Z]{16}\b|\bcifar_[A-Za-z0-9_-]{43}\b"
)
PRODUCTION = {
    "SECRET_KEY": "0123456789-abcdefghijklmnopqrstuvwxyz-ABCDEFGHIJKLMNOPQRSTUVWXYZ",
    "DEBUG": "false",
    "HTTPS": "true",
    "ALLOWED_HOSTS": "example.org",
    "CSRF_TRUSTED_ORIGINS": "https://example.org",
}


def parts(text: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", text)[:3])


@pytest.mark.parametrize("name", FLOORS)
def test_nothing_below_a_version_that_closed_a_hole_is_installed_or_asked_for(name: str) -> None:
    assert parts(version(name)) >= FLOORS[name]
    for path in ROOT.glob("requirements*.txt"):
        for line in path.read_text().splitlines():
            if found := re.match(rf"{name}(\[[\w,]+\])?==([\d.]+)", line, re.IGNORECASE):
                assert parts(found[2]) >= FLOORS[name], f"{path.name}: {line}"


def run(code: list[str], **changes: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, **PRODUCTION, **changes}
    for name in ("DJANGO_SETTINGS_MODULE", "DJANGO_ALLOW_ASYNC_UNSAFE"):
        environment.pop(name, None)
    return subprocess.run([sys.executable, *code], cwd=ROOT, env=environment, capture_output=True, text=True)


def test_the_check_for_deployment_finds_nothing(tmp_path: Path) -> None:
    done = run(["manage.py", "check", "--deploy", "--fail-level", "WARNING"], VAR_DIR=str(tmp_path))
    assert done.returncode == 0, done.stderr


def test_in_production_cookies_travel_by_https_alone(tmp_path: Path) -> None:
    code = """
import django, os
os.environ["DJANGO_SETTINGS_MODULE"] = "cifarsite.settings"
django.setup()
from django.conf import settings as s
assert s.SESSION_COOKIE_SECURE and s.CSRF_COOKIE_SECURE and s.LANGUAGE_COOKIE_SECURE
assert s.SESSION_COOKIE_HTTPONLY and s.SESSION_COOKIE_SAMESITE == s.CSRF_COOKIE_SAMESITE == "Lax"
assert s.SECURE_SSL_REDIRECT and s.SECURE_HSTS_SECONDS >= 31_536_000
assert not s.DEBUG and "*" not in s.ALLOWED_HOSTS
assert s.SECURE_PROXY_SSL_HEADER is None, "believed only behind a proxy of one's own"
"""
    done = run(["-c", code], VAR_DIR=str(tmp_path))
    assert done.returncode == 0, done.stderr


def test_a_key_that_the_site_makes_is_readable_by_its_owner_alone(tmp_path: Path) -> None:
    done = run(["manage.py", "check"], VAR_DIR=str(tmp_path), SECRET_KEY="")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "secret_key").stat().st_mode & 0o777 == 0o600


def test_no_file_of_the_project_holds_a_secret() -> None:
    names = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    assert len(names) > 100
    for name in names:
        path = ROOT / name
        if "static/vendor" in name or not path.is_file() or path.stat().st_size > 1_000_000:
            continue
        found = SECRET.search(path.read_bytes().decode("utf-8", "ignore"))
        assert found is None or "/tests/" in f"/{name}", f"{name}: {found}"
