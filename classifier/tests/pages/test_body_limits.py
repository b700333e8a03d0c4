"""A request that is too large is refused before anything reads it."""

from __future__ import annotations

import io
from typing import Any
from unittest import mock

from django.conf import settings
from django.core.files import uploadhandler
from django.test import override_settings

from cifarsite.test import ApiTestCase
from classifier.pages.refusals import MB, ORDINARY_MB

FORM = "multipart/form-data; boundary=of-a-test"


class UnreadableBody(io.BytesIO):
    def read(self, *size: object) -> bytes:
        raise AssertionError("the body was read")


class BodyLimitsTest(ApiTestCase):
    def post(self, path: str, megabytes: float, **more: str) -> Any:
        extra: Any = {"CONTENT_LENGTH": str(int(megabytes * MB)), "wsgi.input": UnreadableBody(), **more}
        return self.client.generic("POST", path, b"", FORM, **extra)

    def assert_refused(self, path: str, megabytes: float, **more: str) -> None:
        with mock.patch.object(uploadhandler, "TemporaryFileUploadHandler", side_effect=AssertionError):
            response = self.post(path, megabytes, **more)
        self.assertEqual(response.status_code, 413, path)

    def test_strangers_send_only_ordinary_forms_to_any_page(self) -> None:
        for path in (
            "/accounts/login/",
            "/accounts/signup/",
            "/",
            "/batches/",
            "/language/",
            "/admin/login/",
        ):
            with self.subTest(path):
                self.assert_refused(path, 150)
                self.assert_refused(path, ORDINARY_MB + 0.1)

    def test_people_send_large_files_only_where_they_belong(self) -> None:
        self.client.force_login(self.charlie)
        for path in (
            "/accounts/password/change/",
            "/account/tokens/",
            "/admin/classifier/user/",
            "/training/",
        ):
            with self.subTest(path):
                self.assert_refused(path, ORDINARY_MB + 0.1)
        for path in ("/", "/batches/"):
            with self.subTest(path):
                self.assertNotEqual(self.post(path, ORDINARY_MB + 0.1).status_code, 413)

    @override_settings(BATCH_MAX_MB=100)
    def test_photos_and_archives_have_limits_of_their_own(self) -> None:
        self.client.force_login(self.alice)
        self.assert_refused("/", 100 * settings.UPLOAD_MAX_MB + 2)
        self.assert_refused("/batches/", 109)

    def test_the_api_says_it_as_a_problem(self) -> None:
        token = f"Bearer {self.tokens['alice']}"
        for path, megabytes in (
            ("photos", 5_000),
            ("batches", 5_000),
            (f"photos/{self.upload().pk}/correction", 9),
        ):
            with self.subTest(path):
                response = self.post(f"/api/v1/{path}", megabytes, HTTP_AUTHORIZATION=token)
                body = self.assert_problem(response, 413, "too_large")
                self.assertIn("MB", body["detail"])

    def test_the_page_says_how_much_may_be_sent(self) -> None:
        page = self.post("/accounts/login/", 150)
        self.assertContains(page, f"larger than {ORDINARY_MB} MB", status_code=413)
