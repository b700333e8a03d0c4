"""A batch under real workers that are killed: nothing lost, nothing doubled."""

import http.client
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from cifarsite.tests.hosts import Host, Process
from classifier.tests.uploads.archives import photos, zipped
from conftest import wait_until

PHOTOS = 120


class Site(Host):
    """A host with one model; what the rows of its batches say."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, LEASE_SECONDS=3)

    def web(self, port: int) -> Process:
        words = ["-m", "gunicorn", "cifarsite.wsgi", "--bind", f"127.0.0.1:{port}", "--no-control-socket"]
        words += ["--worker-class", "gthread", "--workers", "1", "--threads", "4"]
        process = self.python(*words, name="web")
        wait_until(lambda: is_well(port), "the web server", 90)
        return process

    def end(self, process: Process, how: int) -> None:
        if how == signal.SIGKILL:
            self.kill(process)
        else:
            self.ask_to_end(process)

    def one(self, query: str) -> int:
        with self.sqlite() as database:
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
    made.destroy()


@pytest.mark.faults
@pytest.mark.slow
def test_workers_may_be_killed_at_any_point_of_a_batch(site: Site, tmp_path: Path) -> None:
    """kill -9 and TERM in turn; the broker's folder is emptied too, as by a lost broker."""
    archive = tmp_path / "many.zip"
    files = {**photos(PHOTOS - 1), "broken.jpg": b"no image"}
    archive.write_bytes(zipped(files).getvalue())
    site.prepare()
    code = "from classifier.uploads.batches import create_batch\nfrom classifier.models import User\n"
    code += f"create_batch(User.objects.create_user('o'), open({str(archive)!r}, 'rb'), filename='many.zip')"
    site.shell(code)
    site.python("manage.py", "recover", "--every", "1", name="sweeper")
    for number, (least, how) in enumerate([(8, signal.SIGKILL), (40, signal.SIGTERM), (70, signal.SIGKILL)]):
        worker = site.start_worker(f"w{number}")
        wait_until(lambda least=least: site.stored() >= least, f"{least} stored entries", 150)  # type: ignore[misc]
        site.end(worker, how)
        for message in (tmp_path / "broker" / "messages").glob("*"):
            message.unlink(missing_ok=True)
    site.start_worker("last")
    over = "SELECT count(*) FROM classifier_batch WHERE state = 'done'"
    wait_until(lambda: site.one(over) == 1, "the end of the batch", 240)
    assert site.stored() == PHOTOS - 1
    assert site.answered() == PHOTOS - 1
    assert site.one("SELECT count(*) FROM classifier_photo") == PHOTOS - 1
    assert site.one("SELECT count(DISTINCT photo_id) FROM classifier_batchitem") == PHOTOS - 1
    assert site.one("SELECT count(*) FROM classifier_batchitem WHERE error_code = 'not_an_image'") == 1
    kept = tmp_path / "media" / "batches"
    wait_until(lambda: not list(kept.rglob("*.zip")), "the end of the archive", 60)
