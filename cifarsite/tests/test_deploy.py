"""What lies in deploy/: read by the programs that it is for, as far as they are there, and run."""

import configparser
import os
import platform
import re
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
from importlib.metadata import requires, version
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement

from classifier.management.commands.configuration import ELSEWHERE, variables
from conftest import ROOT, accepts, free_port, require, wait_until

DEPLOY = ROOT / "deploy"
UNITS = sorted((DEPLOY / "systemd").glob("cifarsite-*"))
DOCKERFILE = DEPLOY / "docker" / "Dockerfile"
# Not by the settings: in the reference, and what only an image needs.
OTHERS = {name for name, _default, _meaning in ELSEWHERE} | {
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
    on_gpus = {"predict-gpu", "train-gpu"}
    assert (
        set(services)
        == {"postgres", "redis", "prepare", "web", "sweeper", "predict", "train", "backup"} | on_gpus
    )
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
    # What the file .env says for this machine stops no service that does not have it.
    for name in ("web", "predict", "sweeper", "prepare", "backup"):
        assert services[name]["environment"]["CIFAR10_DIR"] == ""
    assert "--appendonly" in services["redis"]["command"]
    # Longer than the processes take that are asked to end.
    patience = {name: int(services[name].get("stop_grace_period", "10s")[:-1]) for name in services}
    graceful = re.search(r"^graceful_timeout = (\d+)", (DEPLOY / "gunicorn.conf.py").read_text(), re.M)
    assert graceful and patience["web"] > int(graceful[1])
    assert min(patience["predict"], patience["train"], patience["postgres"]) >= 60
    # What trains keeps its checkpoints through a new container.
    for name in ("train", "train-gpu"):
        assert any("runs" in volume for volume in services[name]["volumes"])
    for name in on_gpus:
        # Only where they are asked for: a host without a card does not start them.
        assert services[name]["profiles"] == ["gpu"]
        (device,) = services[name]["deploy"]["resources"]["reservations"]["devices"]
        assert (device["driver"], device["capabilities"]) == ("nvidia", ["gpu"])


def test_a_gpu_host_takes_one_version_of_each_library_that_tensorflow_loads() -> None:
    lines = (ROOT / "requirements-gpu.txt").read_text().splitlines()
    pinned = dict(line.split("==") for line in lines if "==" in line)
    package = "tensorflow-cpu" if sys.platform == "linux" and platform.machine() == "x86_64" else "tensorflow"
    assert pinned["tensorflow[and-cuda]"] == version(package)
    asked = [Requirement(text) for text in requires(package) or () if text.startswith("nvidia-")]
    assert {name for name in pinned if name.startswith("nvidia-")} == {each.name for each in asked}
    for each in asked:
        assert pinned[each.name] in each.specifier, f"{each.name}: TensorFlow wants {each.specifier}"


def test_the_dockerfile_takes_each_set_of_requirements_for_its_host() -> None:
    text = DOCKERFILE.read_text()
    found = dict(re.findall(r"^FROM base AS (\w+)\nRUN pip install -r (\S+)", text, re.MULTILINE))
    assert found == {
        "web": "requirements-web.txt",
        "worker": "requirements.txt",
        "gpu": "requirements-gpu.txt",
    }
    assert all((ROOT / name).is_file() for name in found.values())
    # By number: Kubernetes' runAsNonRoot cannot look a name up.
    assert text.count("USER 999:999") == 3 and "--uid 999 " in text
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
    text = (DEPLOY / "postgresql.conf").read_text()
    # Debian's own certificate; elsewhere there is none, and PostgreSQL would not start.
    assert not re.search(r"^ssl", text, re.MULTILINE)
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
