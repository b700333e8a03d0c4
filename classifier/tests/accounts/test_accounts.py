import re
from typing import Any

from allauth.mfa.models import Authenticator
from allauth.mfa.totp.internal.auth import format_hotp_value, hotp_value, yield_hotp_counters_from_time
from django.core.cache import cache
from django.test import override_settings

from cifarsite.test import PASSWORD, SiteTestCase, sent_mails
from classifier.models import User

CONSOLE = "django.core.mail.backends.console.EmailBackend"


def mailed_link(path: str) -> str:
    """The link to ``path`` in the first mail."""
    text = str(sent_mails()[0].body)
    found = re.search(rf"{path}\S+", text)
    assert found, text
    return found[0]


class SignUpTests(SiteTestCase):
    def setUp(self) -> None:
        cache.clear()

    def sign_up(self, **changes: str) -> Any:
        fields = {
            "username": "dora",
            "email": "dora@example.org",
            "password1": PASSWORD,
            "password2": PASSWORD,
        }
        return self.client.post("/accounts/signup/", {**fields, **changes}, follow=True)

    def test_the_way_in_leads_over_a_confirmed_address(self) -> None:
        page = self.sign_up()
        self.assertContains(page, "confirm your e-mail address")
        self.assertNotIn("_auth_user_id", self.client.session)
        link = mailed_link("/accounts/confirm-email/")
        self.assertContains(self.client.get(link), "dora@example.org")
        confirmed = self.client.post(link, follow=True)
        self.assertEqual(confirmed.context["user"].username, "dora")
        for name in ("dora", "dora@example.org"):
            self.client.logout()
            response = self.client.post("/accounts/login/", {"login": name, "password": PASSWORD})
            self.assertRedirects(response, "/", msg_prefix=name)

    def test_nobody_is_let_in_unconfirmed(self) -> None:
        self.sign_up()
        response = self.client.post("/accounts/login/", {"login": "dora", "password": PASSWORD})
        self.assertRedirects(response, "/accounts/confirm-email/")

    def test_the_page_says_where_mails_go(self) -> None:
        with override_settings(MAIL_BACKEND=CONSOLE):
            self.assertContains(self.client.get("/accounts/confirm-email/"), "prints them on the console")
        with override_settings(MAIL_BACKEND="django.core.mail.backends.smtp.EmailBackend"):
            self.assertNotContains(self.client.get("/accounts/confirm-email/"), "prints them on the console")

    def test_what_was_typed_is_kept_and_the_error_stands_beside_the_field(self) -> None:
        page = self.sign_up(password2="something-else")
        self.assertContains(page, 'value="dora"')
        self.assertContains(page, 'id="id_password2_error"')
        self.assertFalse(User.objects.filter(username="dora").exists())

    def test_a_known_address_is_not_given_away(self) -> None:
        page = self.sign_up(email="alice@example.org")
        self.assertContains(page, "confirm your e-mail address")
        self.assertFalse(User.objects.filter(username="dora").exists())


class SignInTests(SiteTestCase):
    def setUp(self) -> None:
        cache.clear()

    def test_by_name_and_by_address(self) -> None:
        for name in ("alice", "alice@example.org", "ALICE@example.org"):
            response = self.client.post("/accounts/login/", {"login": name, "password": PASSWORD})
            self.assertRedirects(response, "/", msg_prefix=name)
            self.client.logout()

    def test_it_leads_to_where_one_wanted_to_go(self) -> None:
        page = self.client.get("/accounts/login/?next=/history/")
        self.assertContains(page, 'name="next" value="/history/"')
        data = {"login": "alice", "password": PASSWORD, "next": "/history/"}
        self.assertRedirects(self.client.post("/accounts/login/", data), "/history/")

    def test_a_wrong_password_says_so_and_no_more(self) -> None:
        page = self.client.post("/accounts/login/", {"login": "alice", "password": "wrong"})
        nobody = self.client.post("/accounts/login/", {"login": "nobody", "password": "wrong"})
        self.assertContains(page, 'role="alert"')
        self.assertEqual(page.context["form"].non_field_errors(), nobody.context["form"].non_field_errors())

    def test_after_ten_wrong_passwords_the_right_one_is_refused_too(self) -> None:
        for _ in range(10):
            self.client.post("/accounts/login/", {"login": "alice", "password": "wrong"})
        self.client.post("/accounts/login/", {"login": "alice", "password": PASSWORD})
        self.assertNotIn("_auth_user_id", self.client.session)

    def test_a_forgotten_password_is_set_anew_by_mail(self) -> None:
        page = self.client.post("/accounts/password/reset/", {"email": "alice@example.org"}, follow=True)
        self.assertContains(page, "Check your mail")
        link = mailed_link("/accounts/password/reset/key/")
        page = self.client.get(link, follow=True)
        form = page.redirect_chain[-1][0]
        self.client.post(form, {"password1": "another-good-one-9", "password2": "another-good-one-9"})
        self.alice.refresh_from_db()
        self.assertTrue(self.alice.check_password("another-good-one-9"))

    def test_signing_out_takes_a_post(self) -> None:
        self.client.force_login(self.alice)
        self.client.get("/accounts/logout/")
        self.assertIn("_auth_user_id", self.client.session)
        self.client.post("/accounts/logout/")
        self.assertNotIn("_auth_user_id", self.client.session)


class AccountPagesTests(SiteTestCase):
    PAGES = (
        "email/", "password/change/", "logout/", "reauthenticate/", "2fa/", "2fa/totp/activate/",
        "2fa/webauthn/", "2fa/webauthn/add/", "sessions/", "inactive/",
    )  # fmt: skip

    def setUp(self) -> None:
        cache.clear()
        self.client.post("/accounts/login/", {"login": "alice", "password": PASSWORD})
        self.client.post("/accounts/reauthenticate/", {"password": PASSWORD})

    def test_all_of_them_wear_the_look_of_the_site(self) -> None:
        for page in self.PAGES:
            with self.subTest(page):
                response = self.client.get(f"/accounts/{page}")
                self.assertContains(response, 'class="brand"')
                self.assertNotContains(response, "style=")
                self.assertNotContains(response, "Menu:")

    def test_the_account_page_leads_to_them(self) -> None:
        response = self.client.get("/account/")
        for url in (
            "/accounts/email/",
            "/accounts/password/change/",
            "/accounts/2fa/",
            "/accounts/sessions/",
        ):
            self.assertContains(response, url)

    def test_other_devices_can_be_signed_out(self) -> None:
        elsewhere = self.client_class()
        elsewhere.post("/accounts/login/", {"login": "alice", "password": PASSWORD})
        self.assertContains(self.client.get("/accounts/sessions/"), "Sign out everywhere else")
        self.client.post("/accounts/sessions/")
        self.assertEqual(elsewhere.get("/account/").status_code, 302)
        self.assertEqual(self.client.get("/account/").status_code, 200)


class SecondFactorTests(SiteTestCase):
    def setUp(self) -> None:
        cache.clear()
        self.client.post("/accounts/login/", {"login": "alice", "password": PASSWORD})

    def test_changing_it_takes_the_password_once_more(self) -> None:
        response = self.client.get("/accounts/2fa/totp/activate/")
        self.assertRedirects(response, "/accounts/reauthenticate/?next=/accounts/2fa/totp/activate/")

    def code(self, secret: str) -> str:
        return str(format_hotp_value(hotp_value(secret, next(yield_hotp_counters_from_time()))))

    def test_an_authenticator_app_is_enrolled_asked_for_and_taken_away(self) -> None:
        self.client.post("/accounts/reauthenticate/", {"password": PASSWORD})
        page = self.client.get("/accounts/2fa/totp/activate/")
        secret = page.context["form"].secret
        self.assertContains(page, secret)
        self.client.post("/accounts/2fa/totp/activate/", {"code": self.code(secret)})
        kinds = set(Authenticator.objects.values_list("type", flat=True))
        self.assertEqual(kinds, {"totp", "recovery_codes"})
        codes = self.client.get("/accounts/2fa/recovery-codes/").context["unused_codes"]
        self.client.logout()

        response = self.client.post("/accounts/login/", {"login": "alice", "password": PASSWORD})
        self.assertRedirects(response, "/accounts/2fa/authenticate/")
        self.assertEqual(self.client.get("/account/").status_code, 302)
        page = self.client.post("/accounts/2fa/authenticate/", {"code": "000000"})
        self.assertContains(page, 'id="id_code_error"')
        self.assertRedirects(self.client.post("/accounts/2fa/authenticate/", {"code": codes[0]}), "/")

        self.client.post("/accounts/reauthenticate/", {"password": PASSWORD})
        self.client.post("/accounts/2fa/totp/deactivate/")
        self.assertFalse(Authenticator.objects.filter(type="totp").exists())
