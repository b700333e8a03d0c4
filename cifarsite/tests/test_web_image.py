"""The web image without Docker: what its Dockerfile copies, installs, sets and starts, in a folder.

Of the packages of this environment the image's own requirements and what those require are linked into a
new virtual environment: what the web host needs and they do not name is missing here as it would be there.
"""

import fnmatch
import json
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import venv
from collections.abc import Iterator
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml
from packaging.requirements import Requirement

from cifarsite.test import image_bytes
from cifarsite.tests.hosts import new_database
from conftest import ROOT, free_port, wait_until

DOCKER = ROOT / "deploy" / "docker"
ABSENT = ("tensorflow", "keras", "sklearn", "scipy", "pytest", "playwright")
PUBLIC = {"Host": "photos.example.org", "X-Forwarded-Proto": "https"}


def instructions(stage: str) -> list[tuple[str, str]]:
    """What the Dockerfile does for a stage, those of the stages that it stands on first."""
    text = re.sub(r"^#.*\n", "", (DOCKER / "Dockerfile").read_text(), flags=re.MULTILINE)
    lines = re.sub(r"\s*\\\n\s*", " ", text).splitlines()
    stages: dict[str, list[tuple[str, str]]] = {}
    name = ""
    for word, _, rest in (line.strip().partition(" ") for line in lines if line.strip()):
        if word == "FROM":
            below, _as, name = rest.split()
            stages[name] = list(stages.get(below, []))
        else:
            stages[name].append((word, rest.strip()))
    return stages[stage]


def is_left_out(path: str) -> bool:
    """By Dockerfile.dockerignore; ``path`` from the project's folder on."""
    for pattern in (DOCKER / "Dockerfile.dockerignore").read_text().split():
        if pattern.startswith("**/"):
            if fnmatch.fnmatch(path.rpartition("/")[2], pattern[3:]):
                return True
        elif path == pattern:
            return True
    return False


def copy_project(target: Path) -> None:
    def leave_out(folder: str, names: list[str]) -> list[str]:
        place = Path(folder).relative_to(ROOT)
        return [name for name in names if is_left_out((place / name).as_posix())]

    shutil.copytree(ROOT, target, ignore=leave_out, symlinks=True)


def required(file: Path) -> set[str]:
    """The packages of a file of requirements and all that they require, here and now."""
    lines = (line.partition("#")[0].strip() for line in file.read_text().splitlines())
    wanted = [Requirement(line) for line in lines if line]
    seen: set[tuple[str, frozenset[str]]] = set()
    while wanted:
        need = wanted.pop()
        key = (need.name.lower(), frozenset(need.extras))
        if key in seen:
            continue
        seen.add(key)
        for text in distribution(need.name).requires or []:
            further = Requirement(text)
            extras = {"", *need.extras}
            if not further.marker or any(further.marker.evaluate({"extra": extra}) for extra in extras):
                wanted.append(further)
    return {name for name, _extras in seen}


def link_packages(names: set[str], target: Path) -> None:
    for name in names:
        found = distribution(name)
        for file in found.files or []:
            if ".." in file.parts or file.suffix == ".pyc":
                continue
            (target / file).parent.mkdir(parents=True, exist_ok=True)
            (target / file).symlink_to(str(found.locate_file(file)))


class Image:
    """The built image, and a container's environment."""

    def __init__(self, folder: Path, **settings: str) -> None:
        steps = instructions("web")
        self.place, self.port = folder / "opt", free_port()
        copy_project(self.place)
        environment = folder / "venv"
        venv.EnvBuilder(with_pip=False, symlinks=True).create(environment)
        packages = next(environment.glob("lib/python*/site-packages"))
        self.requirements = next(rest.split()[-1] for word, rest in steps if rest.startswith("pip install"))
        link_packages(required(ROOT / self.requirements), packages)
        self.environment = {"PATH": f"{environment / 'bin'}:{os.environ['PATH']}", "HOME": str(folder)}
        for word, rest in steps:
            if word == "ENV":
                self.environment |= dict(re.findall(r"([A-Z0-9_]+)=(\S+)", rest))
        (folder / "data").mkdir()
        self.environment |= {
            "VAR_DIR": str(folder / "data"),
            "WEB_BIND": f"127.0.0.1:{self.port}",
            **settings,
        }
        self.command: list[str] = json.loads(next(rest for word, rest in steps if word == "CMD"))
        asked = next(rest for word, rest in steps if word == "HEALTHCHECK")
        self.health: list[str] = json.loads(asked[asked.index("[") :].replace(":8000", f":{self.port}"))

    def run(self, *words: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            words, cwd=self.place, env=self.environment, capture_output=True, text=True, timeout=300
        )


def settings_of_production() -> dict[str, str]:
    """deploy/env.example, its secrets filled in; the services are the test's own."""
    lines = (ROOT / "deploy" / "env.example").read_text().splitlines()
    matches = [match for line in lines if (match := re.match(r"([A-Z0-9_]+)=(.*)", line))]
    named = {match[1]: match[2].replace("change-me", secrets.token_urlsafe(48)) for match in matches}
    for name in ("STORAGE_URL", "S3_ENDPOINT_URL", "EMAIL_URL", "VAR_DIR"):
        del named[name]
    return {**named, "EMAIL_URL": "dummymail://", "ADMIN_USERNAME": "ada"}


@pytest.fixture
def image(tmp_path: Path, postgres_url: str, redis_url: str) -> Iterator[Image]:
    with new_database(postgres_url) as database:
        services = {"DATABASE_URL": database, "BROKER_URL": redis_url, "CACHE_URL": redis_url[:-1] + "1"}
        yield Image(tmp_path, **{**settings_of_production(), **services})


def test_nothing_secret_and_nothing_of_this_machine_goes_into_the_image() -> None:
    for path in (
        ".env",
        "deploy/docker/.env",
        ".git",
        ".venv",
        "var",
        "classifier/__pycache__",
        "a/b/key.pem",
    ):
        assert is_left_out(path), path
    for path in ("manage.py", "training/pretrained", "deploy/gunicorn.conf.py", "deploy/env.example"):
        assert not is_left_out(path), path


@pytest.mark.endurance
@pytest.mark.thorough
@pytest.mark.slow
@pytest.mark.needs_postgres
@pytest.mark.needs_redis
def test_the_web_image_prepares_and_serves_the_site_without_tensorflow(image: Image) -> None:
    assert image.requirements == "requirements-web.txt"
    found = f"import importlib.util as u; print([n for n in {ABSENT!r} if u.find_spec(n)])"
    assert image.run("python", "-c", found).stdout.strip() == "[]"
    compose: dict[str, Any] = yaml.safe_load((DOCKER / "compose.yaml").read_text())["services"]

    prepared = image.run(*compose["prepare"]["command"])
    assert prepared.returncode == 0, prepared.stdout + prepared.stderr
    made = image.run("python", "manage.py", "apitoken", "ada", "--scopes", "predict,read")
    assert made.returncode == 0, made.stderr

    log = image.place.parent / "web.txt"
    with log.open("wb") as file:
        web = subprocess.Popen(
            image.command,
            cwd=image.place,
            env=image.environment,
            stdout=file,
            stderr=file,
            start_new_session=True,
        )
    try:
        wait_until(lambda: image.run(*image.health).returncode == 0 or web.poll() is not None, "health", 120)
        assert web.poll() is None, log.read_text()
        site = requests.Session()
        site.trust_env = False
        address = f"http://127.0.0.1:{image.port}"
        for path in ("/healthz", "/readyz", "/accounts/login/", "/api/v1/openapi.json", "/models/"):
            answer = site.get(address + path, headers=PUBLIC, timeout=60)
            assert answer.status_code == 200, (path, answer.text[:500], log.read_text()[-3_000:])
        style = re.search(r'href="(/static/[^"]+\.css)"', site.get(f"{address}/", headers=PUBLIC).text)
        assert style
        assert site.get(address + style[1], headers=PUBLIC, timeout=60).status_code == 200
        token = {"Authorization": f"Bearer {made.stdout.strip()}", **PUBLIC}
        photo = {"file": ("cat.jpg", image_bytes(size=(1200, 900)))}
        taken = site.post(f"{address}/api/v1/photos", files=photo, headers=token, timeout=60)
        assert taken.status_code == 202, taken.text
        swept = image.run(*compose["sweeper"]["command"][:3])
        assert swept.returncode == 0, swept.stderr
        web.send_signal(signal.SIGTERM)
        assert web.wait(int(compose["web"]["stop_grace_period"].rstrip("s"))) == 0
    finally:
        if web.poll() is None:
            os.killpg(web.pid, signal.SIGKILL)
            web.wait()
    assert "Traceback" not in log.read_text()
    assert sys.version_info[:2] == (3, 11)  # as the image's
