"""What people try at the door, and in what they type: each is tried here and does nothing."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import pytest
from allauth.account.models import EmailAddress
from django.conf import settings
from django.contrib.sessions.models import Session
from django.core import signing
from django.core.cache import cache
from django.test import Client, override_settings
from django.urls import reverse

from cifarsite.core.spreadsheets import FORMULA
from cifarsite.test import PASSWORD, SiteTestCase, answer, make_user, sent_mails
from classifier.accounts.tokens import make_token
from classifier.admin.exports import SpreadsheetCSV
from classifier.feedback.corrections import correct
from classifier.models import AuditEntry, BatchItem, Photo
from classifier.photos.export import csv_lines
from classifier.tests.uploads.archives import zipped
from classifier.uploads import batches
from training.models import ModelVersion

MARKUP = '"><img src=x onerror=alert(1)><script>alert(2)</script>'
LOGIN = "/accounts/login/"


class SignInTests(SiteTestCase):
    def setUp(self) -> None:
        cache.clear()

    def log_in(self, client: Client | None = None, login: str = "alice", password: str = PASSWORD) -> Any:
        return (client or self.client).post(LOGIN, {"login": login, "password": password})

    def test_a_session_from_before_the_sign_in_is_worth_nothing_after_it(self) -> None:
        self.client.get("/accounts/signup/")
        session = self.client.session
        session["planted"] = True
        session.save()
        before = str(session.session_key)
        self.client.cookies[settings.SESSION_COOKIE_NAME] = before
        self.log_in()
        after = self.client.session.session_key
        self.assertNotEqual(before, after)
        thief = Client()
        thief.cookies[settings.SESSION_COOKIE_NAME] = before
        self.assertEqual(thief.get("/account/").status_code, 302)

    def test_a_session_key_that_nobody_gave_out_is_not_taken(self) -> None:
        self.client.cookies[settings.SESSION_COOKIE_NAME] = "chosen-by-somebody-else-0123456789"
        self.log_in()
        self.assertNotEqual(self.client.session.session_key, "chosen-by-somebody-else-0123456789")

    def test_changing_the_password_ends_the_other_sessions(self) -> None:
        elsewhere = Client()
        self.log_in(elsewhere)
        self.log_in()
        new = "another-good-one-9"
        self.client.post(
            "/accounts/password/change/", {"oldpassword": PASSWORD, "password1": new, "password2": new}
        )
        self.alice.refresh_from_db()
        self.assertTrue(self.alice.check_password(new))
        self.assertEqual(elsewhere.get("/account/").status_code, 302)
        self.assertEqual(self.client.get("/account/").status_code, 200)
        self.assertTrue(AuditEntry.objects.filter(kind="password_changed", by=self.alice).exists())

    def test_signing_out_ends_the_session_on_the_site_not_only_in_the_browser(self) -> None:
        self.log_in()
        kept = self.client.cookies[settings.SESSION_COOKIE_NAME].value
        self.client.post("/accounts/logout/")
        thief = Client()
        thief.cookies[settings.SESSION_COOKIE_NAME] = kept
        self.assertEqual(thief.get("/account/").status_code, 302)
        self.assertFalse(Session.objects.filter(session_key=kept).exists())

    def test_a_known_and_an_unknown_address_are_answered_alike(self) -> None:
        def reset(email: str) -> tuple[int, str]:
            response = Client().post("/accounts/password/reset/", {"email": email}, follow=True)
            return response.status_code, response.request["PATH_INFO"]

        self.assertEqual(reset("alice@example.org"), reset("nobody@example.org"))

        def sign_up(email: str, username: str) -> tuple[int, str]:
            fields = {"username": username, "email": email, "password1": PASSWORD, "password2": PASSWORD}
            response = Client().post("/accounts/signup/", fields, follow=True)
            return response.status_code, response.request["PATH_INFO"]

        self.assertEqual(sign_up("alice@example.org", "eve1"), sign_up("new@example.org", "eve2"))
        # The owner of the known address is told, by mail.
        self.assertIn("alice@example.org", [to for message in sent_mails() for to in message.to])

    def test_ten_wrong_passwords_count_on_the_account_by_whatever_name(self) -> None:
        for number in range(10):
            self.log_in(Client(), ("alice", "alice@example.org", "ALICE")[number % 3], "wrong")
        for login in ("alice", "alice@example.org"):
            client = Client()
            response = self.log_in(client, login)
            self.assertEqual(response.status_code, 200, login)
            self.assertContains(response, "After ten wrong passwords the site accepts none")
            self.assertNotIn("_auth_user_id", client.session)
        self.assertTrue(AuditEntry.objects.filter(kind="sign_in_locked", by=self.alice).exists())
        self.assertEqual(self.log_in(Client(), "bob").status_code, 302)

    def test_a_made_up_forwarded_address_does_not_unlock(self) -> None:
        for number in range(60):
            Client().post(
                LOGIN,
                {"login": f"somebody{number}", "password": "wrong"},
                headers={"X-Forwarded-For": f"203.0.113.{number}"},
            )
        response = self.log_in(Client(), "bob")
        self.assertNotEqual(response.status_code, 302, "fifty wrong ones of one address lock the address")

    def test_an_open_redirect_leads_nowhere_else(self) -> None:
        for target in (
            "https://evil.example/",
            "//evil.example/",
            "/\\evil.example/",
            "https:evil.example",
            "javascript:alert(1)",
            "http://testserver@evil.example/",
            "\thttps://evil.example",
        ):
            with self.subTest(target):
                cache.clear()
                client = Client()
                for response in (
                    client.post(LOGIN, {"login": "alice", "password": PASSWORD, "next": target}),
                    client.post("/language/", {"language": "en", "next": target}),
                    client.post("/history/delete/", {"next": target}),
                    client.post("/account/consent/", {"given": "yes", "next": target}),
                    client.post("/accounts/logout/", {"next": target}),
                ):
                    self.assertEqual(response.status_code, 302)
                    self.assertNotIn("evil", response.headers["Location"])
                    self.assertNotIn("javascript", response.headers["Location"])


class HeaderTests(SiteTestCase):
    def test_a_foreign_host_header_is_refused(self) -> None:
        with override_settings(ALLOWED_HOSTS=["site.example"]):
            for host in ("evil.example", "site.example.evil.example", "site.example:80@evil.example"):
                self.assertEqual(self.client.get("/", headers={"Host": host}).status_code, 400, host)
            forwarded = self.client.get(
                "/", headers={"Host": "site.example", "X-Forwarded-Host": "evil.example"}
            )
            self.assertNotContains(forwarded, "evil.example")
            self.client.post(
                "/accounts/password/reset/",
                {"email": "alice@example.org"},
                headers={"Host": "site.example", "X-Forwarded-Host": "evil.example"},
            )
            (sent,) = sent_mails()
            self.assertIn(settings.BASE_URL, sent.body)
            self.assertNotIn("evil.example", sent.body)

    def test_no_page_lets_itself_be_framed_sniffed_or_referred_from(self) -> None:
        root = make_user("root", is_staff=True, is_superuser=True)
        for person, paths in (
            (None, ("/", LOGIN, "/api/docs", "/api/reference", "/nothing/", "/privacy/")),
            (root, ("/", "/account/", "/history/", "/training/", "/admin/", "/models/")),
        ):
            client = Client()
            if person:
                client.force_login(person)
            for path in paths:
                headers = client.get(path).headers
                policy = headers["Content-Security-Policy"]
                self.assertIn("frame-ancestors 'none'", policy, path)
                self.assertNotIn("unsafe", policy, path)
                self.assertEqual(headers["X-Frame-Options"], "DENY", path)
                self.assertEqual(headers["X-Content-Type-Options"], "nosniff", path)
                self.assertEqual(headers["Referrer-Policy"], "same-origin", path)

    def test_cookies_say_how_they_may_be_used(self) -> None:
        response = self.client.post(LOGIN, {"login": "alice", "password": PASSWORD})
        session = response.cookies[settings.SESSION_COOKIE_NAME]
        self.assertTrue(session["httponly"])
        self.assertEqual(session["samesite"], "Lax")
        self.assertEqual(self.client.get("/").cookies[settings.CSRF_COOKIE_NAME]["samesite"], "Lax")

    def test_every_write_of_a_session_needs_the_forms_token(self) -> None:
        client = Client(enforce_csrf_checks=True)
        client.force_login(self.alice)
        photo = self.upload()
        for path in (
            "/",
            f"/photos/{photo.pk}/delete/",
            "/account/delete/",
            "/account/tokens/",
            "/batches/",
            "/accounts/logout/",
        ):
            self.assertEqual(client.post(path).status_code, 403, path)
        response = client.delete(f"/api/v1/photos/{photo.pk}")
        self.assertEqual((response.status_code, response.json()["code"]), (403, "csrf"))


class TextTests(SiteTestCase):
    """What people type comes back as text, wherever it is shown."""

    def test_markup_in_names_labels_and_notes_is_never_markup(self) -> None:
        root = make_user("root", is_staff=True, is_superuser=True, first_name=MARKUP[:150])
        photo = self.upload(root)
        Photo.objects.filter(pk=photo.pk).update(filename=MARKUP)
        answer(photo)
        correct(photo, root, "dog")
        batch = batches.create_batch(root, zipped({f"{MARKUP}.txt": b"no photo"}), filename=MARKUP)
        BatchItem.objects.update(status="refused", error_code="not_an_image", error_detail=MARKUP)
        make_token(root, scopes=["read"], name=MARKUP[:100])
        model = ModelVersion.objects.create(
            name=MARKUP,
            recipe=MARKUP[:50],
            sha256="0" * 64,
            size=1,
            preprocessing="squash32-v1",
            card={},
            notes=MARKUP,
        )
        self.client.force_login(root)
        for path in (
            "/",
            "/history/",
            f"/history/?search={MARKUP}",
            f"/history/?label={MARKUP}&cursor={MARKUP}",
            photo.get_absolute_url(),
            f"{photo.get_absolute_url()}status/",
            "/batches/",
            batch.get_absolute_url(),
            f"{batch.get_absolute_url()}status/",
            "/account/",
            "/account/numbers/",
            "/models/",
            f"/models/{model.pk}/",
            "/datasets/",
            "/training/",
            f"/accounts/login/?next={MARKUP}",
            "/admin/classifier/photo/",
            f"/admin/classifier/photo/{photo.pk}/change/",
            f"/admin/classifier/photo/?q={MARKUP}",
            f"/admin/classifier/batch/{batch.pk}/change/",
            f"/admin/training/modelversion/{model.pk}/change/",
            "/admin/classifier/batchitem/",
            f"/nothing/{MARKUP}",
        ):
            with self.subTest(path):
                page = self.client.get(path).content.decode()
                self.assertNotIn("<img src=x", page)
                self.assertNotIn("<script>alert", page)

    def test_a_file_name_cannot_break_a_header(self) -> None:
        photo = self.upload()
        Photo.objects.filter(pk=photo.pk).update(filename='a"; filename="evil.html"\r\nX-Evil: 1')
        self.client.force_login(self.alice)
        response = self.client.get(f"/photos/{photo.pk}/image/")
        response.getvalue()
        self.assertNotIn("X-Evil", response.headers)
        self.assertTrue(response.headers["Content-Type"].startswith("image/jpeg"))

    def test_no_cell_of_an_export_is_a_formula(self) -> None:
        values = [
            "=1+1",
            "+1",
            "-1",
            "@SUM(A1)",
            "\t=1",
            "\r=1",
            " =1",
            "＝1",
            "=cmd|' /C calc'!A0",
            "cat.jpg",
        ]
        lines = "".join(csv_lines(["name"], [[value] for value in values]))
        cells = [row[0] for row in csv.reader(io.StringIO(lines))][1:]
        self.assertEqual(cells[-1], "cat.jpg")
        for cell in cells[:-1]:
            self.assertTrue(cell.startswith("'"), cell)
        self.assertLessEqual(set("=+-@"), set(FORMULA))

    def test_no_export_of_pages_api_and_admin_holds_a_formula(self) -> None:
        photo, wide = self.upload(), self.upload()
        Photo.objects.filter(pk=photo.pk).update(filename="=HYPERLINK(1)")
        Photo.objects.filter(pk=wide.pk).update(filename="＝HYPERLINK(2)")
        answer(photo)
        batch = batches.create_batch(
            self.alice, zipped({"=HYPERLINK(1).jpg": b"x"}), filename="=HYPERLINK(1).zip"
        )
        self.client.force_login(self.alice)
        for path in ("/history/export.csv", f"{batch.get_absolute_url()}results.csv"):
            content = self.client.get(path).getvalue().decode("utf-8-sig")
            self.assertIn("'=HYPERLINK", content, path)
            self.assertNotRegex(content, r"(^|,|\")=HYPERLINK", path)
        self.client.force_login(make_user("root", is_staff=True, is_superuser=True))
        form = {"format": "0", "resource": "0"}
        export = self.client.post(reverse("admin:classifier_photo_export"), form)
        for cell in ("=HYPERLINK(1)", "＝HYPERLINK(2)"):
            self.assertIn(f"'{cell}", export.content.decode())
        self.assertTrue(SpreadsheetCSV().get_extension() == "csv")


class KeyRotationTests(SiteTestCase):
    """A new SECRET_KEY beside the old one in SECRET_KEY_FALLBACKS; then the old one is taken away."""

    OLD, NEW = "o" * 64, "n" * 64

    def during(self) -> Any:
        return override_settings(SECRET_KEY=self.NEW, SECRET_KEY_FALLBACKS=[self.OLD])

    def after(self) -> Any:
        return override_settings(SECRET_KEY=self.NEW, SECRET_KEY_FALLBACKS=[])

    def setUp(self) -> None:
        cache.clear()

    def test_sessions_live_through_the_rotation_and_end_with_the_old_key(self) -> None:
        with override_settings(SECRET_KEY=self.OLD, SECRET_KEY_FALLBACKS=[]):
            self.client.force_login(self.alice)
            idle = Client()
            idle.force_login(self.alice)
        with self.during():
            self.assertEqual(self.client.get("/account/").status_code, 200)
        with self.after():
            self.assertEqual(self.client.get("/account/").status_code, 200, "used meanwhile: signed anew")
            self.assertEqual(idle.get("/account/").status_code, 302, "not used meanwhile")

    def test_signed_things_are_read_during_the_rotation_and_not_after_it(self) -> None:
        with override_settings(SECRET_KEY=self.OLD, SECRET_KEY_FALLBACKS=[]):
            signed = signing.dumps({"x": 1})
        with self.during():
            self.assertEqual(signing.loads(signed), {"x": 1})
        with self.after(), self.assertRaises(signing.BadSignature):
            signing.loads(signed)

    def test_a_reset_link_works_during_the_rotation_and_not_after_it(self) -> None:
        with override_settings(SECRET_KEY=self.OLD, SECRET_KEY_FALLBACKS=[]):
            self.client.post("/accounts/password/reset/", {"email": "alice@example.org"})
        link = str(sent_mails()[0].body).split(settings.BASE_URL)[1].split()[0]
        with self.during():
            page = Client().get(link, follow=True)
            self.assertContains(page, 'name="password1"')
        with self.after():
            self.assertNotContains(Client().get(link, follow=True), 'name="password1"')

    def test_api_tokens_do_not_depend_on_the_key(self) -> None:
        _token, secret = make_token(self.alice, scopes=["read"])
        with self.after():
            response = self.client.get("/api/v1/photos", headers={"Authorization": f"Bearer {secret}"})
            self.assertEqual(response.status_code, 200)


class ErrorPageTests(SiteTestCase):
    SECRETS = ("SECRET_KEY", "Traceback", "settings.py", PASSWORD)

    @pytest.fixture(autouse=True)
    def _log(self, caplog: pytest.LogCaptureFixture) -> None:
        self.log = caplog

    def test_an_error_page_and_the_log_tell_no_secret(self) -> None:
        client = Client(raise_request_exception=False)
        client.force_login(self.alice)
        _token, secret = make_token(self.alice, scopes=["read"])
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("classifier.pages.photos.history", lambda *args, **more: 1 / 0)
            headers = {"Authorization": f"Bearer {secret}"}
            response = client.get("/", {"password": PASSWORD}, headers=headers)
            self.assertEqual(response.status_code, 500)
            for text in (*self.SECRETS, secret, settings.SECRET_KEY, "ZeroDivisionError"):
                self.assertNotIn(text, response.content.decode())
        for text in (secret, settings.SECRET_KEY, PASSWORD):
            self.assertNotIn(text, self.log.text)

    def test_signing_in_and_making_tokens_write_no_secret_into_the_log(self) -> None:
        cache.clear()
        with self.log.at_level("DEBUG"):
            client = Client()
            client.post(LOGIN, {"login": "alice", "password": "wrong-" + PASSWORD})
            client.post(LOGIN, {"login": "alice", "password": PASSWORD})
            client.post("/accounts/reauthenticate/", {"password": PASSWORD})
            page = client.post("/account/tokens/", {"name": "n", "scopes": ["read"]})
            secret = page.context["new_secret"]
            client.get("/api/v1/photos", headers={"Authorization": f"Bearer {secret}"})
            Client().get("/api/v1/photos", headers={"Authorization": f"Bearer {secret[:-1]}"})
        for text in (PASSWORD, secret, secret[:-1], settings.SECRET_KEY):
            self.assertNotIn(text, self.log.text)
        self.assertNotIn(secret, json.dumps(list(AuditEntry.objects.values("kind", "detail"))))
        self.assertTrue(EmailAddress.objects.filter(user=self.alice).exists())
