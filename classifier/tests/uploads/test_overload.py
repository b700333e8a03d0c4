"""More photos than can be answered soon: told at once with 503, and what was accepted is kept."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from unittest import mock

import httpx
import pytest
from django.test import override_settings

from benchmarks.intake import make_photo
from cifarsite.test import ApiTestCase, answer, image_file
from cifarsite.tests.hosts import Host
from classifier.images.errors import ImageRefused
from classifier.models import Photo, Prediction
from classifier.predictions import queue
from classifier.uploads import admission
from classifier.uploads.admission import Admission
from conftest import free_port

SENTENCE = "queue is full"
TOGETHER = 28
PEOPLE = f"""
from classifier.accounts.tokens import make_token
from classifier.models import User
people = [User.objects.create(username=f"p{{n}}", email=f"p{{n}}@example.org") for n in range({TOGETHER})]
answer = [make_token(person, scopes=["predict"])[1] for person in people]
"""


class OverloadTest(ApiTestCase):
    @override_settings(MAX_WAITING_PHOTOS=2)
    def test_the_api_refuses_when_enough_photos_wait(self) -> None:
        self.upload(), self.upload()
        refused = self.call("post", "photos", {"file": image_file()})
        body = self.assert_problem(refused, 503, "busy")
        self.assertIn(SENTENCE, body["detail"])
        self.assertEqual(refused.headers["Retry-After"], "60")
        self.assertEqual(Photo.objects.count(), 2)

    @override_settings(MAX_WAITING_PHOTOS=2)
    def test_the_page_refuses_when_enough_photos_wait(self) -> None:
        self.upload(), self.upload()
        self.client.force_login(self.alice)
        refused = self.client.post("/", {"file": image_file()})
        self.assertContains(refused, SENTENCE, status_code=503)
        self.assertEqual(refused.headers["Retry-After"], "60")

    @override_settings(MAX_WAITING_PHOTOS=2)
    def test_it_takes_photos_again_when_some_are_answered(self) -> None:
        first, _ = self.upload(), self.upload()
        with self.assertRaises(ImageRefused):
            self.upload()
        answer(first)
        self.upload()

    @override_settings(MAX_WAITING_PHOTOS=2)
    def test_photos_of_archives_do_not_keep_people_out(self) -> None:
        for _ in range(3):
            photo = self.upload()
            photo.predictions.update(priority=Prediction.Priority.BULK)
        self.upload()

    def test_a_process_takes_in_so_many_at_a_time_and_refuses_the_next_at_once(self) -> None:
        places = Admission(slots=1, pixels=10_000, waiting=0)
        with mock.patch.object(admission, "uploads", places):
            self.upload()
            with places.turn(self.bob.pk, 1), self.assertRaises(ImageRefused) as refusal:
                self.upload()
            self.assertEqual(refusal.exception.code, "busy")
            self.upload()
        self.assertEqual(Photo.objects.count(), 2)

    def test_counting_what_waits_uses_the_small_index(self) -> None:
        plan = queue.open_rows(Prediction.Priority.INTERACTIVE).explain()
        self.assertIn("prediction_open", plan)

    def test_a_workers_look_uses_it_too(self) -> None:
        self.assertIn("prediction_open", queue.claimable().explain())


@pytest.fixture
def web(tmp_path: Path) -> Iterator[tuple[str, Host]]:
    """The web processes of `make run`, without workers; their address."""
    host, port = Host(tmp_path / "site"), free_port()
    host.migrate()
    host.collect_static()
    try:
        host.serve(port)
        yield f"http://127.0.0.1:{port}", host
    finally:
        host.destroy()


@pytest.mark.slow
def test_large_photos_of_many_people_at_once_wait_unread_and_are_all_taken(web: tuple[str, Host]) -> None:
    url, host = web
    photo = make_photo(1_600, 1_200)
    assert len(photo) > 200_000  # no short body, which is received before it has a thread

    def send(token: str) -> int:
        headers = {"Authorization": f"Bearer {token}"}
        files = {"file": ("a.jpg", photo)}
        return httpx.post(f"{url}/api/v1/photos", headers=headers, files=files, timeout=300).status_code

    with ThreadPoolExecutor(TOGETHER) as pool:
        answers = Counter(pool.map(send, host.ask(PEOPLE)))
    assert answers == {202: TOGETHER}
