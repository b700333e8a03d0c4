"""CIFAR-10 is fetched by staff: resumed after whatever stops it, checked, unpacked, shown in reports."""

from __future__ import annotations

import hashlib
import io
import os
import pickle
import re
import signal
import tarfile
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
from django.core.files.storage import default_storage
from django.db import connection
from django.test import override_settings
from django.test.utils import CaptureQueriesContext

from cifarsite.tests.hosts import Host
from cifarsite.tests.run_folder import once
from conftest import wait_until
from training.data import cifar10_copy
from training.engine.data.cifar10 import ROWS_PER_FILE, TEST_FILE, TRAIN_FILES, load_cifar10
from training.evaluation import pretrained_reports
from training.jobs import cifar10_fetch
from training.models import Cifar10Fetch
from training.tests.evaluation.report_case import ReportTestCase

Status = Cifar10Fetch.Status


def pack(folder: Path) -> None:
    """An archive like the official one, of grey images; their labels are the classes in turn."""
    labels = np.tile(np.arange(10), ROWS_PER_FILE // 10).tolist()
    with tarfile.open(folder / "archive.tar.gz", "w:gz", compresslevel=1) as packed:
        for number, name in enumerate((*TRAIN_FILES, TEST_FILE)):
            data = np.full((ROWS_PER_FILE, 3072), 40 * number, np.uint8)
            content = pickle.dumps({b"data": data, b"labels": labels}, protocol=2)
            member = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
            member.size = len(content)
            packed.addfile(member, io.BytesIO(content))


def archive() -> bytes:
    return (once("cifar10-archive", pack) / "archive.tar.gz").read_bytes()


class Server:
    """Serves the archive on loopback.

    Attributes:
        asked: the Range header of each request.
        most: so many bytes are sent of each answer, then ``then`` is called and the connection is closed.
    """

    def __init__(self) -> None:
        self.content = archive()
        self.asked: list[str] = []
        self.most = len(self.content)
        self.then: Callable[[], object] = lambda: None
        self.has_ranges = True
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                wanted = self.headers.get("Range", "")
                outer.asked.append(wanted)
                found = re.fullmatch(r"bytes=(\d+)-", wanted) if outer.has_ranges else None
                start = int(found[1]) if found else 0
                if found and start >= len(outer.content):
                    self.send_error(416)
                    return
                rest = outer.content[start:]
                self.send_response(206 if found else 200)
                self.send_header("Content-Length", str(len(rest)))
                self.end_headers()
                self.wfile.write(rest[: outer.most])
                if len(rest) > outer.most:
                    self.wfile.flush()
                    outer.then()

            def log_message(self, *words: Any) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}/cifar-10-python.tar.gz"


@contextmanager
def serving() -> Iterator[Server]:
    server = Server()
    thread = threading.Thread(target=server.http.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.http.shutdown()
        server.http.server_close()


class FetchTest(ReportTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.folder = Path(self.enterContext(tempfile.TemporaryDirectory()))
        self.enterContext(override_settings(VAR_DIR=self.folder, CIFAR10_DIR=""))
        self.enterContext(mock.patch.dict(os.environ, KERAS_HOME=str(self.folder / "keras")))
        self.server = self.enterContext(serving())
        self.enterContext(mock.patch.object(cifar10_fetch, "URL", self.server.url))
        digest = hashlib.sha256(self.server.content).hexdigest()
        self.enterContext(mock.patch.object(cifar10_fetch, "SHA256", digest))
        self.enterContext(mock.patch.object(cifar10_fetch, "wake"))
        self.client.force_login(self.charlie)
        self.part = self.folder / "cifar10" / cifar10_fetch.ARCHIVE

    def fetched(self) -> Cifar10Fetch:
        return Cifar10Fetch.objects.get()

    def test_it_ends_where_the_server_knows_no_ranges_and_a_pass_is_too_short_for_all(self) -> None:
        self.server.has_ranges = False
        self.client.post("/training/cifar10/")
        with (
            mock.patch.object(cifar10_fetch, "SLICE_SECONDS", 0.0),
            mock.patch.object(cifar10_fetch, "TELL_SECONDS", 0.0),
            mock.patch.object(cifar10_fetch, "PIECE", 64 * 1024),
        ):
            cifar10_fetch.fetch_slice("w")
            self.assertEqual(self.fetched().status, Status.QUEUED)
            cifar10_fetch.fetch_slice("w")
        self.assertEqual((self.fetched().status, len(self.server.asked)), (Status.DONE, 2))

    @override_settings(CIFAR10_DIR=tempfile.gettempdir())
    def test_what_was_fetched_counts_where_the_named_folder_has_none(self) -> None:
        self.client.post("/training/cifar10/")
        cifar10_fetch.fetch_slice("w")
        self.assertFalse(cifar10_copy.is_missing())

    def test_what_was_fetched_shows_in_reports_and_is_what_training_reads(self) -> None:
        for file in ("tiles-000.npy", "data.npy"):
            default_storage.delete(f"sets/{'c' * 64}/{file}")
        page = self.url("data/")
        self.assertContains(self.client.get(page), "/training/cifar10/")
        self.client.force_login(self.alice)
        self.assertContains(self.client.get(page), "This site has no images of CIFAR-10, so none")
        self.assertNotContains(self.client.get(page), "CIFAR10_DIR")
        self.client.force_login(self.charlie)
        self.assertTrue(cifar10_copy.is_missing())
        self.assertContains(self.client.get("/training/"), "no copy of CIFAR-10")
        self.client.post("/training/cifar10/")
        self.assertTrue(cifar10_fetch.fetch_slice("w"))
        row = self.fetched()
        self.assertEqual((row.status, row.error_detail), (Status.DONE, ""))
        self.assertEqual((row.received, row.total), (len(self.server.content),) * 2)
        self.assertFalse(cifar10_copy.is_missing())
        self.assertFalse(self.part.exists())
        self.assertEqual(load_cifar10(cifar10_copy.folder()).x_test[0, 0, 0, 0], 200)
        self.assertContains(self.client.get(page), "data.png")
        self.assertEqual(self.client.get(self.url("sheet.png?i=1,2")).status_code, 200)
        self.assertNotContains(self.client.get("/training/"), "no copy of CIFAR-10")
        self.assertContains(self.client.get("/training/cifar10/"), "This site has CIFAR-10")

    def test_after_a_broken_connection_only_the_rest_is_asked_for(self) -> None:
        cifar10_fetch.request_fetch()
        self.server.most = 100_000
        cifar10_fetch.fetch_slice("w")
        self.assertEqual(self.fetched().status, Status.QUEUED)
        self.assertEqual(self.part.stat().st_size, 100_000)
        self.server.most = len(self.server.content)
        cifar10_fetch.fetch_slice("w")
        self.assertEqual(self.server.asked, ["", "bytes=100000-"])
        self.assertEqual(self.fetched().status, Status.DONE)

    def test_it_gives_the_worker_back_every_few_seconds(self) -> None:
        cifar10_fetch.request_fetch()
        with (
            mock.patch.multiple(cifar10_fetch, SLICE_SECONDS=0, TELL_SECONDS=0, PIECE=len(archive()) // 3),
            mock.patch.object(pretrained_reports, "show_images"),
        ):
            received = []
            while cifar10_fetch.fetch_slice("w"):
                received.append(self.fetched().received)
        self.assertEqual(received, sorted(received))
        self.assertGreaterEqual(len(received), 4)
        self.assertEqual(self.fetched().status, Status.DONE)

    def test_a_server_without_ranges_sends_it_all_again(self) -> None:
        cifar10_fetch.request_fetch()
        self.server.most, self.server.has_ranges = 100_000, False
        cifar10_fetch.fetch_slice("w")
        self.server.most = len(self.server.content)
        cifar10_fetch.fetch_slice("w")
        self.assertEqual(self.fetched().status, Status.DONE)

    def test_a_damaged_file_is_refused_and_thrown_away(self) -> None:
        cifar10_fetch.request_fetch()
        self.server.content = b"x" + self.server.content[1:]
        cifar10_fetch.fetch_slice("w")
        self.assertEqual(self.fetched().status, Status.FAILED)
        self.assertContains(self.client.get("/training/cifar10/"), "is damaged")
        self.assertFalse(self.part.exists())
        self.assertTrue(cifar10_copy.is_missing())

    @pytest.mark.slow
    def test_a_connection_that_breaks_off_again_and_again_keeps_what_came(self) -> None:
        cifar10_fetch.request_fetch()
        self.server.most = 100_000
        for _try in range(3):
            cifar10_fetch.fetch_slice("w")
            self.server.most = 0
        row = self.fetched()
        self.assertEqual((row.status, row.error_code, row.received), (Status.FAILED, "broken", 100_000))
        self.assertContains(self.client.get("/training/cifar10/"), "broke off")
        self.assertContains(self.client.get("/training/cifar10/"), "go on from there")

    def test_a_server_that_does_not_answer_ends_it_with_a_sentence(self) -> None:
        row = cifar10_fetch.request_fetch()
        with mock.patch.object(cifar10_fetch, "URL", "http://127.0.0.1:9/none"):
            while cifar10_fetch.fetch_slice("w"):
                pass
            page = self.client.get("/training/cifar10/")
        row.refresh_from_db()
        self.assertEqual((row.status, row.attempt), (Status.FAILED, 3))
        self.assertContains(page, "http://127.0.0.1:9/none cannot be reached: check this site")
        self.assertNotContains(page, "urlopen")
        self.assertNotContains(page, "go on from there")
        self.assertNotEqual(cifar10_fetch.request_fetch().pk, row.pk)

    def test_cancelled_it_stops_and_a_new_one_goes_on_there(self) -> None:
        waiting = cifar10_fetch.request_fetch()
        self.client.post(f"/training/cifar10/{waiting.pk}/cancel/")
        self.assertFalse(cifar10_fetch.fetch_slice("w"))
        row = cifar10_fetch.request_fetch()
        tell = cifar10_fetch._tell

        def cancelled(of: Cifar10Fetch, received: int, total: int) -> None:
            cifar10_fetch.cancel(row)
            tell(of, received, total)

        with mock.patch.multiple(cifar10_fetch, TELL_SECONDS=0, PIECE=50_000, _tell=cancelled):
            cifar10_fetch.fetch_slice("w")
        row.refresh_from_db()
        self.assertEqual(row.status, Status.CANCELLED)
        stopped = self.part.stat().st_size
        self.assertTrue(0 < stopped <= 50_000)
        cifar10_fetch.request_fetch()
        cifar10_fetch.fetch_slice("w")
        self.assertEqual(self.server.asked[-1], f"bytes={stopped}-")
        self.assertEqual(Cifar10Fetch.objects.first().status, Status.DONE)  # type: ignore[union-attr]

    def test_the_page_shows_bytes_asks_few_questions_and_starts_one_download(self) -> None:
        for _ in range(2):
            self.client.post("/training/cifar10/")
        row = self.fetched()
        Cifar10Fetch.objects.update(status="running", received=42_700_000, total=170_498_071)
        with CaptureQueriesContext(connection) as queries:
            page = self.client.get("/training/cifar10/")
        self.assertLessEqual(len(queries), 5)
        self.assertContains(page, "42,700,000 bytes")
        self.assertContains(page, 'value="25')
        self.assertEqual(self.client.get("/training/cifar10/live/").status_code, 200)
        cifar10_fetch.cancel(row)
        self.assertEqual(self.client.get("/training/cifar10/live/").status_code, 286)


CARRY_ON = """
from training.jobs import cifar10_fetch
cifar10_fetch.URL, cifar10_fetch.SHA256 = {url!r}, {sha256!r}
cifar10_fetch.TELL_SECONDS, cifar10_fetch.PIECE = 0, 10_000
cifar10_fetch.wake = lambda: True
"""


@pytest.mark.faults
def test_a_killed_worker_loses_nothing(tmp_path: Path) -> None:
    host = Host(tmp_path / "host", LEASE_SECONDS=2, KERAS_HOME=tmp_path / "keras", CIFAR10_DIR="")
    host.migrate()
    gone = threading.Event()
    with serving() as server:
        server.most, server.then = 100_000, gone.wait
        code = CARRY_ON.format(url=server.url, sha256=hashlib.sha256(server.content).hexdigest())
        host.shell(f"{code}\ncifar10_fetch.request_fetch()")
        worker = host.python(
            "manage.py", "shell", "--no-imports", "-c", f"{code}\ncifar10_fetch.fetch_slice('a')", name="a"
        )
        part = host.folder / "cifar10" / cifar10_fetch.ARCHIVE
        wait_until(lambda: part.exists() and part.stat().st_size >= 90_000, "bytes", 60)
        os.killpg(worker.pid, signal.SIGKILL)
        worker.wait()
        gone.set()
        kept, server.most = part.stat().st_size, len(server.content)
        row = "training.models.Cifar10Fetch.objects.values_list('status', flat=True)"
        again = (
            f"{code}\nimport time, training.models\nwhile not cifar10_fetch.fetch_slice('b'): time.sleep(0.2)"
        )
        assert host.ask(f"{again}\nanswer = list({row})") == ["done"]
        assert server.asked == ["", f"bytes={kept}-"]
