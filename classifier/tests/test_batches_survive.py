"""A batch under real workers that are killed: nothing lost, nothing doubled."""

import http.client
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from classifier.tests.archives import photos, zipped
from conftest import ROOT, wait_until
from training import model_store

PHOTOS = 120


class Site:
    """The project's own commands and workers on a data folder of their own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {
            **os.environ,
            "VAR_DIR": str(folder),
            "DATABASE_URL": "",
            "BROKER_URL": "",
            "HEARTBEAT_SECONDS": "1",
            "LEASE_SECONDS": "3",
            "EMAIL_URL": "dummymail://",
            "CUDA_VISIBLE_DEVICES": "",
            "TF_CPP_MIN_LOG_LEVEL": "3",
        }
        self.running: list[subprocess.Popen[Any]] = []

    def manage(self, *words: str) -> str:
        done = subprocess.run(
            [sys.executable, "manage.py", *words],
            cwd=ROOT,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=180,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def prepare(self) -> None:
        """Tables, and the small one of the models that ship: these tests are about processes."""
        self.manage("migrate", "--verbosity", "0")
        self.manage("createcachetable")
        shipped = self.folder / "pretrained"
        shutil.copytree(model_store.PRETRAINED_DIR / "fast_cnn", shipped / "fast_cnn")
        code = "from pathlib import Path\nfrom training import model_store\n"
        code += (
            f"model_store.PRETRAINED_DIR = Path({str(shipped)!r})\nmodel_store.SHIPPED_CHAMPION = 'fast_cnn'"
        )
        self.manage("shell", "--no-imports", "-c", f"{code}\nmodel_store.install_pretrained()")

    def start(self, *words: str, log: str) -> subprocess.Popen[Any]:
        with (self.folder / log).open("ab") as file:
            process = subprocess.Popen(
                [sys.executable, *words],
                cwd=ROOT,
                env=self.environment,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.running.append(process)
        return process

    def worker(self, name: str) -> subprocess.Popen[Any]:
        words = ["-m", "celery", "-A", "cifarsite", "worker", "--queues", "predict,batch,default"]
        words += ["--concurrency", "1", "--without-gossip", "--without-mingle", "--hostname", f"{name}@test"]
        return self.start(*words, log=f"{name}.txt")

    def web(self, port: int) -> subprocess.Popen[Any]:
        words = [
            "-m",
            "gunicorn",
            "cifarsite.wsgi",
            "--bind",
            f"127.0.0.1:{port}",
            "--worker-class",
            "gthread",
        ]
        words += ["--workers", "1", "--threads", "4", "--no-control-socket"]
        process = self.start(*words, log="web.txt")
        wait_until(lambda: is_well(port), "the web server", 90)
        return process

    def end(self, process: subprocess.Popen[Any], how: int) -> None:
        try:
            if how == signal.SIGKILL:
                os.killpg(process.pid, how)
            else:
                process.send_signal(how)
            process.wait(60)
        finally:
            self.running.remove(process)

    def one(self, query: str) -> int:
        with sqlite3.connect(self.folder / "db.sqlite3", timeout=20) as database:
            found: int = database.execute(query).fetchone()[0]
        return found

    def stored(self) -> int:
        return self.one("SELECT count(*) FROM classifier_batchitem WHERE status = 'stored'")

    def answered(self) -> int:
        return self.one("SELECT count(*) FROM classifier_prediction WHERE status = 'done'")


def is_well(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", "/healthz")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path)
    yield made
    for process in list(made.running):
        made.end(process, signal.SIGKILL)


@pytest.mark.faults
@pytest.mark.slow
def test_workers_may_be_killed_at_any_point_of_a_batch(site: Site, tmp_path: Path) -> None:
    """kill -9 and TERM in turn; the broker's folder is emptied too, as by a lost broker."""
    archive = tmp_path / "many.zip"
    files = {**photos(PHOTOS - 1), "broken.jpg": b"no image"}
    archive.write_bytes(zipped(files).getvalue())
    site.prepare()
    code = "from classifier.batches import create_batch\nfrom classifier.models import User\n"
    code += f"create_batch(User.objects.create_user('o'), open({str(archive)!r}, 'rb'), filename='many.zip')"
    site.manage("shell", "--no-imports", "-c", code)
    site.start("manage.py", "recover", "--every", "1", log="sweeper.txt")
    for number, (least, how) in enumerate([(8, signal.SIGKILL), (40, signal.SIGTERM), (70, signal.SIGKILL)]):
        worker = site.worker(f"w{number}")
        wait_until(lambda least=least: site.stored() >= least, f"{least} stored entries", 150)  # type: ignore[misc]
        site.end(worker, how)
        for message in (tmp_path / "broker" / "messages").glob("*"):
            message.unlink(missing_ok=True)
    site.worker("last")
    over = "SELECT count(*) FROM classifier_batch WHERE state = 'done'"
    wait_until(lambda: site.one(over) == 1, "the end of the batch", 240)
    assert site.stored() == PHOTOS - 1
    assert site.answered() == PHOTOS - 1
    assert site.one("SELECT count(*) FROM classifier_photo") == PHOTOS - 1
    assert site.one("SELECT count(DISTINCT photo_id) FROM classifier_batchitem") == PHOTOS - 1
    assert site.one("SELECT count(*) FROM classifier_batchitem WHERE error_code = 'not_an_image'") == 1
    kept = tmp_path / "media" / "batches"
    wait_until(lambda: not list(kept.rglob("*.zip")), "the end of the archive", 60)
