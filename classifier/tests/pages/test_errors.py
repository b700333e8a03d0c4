"""The database is away: 503 and a sentence, on pages and in the API, and never a fault of our own."""

from __future__ import annotations

from unittest import mock

from django.db import InterfaceError, OperationalError
from django.test import Client

from cifarsite.test import ApiTestCase, image_file


class OutageTest(ApiTestCase):
    def setUp(self) -> None:
        self.client = Client(raise_request_exception=False)

    def test_the_api_says_that_a_part_is_away(self) -> None:
        for where in (
            "classifier.api.authentication.find_token",
            "classifier.api.authentication.rate_limits.consume",
        ):
            for error in (OperationalError("gone"), InterfaceError("closed")):
                with mock.patch(where, side_effect=error):
                    answer = self.call("post", "photos", {"file": image_file()})
                self.assertIn("try again", self.assert_problem(answer, 503, "away")["detail"].lower())
                self.assertEqual(answer.headers["Retry-After"], "15")

    def test_an_upload_that_the_database_left_is_away_too(self) -> None:
        with mock.patch("classifier.uploads.photos.add_rows", side_effect=OperationalError("gone")):
            self.assert_problem(self.call("post", "photos", {"file": image_file()}), 503, "away")

    def test_a_page_says_that_a_part_is_away(self) -> None:
        self.client.force_login(self.alice)
        for where in ("classifier.pages.photos.history", "django.contrib.auth.middleware.get_user"):
            with mock.patch(where, side_effect=OperationalError("gone")):
                answer = self.client.get("/")
            self.assertContains(answer, "Your data is safe", status_code=503)
            self.assertEqual(answer.headers["Retry-After"], "15")

    def test_a_page_about_a_fault_is_never_one_itself(self) -> None:
        self.client.force_login(self.alice)
        with (
            mock.patch("classifier.pages.photos.history", side_effect=OperationalError("gone")),
            mock.patch("classifier.pages.refusals.server_error", side_effect=ValueError("no static files")),
        ):
            self.assertContains(self.client.get("/"), "Try again", status_code=503)

    def test_a_fault_of_our_own_stays_one(self) -> None:
        self.client.force_login(self.alice)
        with mock.patch("classifier.pages.photos.history", side_effect=ValueError("wrong")):
            self.assertEqual(self.client.get("/").status_code, 500)
