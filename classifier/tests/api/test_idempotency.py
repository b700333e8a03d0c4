"""Idempotency-Key: a request that is sent twice is done once."""

from datetime import timedelta
from typing import Any

from django.core.files.uploadedfile import SimpleUploadedFile
from django.utils import timezone

from cifarsite.test import ApiTestCase, image_file
from classifier.accounts import idempotency
from classifier.models import IdempotentRequest

KEY = {"Idempotency-Key": "one"}


class RepeatTests(ApiTestCase):
    def test_it_gives_a_repeated_request_the_first_answer(self) -> None:
        first = self.call("post", "photos", {"file": image_file()}, headers=KEY)
        again = self.call("post", "photos", {"file": image_file()}, headers=KEY)
        self.assertEqual((again.status_code, again.json()), (first.status_code, first.json()))
        self.assertEqual(again.headers["Idempotency-Replayed"], "true")
        self.assertNotIn("Idempotency-Replayed", first.headers)
        self.assertEqual(self.alice.photos.count(), 1)

    def test_it_refuses_the_key_for_another_body(self) -> None:
        self.call("post", "photos", {"file": image_file()}, headers=KEY)
        response = self.call("post", "photos", {"file": image_file(colour="red")}, headers=KEY)
        self.assert_problem(response, 422, "idempotency_key_reused")
        self.assertEqual(self.alice.photos.count(), 1)

    def test_it_keeps_the_keys_of_people_apart(self) -> None:
        for person in ("alice", "bob"):
            response = self.call("post", "photos", {"file": image_file()}, headers=KEY, token=person)
            self.assertEqual(response.status_code, 202)
        self.assertEqual((self.alice.photos.count(), self.bob.photos.count()), (1, 1))

    def test_it_says_that_the_first_one_is_at_work(self) -> None:
        file: Any = image_file()
        IdempotentRequest.objects.create(
            owner=self.alice, key="one", request_sha256=idempotency.fingerprint("uploadPhotos", [file])
        )
        response = self.call("post", "photos", {"file": image_file()}, headers=KEY)
        self.assert_problem(response, 409, "still_at_work")
        self.assertEqual(response.headers["Retry-After"], "1")

    def test_it_does_it_again_where_the_first_one_never_answered(self) -> None:
        IdempotentRequest.objects.create(owner=self.alice, key="one", request_sha256="x")
        IdempotentRequest.objects.update(created_at=timezone.now() - idempotency.GIVEN_UP)
        response = self.call("post", "photos", {"file": image_file()}, headers=KEY)
        self.assertEqual(response.status_code, 202)

    def test_it_frees_the_key_of_a_request_that_failed(self) -> None:
        self.assertEqual(self.call("post", "photos", {"file": text_file()}, headers=KEY).status_code, 400)
        self.assertEqual(self.call("post", "photos", {"file": image_file()}, headers=KEY).status_code, 202)

    def test_it_forgets_after_a_day(self) -> None:
        self.call("post", "photos", {"file": image_file()}, headers=KEY)
        IdempotentRequest.objects.update(created_at=timezone.now() - idempotency.KEPT - timedelta(seconds=1))
        self.assertEqual(idempotency.purge(), 1)

    def test_it_refuses_a_key_that_is_too_long(self) -> None:
        headers = {"Idempotency-Key": "x" * 256}
        response = self.call("post", "photos", {"file": image_file()}, headers=headers)
        self.assert_problem(response, 422, "invalid")


def text_file() -> SimpleUploadedFile:
    return SimpleUploadedFile("photo.jpg", b"text")
