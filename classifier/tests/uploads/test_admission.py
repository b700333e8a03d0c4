"""One person's flood never keeps another one's upload out."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from unittest import TestCase, mock

from django.conf import settings
from PIL import Image

from cifarsite.test import ApiTestCase, image_bytes, image_file
from classifier.images.decoding import Limits
from classifier.images.errors import ImageRefused
from classifier.images.validation import declared_pixels
from classifier.uploads import admission
from classifier.uploads.admission import Admission, NoTurn

ALICE, BOB, CAROL, DAVE = 1, 2, 3, 4
LARGEST = 40_000_000
PATIENCE = 30.0


def many_pixels(megapixels: int = 40) -> bytes:
    """A PNG of one colour: few bytes, many pixels."""
    file = io.BytesIO()
    Image.new("1", (megapixels * 1_000, 1_000)).save(file, "PNG", compress_level=9)
    return file.getvalue()


class Crowd:
    """Uploads in threads, each of which has its turn until it is told to leave."""

    def __init__(self, places: Admission) -> None:
        self.places = places
        self.pool = ThreadPoolExecutor(20)
        self.order: list[str] = []
        self._leave: dict[str, threading.Event] = {}
        self._future: dict[str, Future[None]] = {}

    def send(self, name: str, person: int, pixels: int = 1) -> None:
        """Begin an upload; returns when it has its turn or waits for it."""
        waited = self.waiting(person)
        self._leave[name] = threading.Event()
        self._future[name] = self.pool.submit(self._upload, name, person, pixels)
        while name not in self.order and not self._future[name].done() and self.waiting(person) == waited:
            threading.Event().wait(0.001)

    def _upload(self, name: str, person: int, pixels: int) -> None:
        with self.places.turn(person, pixels, PATIENCE):
            self.order.append(name)
            self._leave[name].wait(PATIENCE)

    def waiting(self, person: int) -> int:
        with self.places._changed:
            return sum(upload.person == person for upload in self.places._queue)

    def leave(self, name: str) -> None:
        self._leave[name].set()
        self._future[name].result(PATIENCE)

    def result(self, name: str) -> None:
        """What came of an upload that has not its turn; raises what it raised."""
        self._future[name].result(PATIENCE)

    def wait_for(self, name: str) -> None:
        while name not in self.order:
            threading.Event().wait(0.001)

    def close(self) -> None:
        for event in self._leave.values():
            event.set()
        self.pool.shutdown()


@contextmanager
def crowd(**figures: int) -> Iterator[Crowd]:
    made = Crowd(Admission(**{"slots": 4, "pixels": LARGEST, "waiting": 4, **figures}))
    try:
        yield made
    finally:
        made.close()


class AdmissionTest(TestCase):
    def test_one_person_never_has_the_last_slot(self) -> None:
        with crowd() as people:
            for name in ("a1", "a2", "a3", "a4"):
                people.send(name, ALICE)
            self.assertEqual(people.order, ["a1", "a2", "a3"])
            people.send("b1", BOB)
            self.assertEqual(people.order[-1], "b1")

    def test_large_pictures_of_one_person_go_one_after_the_other(self) -> None:
        with crowd() as people:
            people.send("a1", ALICE, LARGEST)
            people.send("a2", ALICE, LARGEST)
            people.send("b1", BOB, LARGEST)
            self.assertEqual(people.order, ["a1", "b1"])
            people.leave("a1")
            people.wait_for("a2")

    def test_one_person_who_fills_the_queue_is_refused_what_comes_then(self) -> None:
        with crowd() as people:
            for name in ("a1", "a2", "a3", "a4", "a5"):
                people.send(name, ALICE, LARGEST)
            with self.assertRaises(NoTurn) as refusal, people.places.turn(ALICE, LARGEST):
                pass
            self.assertTrue(refusal.exception.is_own)

    def test_a_sixth_of_the_queue_is_for_those_who_do_not_wait_yet(self) -> None:
        """One person's flood must not hold all the threads that the web worker lets uploads have."""
        with crowd(waiting=6) as people:
            for name in ("a1", "a2", "a3", "a4", "a5", "a6"):
                people.send(name, ALICE, LARGEST)
            with self.assertRaises(NoTurn), people.places.turn(ALICE, LARGEST):
                pass
            people.send("b1", BOB)
            people.send("b2", BOB, LARGEST)
            people.leave("a1")
            people.wait_for("a2")
        with crowd(slots=1, waiting=6) as people:
            for person in range(7):
                people.send(f"p{person}", person)
            people.leave("p0")
            people.wait_for("p1")

    def test_who_waits_with_the_most_gives_a_place_to_somebody_else(self) -> None:
        with crowd() as people:
            for name in ("a1", "a2", "a3", "a4"):
                people.send(name, ALICE, LARGEST)
            for name in ("b1", "b2", "c1"):
                people.send(name, BOB if name < "c" else CAROL, LARGEST)
            people.send("d1", DAVE, 1)
            people.send("d2", DAVE, LARGEST)  # the queue was full: three of Alice's, one of Bob's
            with self.assertRaises(NoTurn) as refusal:
                people.result("a4")
            self.assertTrue(refusal.exception.is_own)
            self.assertEqual(people.order, ["a1", "b1", "c1", "d1"])
            self.assertEqual([people.waiting(person) for person in (ALICE, BOB, DAVE)], [2, 1, 1])

    def test_the_queue_is_short(self) -> None:
        with crowd(slots=1, waiting=1) as people:
            people.send("a1", ALICE)
            people.send("b1", BOB)
            with self.assertRaises(NoTurn) as refusal, people.places.turn(CAROL, 1):
                pass
            self.assertFalse(refusal.exception.is_own)

    def test_whoever_has_least_under_way_is_next(self) -> None:
        with crowd(slots=3) as people:
            people.send("a1", ALICE, 10)
            people.send("a2", ALICE, 10)
            people.send("b1", BOB, 10)
            people.send("a3", ALICE, 10)
            people.send("c1", CAROL, 10)
            people.leave("b1")
            people.wait_for("c1")
            self.assertNotIn("a3", people.order)

    def test_who_waits_too_long_is_told_so_and_leaves_the_queue(self) -> None:
        places = Admission(slots=1, pixels=LARGEST, waiting=1)
        with places.turn(ALICE, 1), self.assertRaises(NoTurn), places.turn(BOB, 1, seconds=0):
            pass
        with places.turn(BOB, 1):
            pass

    def test_a_picture_larger_than_a_share_goes_alone(self) -> None:
        places = Admission(slots=2, pixels=10, waiting=0)
        with places.turn(ALICE, 1_000):
            pass

    def test_an_upload_that_fails_gives_its_turn_back(self) -> None:
        places = Admission(slots=1, pixels=10, waiting=0)
        with self.assertRaises(ValueError), places.turn(ALICE, 1):
            raise ValueError
        with places.turn(BOB, 1):
            pass

    def test_a_site_with_one_slot_takes_everybody_in_turn(self) -> None:
        with crowd(slots=1) as people:
            people.send("a1", ALICE)
            people.send("b1", BOB)
            people.leave("a1")
            people.wait_for("b1")


class DeclaredPixelsTest(TestCase):
    limits = Limits(max_bytes=20_000_000, max_pixels=LARGEST)

    def test_it_is_told_by_the_header(self) -> None:
        for kind in ("JPEG", "PNG", "WebP", "GIF", "BMP"):
            with self.subTest(kind):
                self.assertEqual(declared_pixels(image_bytes(kind, size=(64, 48)), self.limits), 64 * 48)

    def test_a_small_file_of_many_pixels_is_seen_through(self) -> None:
        content = many_pixels()
        self.assertLess(len(content), 200_000)
        self.assertEqual(declared_pixels(content, self.limits), LARGEST)

    def test_heic_counts_as_the_largest(self) -> None:
        content = b"\0\0\0\x18ftypheic\0\0\0\0heicmif1"
        self.assertEqual(declared_pixels(content, self.limits), LARGEST)

    def test_too_many_pixels_are_refused_before_anything_is_decoded(self) -> None:
        with self.assertRaises(ImageRefused) as refusal:
            declared_pixels(many_pixels(41), self.limits)
        self.assertEqual(refusal.exception.code, "too_many_pixels")


class UploadTest(ApiTestCase):
    def test_an_upload_waits_by_its_owner_and_its_pixels(self) -> None:
        with mock.patch.object(admission, "uploads", mock.MagicMock()) as places:
            self.upload(self.alice)
        places.turn.assert_called_once_with(self.alice.pk, 64 * 48)

    def test_with_one_person_s_flood_the_other_s_upload_is_taken(self) -> None:
        """As many as one person may have are being decoded: they get 503, the other 202."""
        share = settings.UPLOAD_MAX_MEGAPIXELS * 1_000_000
        with ExitStack() as flood:
            flood.enter_context(admission.uploads.turn(self.alice.pk, share))
            with mock.patch.object(admission.uploads, "waiting", 0):
                refused = self.call("post", "photos", {"file": image_file()})
            taken = self.call("post", "photos", {"file": image_file()}, token="bob")
        body = self.assert_problem(refused, 503, "busy")
        self.assertIn("other photos of yours", body["detail"])
        self.assertIn("Retry-After", refused.headers)
        self.assertEqual(taken.status_code, 202)
