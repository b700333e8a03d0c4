"""Seven hosts, each in a network namespace and a folder of its own; the link to each is cut in turn.

Web and sweeper, Redis, PostgreSQL, two prediction workers, a store of files, a training worker. A cut
link is an interface that is down: packets vanish, and nobody says that the connection is over.
"""

from __future__ import annotations

import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
import requests

from cifarsite.test import image_bytes
from cifarsite.tests.hosts import Host, Process
from conftest import S3_KEYS, require, s3_client, wait_until
from training.engine.tests.data.synthetic import write_binary

NAMES = ("web", "redis", "postgres", "s3", "predict1", "predict2", "train")
# The training run goes on from the first cut to the third, on a machine of any speed: its batches wait.
CUTS = ("redis", "train", "postgres", "s3", "web", "predict1", "predict2")
CUT_SECONDS = 15
EPOCHS, PAUSE = 30, 0.5


class Network:
    """A switch and a cable to each host."""

    def __init__(self, ip: str) -> None:
        self.ip = ip
        self.mark = secrets.token_hex(2)
        self.subnet = f"10.213.{secrets.randbelow(250)}"
        self.switch = f"sw{self.mark}"
        self.run("link", "add", self.switch, "type", "bridge")
        self.run("addr", "add", f"{self.subnet}.254/24", "dev", self.switch)
        self.run("link", "set", self.switch, "up")
        for number, name in enumerate(NAMES, 1):
            room, cable = self.room(name), self.cable(name)
            self.run("netns", "add", room)
            self.run("link", "add", cable, "type", "veth", "peer", "name", "eth0", "netns", room)
            self.run("link", "set", cable, "master", self.switch, "up")
            self.run("-n", room, "addr", "add", f"{self.subnet}.{number}/24", "dev", "eth0")
            self.run("-n", room, "link", "set", "eth0", "up")
            self.run("-n", room, "link", "set", "lo", "up")

    def run(self, *words: str) -> None:
        subprocess.run([self.ip, *words], check=True, capture_output=True)

    def room(self, name: str) -> str:
        return f"site{self.mark}-{name}"

    def cable(self, name: str) -> str:
        return f"v{self.mark}{NAMES.index(name)}"

    def address(self, name: str) -> str:
        return f"{self.subnet}.{NAMES.index(name) + 1}"

    def inside(self, name: str) -> tuple[str, ...]:
        return (self.ip, "netns", "exec", self.room(name))

    def cut(self, name: str) -> None:
        self.run("link", "set", self.cable(name), "down")

    def mend(self, name: str) -> None:
        self.run("link", "set", self.cable(name), "up")

    def destroy(self) -> None:
        for name in NAMES:
            subprocess.run([self.ip, "netns", "del", self.room(name)], capture_output=True)
        subprocess.run([self.ip, "link", "del", self.switch], capture_output=True)


class Site:
    """All of it, and Alice, who uploads."""

    def __init__(self, folder: Path, network: Network) -> None:
        self.folder, self.network = folder, network
        self.servers: list[Process] = []
        self.accepted: set[str] = set()
        self.statuses: dict[str, list[str]] = {}
        self.hosts: dict[str, Host] = {}

    def start(self) -> None:
        address = self.network.address
        password = self.start_postgres()
        self.database = f"postgres://tests:{password}@{address('postgres')}:5432/postgres"
        (self.folder / "redis").mkdir()
        redis = [require("needs_redis"), "--bind", "0.0.0.0", "--protected-mode", "no", "--appendonly", "yes"]
        self.serve("redis", *redis, "--dir", str(self.folder / "redis"))
        self.serve("s3", sys.executable, "-m", "moto.server", "--host", "0.0.0.0", "--port", "9000")
        store = f"http://{address('s3')}:9000"
        wait_until(lambda: answers(store), "the store", 60)
        s3_client(store).create_bucket(Bucket="photos")
        settings: dict[str, Any] = {
            "DATABASE_URL": self.database,
            "BROKER_URL": f"redis://{address('redis')}:6379/0",
            "CACHE_URL": f"redis://{address('redis')}:6379/1",
            "STORAGE_URL": "s3://photos/site",
            "S3_ENDPOINT_URL": store,
            "LOG_FORMAT": "json",
            "ALLOWED_HOSTS": address("web"),
            "WEB_BIND": "0.0.0.0:8000",
            "EXTRA_RECIPES": "training.tests.tiny_recipe",
            "REPORT_DISTORTED_IMAGES": 0,
            "SYNTHETIC_OOD_IMAGES": 3,
            "TRAINING_NICE": 0,
            "CIFAR10_DIR": write_binary(self.folder),
            **S3_KEYS,
        }
        for name in ("web", "predict1", "predict2", "train"):
            inside = self.network.inside(name)
            self.hosts[name] = Host(self.folder / name, inside=inside, **settings)
        web = self.hosts["web"]
        self.token = web.prepare()
        web.collect_static()
        web.python("-m", "gunicorn", "cifarsite.wsgi", "--config", "deploy/gunicorn.conf.py", name="web")
        web.python("manage.py", "recover", "--every", "2", name="sweeper")
        for name in ("predict1", "predict2"):
            self.hosts[name].start_worker(name)
        self.hosts["train"].start_worker("train", "train")
        self.api = f"http://{address('web')}:8000"
        wait_until(lambda: answers(f"{self.api}/healthz"), "the site", 90)
        for name in ("predict1", "predict2", "train"):
            self.hosts[name].wait_for_worker(name)

    def serve(self, name: str, *argv: str, **person: Any) -> None:
        with (self.folder / f"log-{name}.txt").open("ab") as log:
            process = subprocess.Popen(
                [*self.network.inside(name), *argv], stdout=log, stderr=log, start_new_session=True, **person
            )
        self.servers.append(process)

    def start_postgres(self) -> str:
        programs, password = require("needs_postgres"), secrets.token_hex(8)
        folder = self.folder / "postgres"
        folder.mkdir()
        (folder / "password").write_text(password)
        shutil.chown(folder, "postgres")
        shutil.chown(folder / "password", "postgres")
        argv = [programs / "initdb", "--pgdata", folder / "data", "--username", "tests", "--no-sync"]
        argv += ["--pwfile", folder / "password", "--auth", "scram-sha-256", "--encoding", "UTF8"]
        person: dict[str, Any] = {"user": "postgres", "group": "postgres", "extra_groups": []}
        subprocess.run(argv, check=True, stdout=subprocess.DEVNULL, cwd=folder, **person)
        with (folder / "data" / "pg_hba.conf").open("a") as rules:
            rules.write(f"host all all {self.network.subnet}.0/24 scram-sha-256\n")
        server = [str(programs / "postgres"), "-D", str(folder / "data"), "-k", str(folder)]
        # As deploy/postgresql.conf has it, sooner: what a host that was cut off holds is given up.
        server += [
            "-c",
            "listen_addresses=*",
            "-c",
            "tcp_keepalives_idle=3",
            "-c",
            "tcp_keepalives_interval=1",
        ]
        server += ["-c", "tcp_keepalives_count=3", "-c", "tcp_user_timeout=8000"]
        # Entering a namespace needs root; PostgreSQL does not want to be it.
        self.serve("postgres", "setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups", *server)
        url = f"postgres://tests:{password}@{self.network.address('postgres')}:5432/postgres"
        wait_until(lambda: connects(url), "PostgreSQL", 60)
        return password

    def upload(self, when: str, count: int = 3) -> None:
        """Send photos; what was answered stands in ``statuses``."""
        for number in range(count):
            try:
                answer = requests.post(
                    f"{self.api}/api/v1/photos",
                    files={"file": (f"{when}-{number}.jpg", image_bytes(colour=f"#{secrets.token_hex(3)}"))},
                    headers={"Authorization": f"Bearer {self.token}"},
                    timeout=40,
                )
            except requests.RequestException:
                self.statuses.setdefault(when, []).append("no answer")
                continue
            self.statuses.setdefault(when, []).append(str(answer.status_code))
            if answer.status_code == 202:
                self.accepted |= {photo["id"] for photo in answer.json()["photos"]}

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.database, connect_timeout=5) as connection:
            return connection.execute(query.encode()).fetchall()

    def answered(self) -> set[str]:
        found = self.rows("SELECT photo_id FROM classifier_prediction WHERE status = 'done'")
        return {str(row[0]) for row in found}

    def destroy(self) -> None:
        for host in self.hosts.values():
            host.destroy()
        for process in self.servers:
            process.send_signal(signal.SIGKILL)
            process.wait()


def answers(url: str) -> bool:
    try:
        return requests.get(url, timeout=2).status_code < 600
    except requests.RequestException:
        return False


def is_ready(api: str) -> bool:
    try:
        return requests.get(f"{api}/readyz", timeout=10).status_code == 200
    except requests.RequestException:
        return False


def connects(url: str) -> bool:
    try:
        psycopg.connect(url, connect_timeout=2).close()
    except psycopg.OperationalError:
        return False
    return True


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    for folder in (tmp_path, *tmp_path.parents):
        if folder.stat().st_mode & 0o777 == 0o700:  # pytest's own
            folder.chmod(0o755)  # PostgreSQL's person passes through
    network = Network(require("needs_namespaces"))
    made = Site(tmp_path, network)
    try:
        made.start()
        yield made
    finally:
        made.destroy()
        network.destroy()


@pytest.mark.endurance
@pytest.mark.thorough
@pytest.mark.slow
@pytest.mark.needs_namespaces
@pytest.mark.needs_postgres
@pytest.mark.needs_redis
def test_a_cut_link_to_any_host_loses_nothing(site: Site, measured: Callable[[str], None]) -> None:
    begun = time.monotonic()
    job = site.hosts["web"].ask(
        "from training.jobs import lifecycle as jobs\n"
        f"parameters = {{'epochs': {EPOCHS}, 'pause': {PAUSE}, 'batch_size': 10_000}}\n"
        "answer = jobs.request_training(recipe='tiny', parameters=parameters, by=None).pk"
    )
    site.upload("before", 5)
    assert site.statuses["before"] == ["202"] * 5
    recovered: dict[str, float] = {}
    for name in CUTS:
        site.upload(f"until {name} is cut", 2)
        site.network.cut(name)
        until = time.monotonic() + CUT_SECONDS
        site.upload(f"without {name}", 2)
        time.sleep(max(until - time.monotonic(), 0))
        site.network.mend(name)
        mended = time.monotonic()
        wait_until(lambda: is_ready(site.api), f"the site after {name} was back", 120)
        wait_until(lambda: site.accepted <= site.answered(), f"answers after {name} was back", 180)
        recovered[name] = time.monotonic() - mended
        site.upload(f"after {name}", 1)
    wait_until(lambda: site.accepted <= site.answered(), "the last answers", 180)

    print(site.statuses)
    for when, statuses in site.statuses.items():
        if when == "without web":
            assert set(statuses) == {"no answer"}
        elif when.startswith("without"):
            # Nothing hangs, and nobody is told of a fault of the site's own.
            assert set(statuses) <= {"202", "503"}, site.statuses
        else:
            assert set(statuses) <= {"202"}, site.statuses
    # Workers away, or the broker: photos are taken all the same.
    for name in ("redis", "predict1", "predict2", "train"):
        assert site.statuses[f"without {name}"] == ["202", "202"], site.statuses
    wrong = site.rows("SELECT status, error_code, attempt FROM classifier_prediction WHERE status <> 'done'")
    assert wrong == []

    state = f"SELECT state, error_detail FROM training_trainingjob WHERE id = {job}"
    wait_until(lambda: site.rows(state)[0][0] not in ("queued", "running"), "the end of the run", 900)
    assert site.rows(state) == [("succeeded", "")]
    seconds = time.monotonic() - begun
    epochs = site.rows(f"SELECT number FROM training_epoch WHERE job_id = {job} ORDER BY number")
    assert [row[0] for row in epochs] == list(range(1, EPOCHS + 1))
    # The model of the run lies in the store, where every host finds it.
    assert site.rows(f"SELECT count(*) FROM training_modelversion WHERE job_id = {job}") == [(1,)]
    # So does all of its report, whichever link was cut as it was written.
    kept = "SELECT (r.figures -> 'panels') ->> 'answers' FROM training_evaluationreport r"
    kept += f" JOIN training_modelversion m ON m.id = r.model_id WHERE m.job_id = {job}"
    assert [bool(name) for (name,) in site.rows(kept)] == [True]
    back = ", ".join(f"{name} {recovered[name]:.0f} s" for name in CUTS)
    measured(
        f"each link cut for {CUT_SECONDS} s: {len(site.accepted)} photos accepted, all answered once the "
        f"link was back ({back}); without PostgreSQL {site.statuses['without postgres']}, without the store "
        f"{site.statuses['without s3']}, otherwise 202; the run of {EPOCHS} epochs had no gap, one model and "
        f"its whole report, {seconds:.0f} s after it was asked for"
    )
