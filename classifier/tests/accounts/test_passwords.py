"""Tests hash passwords in a quick way; the site does not."""

from django.conf import global_settings, settings
from django.test import override_settings

from cifarsite.test import PASSWORD, SiteTestCase, make_user


class Passwords(SiteTestCase):
    def test_they_are_hashed_slowly_and_signing_in_works(self) -> None:
        self.assertEqual(settings.PASSWORD_HASHERS[1:], global_settings.PASSWORD_HASHERS)
        with override_settings(PASSWORD_HASHERS=global_settings.PASSWORD_HASHERS):
            dora = make_user("dora")
            self.assertTrue(dora.password.startswith("pbkdf2_sha256$"))
            answer = self.client.post("/accounts/login/", {"login": "dora", "password": PASSWORD})
            self.assertEqual((answer.status_code, answer.headers["Location"]), (302, "/"))
