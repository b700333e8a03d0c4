"""?wait=: the answer as soon as it is in, without holding a connection or all threads."""

import tempfile
import threading
import time
from collections.abc import Iterable
from unittest import mock
from uuid import UUID

from django.db import connection, connections
from django.test import TransactionTestCase, override_settings

from cifarsite.test import ApiTestCase, answer, image_file, make_user
from classifier.accounts.tokens import make_token
from classifier.api import long_poll
from classifier.models import Photo
from conftest import wait_until


class WaitTests(ApiTestCase):
    def test_it_answers_202_at_the_end_when_nobody_works(self) -> None:
        response = self.call("post", "photos?wait=1", {"file": image_file()})
        self.assertEqual(response.status_code, 202)
        self.assertEqual(response.json()["photos"][0]["status"], "queued")

    def test_it_does_not_wait_when_as_many_wait_as_may(self) -> None:
        taken = []
        while long_poll.seats.acquire(blocking=False):
            taken.append(long_poll.seats)
        try:
            photo = self.upload()
            with self.assertNumQueries(0):
                long_poll.wait_for_answers([photo.pk], 30)
        finally:
            for seat in taken:
                seat.release()

    def test_it_gives_its_seat_back(self) -> None:
        photo = self.upload()
        answer(photo)
        for _more_than_seats in range(20):
            with self.assertNumQueries(1):
                long_poll.wait_for_answers([photo.pk], 30)


class WaitWithAWorkerTests(TransactionTestCase):
    """A thread answers as a worker would, with a connection of its own."""

    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.enterContext(override_settings(MEDIA_ROOT=folder.name))
        self.alice = make_user("alice")

    def work(self) -> None:
        try:
            while not Photo.objects.exists():
                time.sleep(0.01)
            answer(Photo.objects.get())
        finally:
            connection.close()

    def test_it_answers_200_as_soon_as_the_answer_is_in(self) -> None:
        worker = threading.Thread(target=self.work)
        worker.start()
        token = make_token(self.alice, scopes=["predict"])[1]
        headers = {"Authorization": f"Bearer {token}"}
        response = self.client.post("/api/v1/photos?wait=30", {"file": image_file()}, headers=headers)
        worker.join()
        self.assertEqual(response.status_code, 200, response.content)
        self.assertEqual(response.json()["photos"][0]["prediction"]["label"], "cat")

    def test_it_holds_no_connection_through_a_long_pause(self) -> None:
        photo = self.waiting_photo()
        pauses: list[tuple[bool, bool]] = []

        def note(seconds: float) -> None:
            given_back = connections["default"].connection is None
            pauses.append((seconds > long_poll.HELD_SECONDS, given_back))
            if len(pauses) == 50:
                raise InterruptedError
            time.sleep(seconds)

        with mock.patch.object(long_poll._came, "wait", note), self.assertRaises(InterruptedError):
            long_poll.wait_for_answers([photo.pk], 30)
        self.assertEqual({is_long for is_long, _ in pauses}, {True, False})
        self.assertTrue(all(is_long == given_back for is_long, given_back in pauses), pauses)

    def test_one_looks_for_all_who_wait_and_each_gets_its_own_answer(self) -> None:
        photos = [self.waiting_photo() for _ in range(6)]
        looks: list[int] = []
        really_look = long_poll._open

        def look(ids: Iterable[UUID]) -> set[UUID]:
            wanted = set(ids)
            looks.append(len(wanted))
            return really_look(wanted)

        back: list[UUID] = []

        def wait(pk: UUID) -> None:
            try:
                long_poll.wait_for_answers([pk], 30)
                self.assertTrue(Photo.objects.get(pk=pk).prediction.is_over)
                back.append(pk)
            finally:
                connection.close()

        seats = mock.patch.object(long_poll, "seats", threading.BoundedSemaphore(6))
        with seats, mock.patch.object(long_poll, "_open", look):
            threads = [threading.Thread(target=wait, args=[photo.pk]) for photo in photos]
            for thread in threads:
                thread.start()
            wait_until(lambda: max(looks, default=0) == 6, "a look for all six")
            # The first to come looks for the others: another one takes over when it is gone.
            for number, photo in enumerate(photos):
                answer(photo)
                wait_until(lambda: len(back) == number + 1, "the answer")  # noqa: B023
            for thread in threads:
                thread.join()
        self.assertEqual(back, [photo.pk for photo in photos])
        self.assertFalse(long_poll._waits)

    def waiting_photo(self) -> Photo:
        photo = Photo.objects.create(owner=self.alice, filename="x", width=1, height=1, size=1)
        photo.predictions.create(
            owner=self.alice, photo_created_at=photo.created_at, preprocessing="", input_sha256=""
        )
        return photo
