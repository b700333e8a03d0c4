"""Signing in with an organisation's account: the whole way, with a provider that runs as a program.

The site is asked through Django's client, the provider on its port; what a browser would follow is followed.
"""

from __future__ import annotations

import re
import subprocess
import sys
import time
from datetime import timedelta
from html import unescape
from typing import Any
from urllib.parse import parse_qs, urlsplit

import requests
from allauth.account.models import EmailAddress
from allauth.mfa.totp.internal.auth import TOTP, format_hotp_value, generate_totp_secret, hotp_value
from allauth.socialaccount.models import SocialAccount
from django.core.cache import cache
from django.test import Client, override_settings
from django.utils import timezone

from cifarsite import sign_in_providers
from cifarsite.test import PASSWORD, SiteTestCase, make_user, sent_mails
from classifier.accounts.organisations import has_claim, withdraw_lapsed
from classifier.models import AuditEntry, User
from classifier.operations.sweeper import Sweeper
from conftest import accepts, free_port, wait_until


class OrganisationTestCase(SiteTestCase):
    port: int

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        cls.port = free_port()
        argv = [sys.executable, "-m", "oidc_provider_mock", "--port", str(cls.port), "-r", "true"]
        process = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        cls.addClassCleanup(process.wait)
        cls.addClassCleanup(process.kill)
        wait_until(lambda: accepts(cls.port), "The provider")

    def setUp(self) -> None:
        cache.clear()
        self.provider = requests.Session()
        self.provider.trust_env = False
        callback = "http://testserver/accounts/oidc/acme/login/callback/"
        registered = self.ask("POST", "/oauth2/clients", json={"redirect_uris": [callback]}).json()
        self.assertEqual(registered["token_endpoint_auth_method"], "client_secret_basic")
        self.given = {
            "OIDC_ACME_NAME": "Acme",
            "OIDC_ACME_URL": f"http://127.0.0.1:{self.port}",
            "OIDC_ACME_CLIENT_ID": registered["client_id"],
            "OIDC_ACME_CLIENT_SECRET": registered["client_secret"],
            # This provider does not say which of the two it wants.
            "OIDC_ACME_AUTH": "basic",
        }
        self.configure()

    def configure(self, **more: str) -> None:
        """The settings as they are with these variables of acme's beside the usual ones."""
        given = {**self.given, **{f"OIDC_ACME_{name}": value for name, value in more.items()}}
        apps = sign_in_providers.providers(["acme"], given)
        self.enterContext(override_settings(SOCIALACCOUNT_PROVIDERS={"openid_connect": {"APPS": apps}}))

    def ask(self, method: str, url: str, **sent: Any) -> requests.Response:
        address = url if url.startswith("http") else f"http://127.0.0.1:{self.port}{url}"
        return self.provider.request(method, address, timeout=10, allow_redirects=False, **sent)

    def start(self, client: Client, path: str = "/accounts/oidc/acme/login/") -> str:
        """Press the button; the provider's address that the site leads to."""
        page = client.post(path)
        self.assertEqual(page.status_code, 200, page.content)
        found = re.search(r'id="continue" href="([^"]+)"', page.content.decode())
        assert found
        self.assertIn(f'content="0; url={found[1]}"', page.content.decode())
        return unescape(found[1])

    def consent(self, address: str, sub: str, action: str = "") -> str:
        """Sign in at the provider, which leads back to the site."""
        back = self.ask("POST", address, data={"sub": sub, "action": action} if action else {"sub": sub})
        self.assertEqual(back.status_code, 302, back.text)
        return back.headers["Location"].removeprefix("http://testserver")

    def sign_in(self, sub: str, client: Client | None = None, **claims: Any) -> Any:
        """The whole way as somebody of whom the provider says ``claims``; the site's last page."""
        self.client = client or Client()
        self.ask("PUT", f"/users/{sub}", json=claims)
        return self.client.get(self.consent(self.start(self.client), sub), follow=True)

    def who(self) -> User | None:
        pk = self.client.session.get("_auth_user_id")
        return User.objects.get(pk=pk) if pk else None

    def kinds(self, **fields: Any) -> list[str]:
        return list(AuditEntry.objects.filter(**fields).order_by("pk").values_list("kind", flat=True))


class SignIn(OrganisationTestCase):
    def test_a_button_for_each_organisation_stands_on_the_pages_of_entrance(self) -> None:
        for path in ("/accounts/login/?next=/history/", "/accounts/signup/"):
            page = self.client.get(path).content.decode()
            self.assertIn("Sign in with Acme", page)
        self.assertIn('action="/accounts/oidc/acme/login/?process=login', page)
        with override_settings(SOCIALACCOUNT_PROVIDERS={"openid_connect": {"APPS": []}}):
            self.assertNotContains(self.client.get("/accounts/login/"), "Sign in with Acme")
            self.assertEqual(self.client.post("/accounts/oidc/acme/login/").status_code, 404)

    def test_looking_at_the_address_starts_nothing(self) -> None:
        page = self.client.get("/accounts/oidc/acme/login/")
        self.assertContains(page, "Sign in with Acme")
        self.assertNotContains(page, str(self.port))

    def test_a_new_person_gets_an_account_and_comes_back_to_it(self) -> None:
        page = self.sign_in(
            "e-1", email="eve@example.org", email_verified=True, preferred_username="eve", name="Eve Example"
        )
        self.assertEqual((page.status_code, page.wsgi_request.path), (200, "/"))
        eve = self.who()
        assert eve
        self.assertEqual((eve.username, eve.email, eve.is_staff), ("eve", "eve@example.org", False))
        self.assertFalse(eve.has_usable_password())
        self.assertEqual((eve.first_name, eve.last_name), ("", ""))
        self.assertTrue(EmailAddress.objects.get(user=eve).verified)
        # Of what the provider said, little is kept.
        kept = SocialAccount.objects.get().extra_data
        self.assertEqual(set(kept), {"userinfo", "has_claim", "made_staff"})
        self.assertEqual(kept["userinfo"], {"email": "eve@example.org"})
        # By the provider's name for the person, not by the address.
        self.sign_in("e-1", email="other@example.org", email_verified=True)
        self.assertEqual(self.who(), eve)

    def test_it_leads_on_to_the_page_that_was_asked_for(self) -> None:
        self.ask("PUT", "/users/e-2", json={"email": "e2@example.org", "email_verified": True})
        address = self.start(self.client, "/accounts/oidc/acme/login/?process=login&next=/history/")
        back = self.client.get(self.consent(address, "e-2"))
        self.assertRedirects(back, "/history/")

    def test_the_request_carries_a_state_and_a_challenge(self) -> None:
        sent = parse_qs(urlsplit(self.start(self.client)).query)
        self.assertEqual(set(sent["scope"][0].split()), {"openid", "profile", "email"})
        self.assertEqual(sent["code_challenge_method"], ["S256"])
        self.assertGreaterEqual(len(sent["state"][0]), 16)

    def test_a_name_that_is_taken_is_not_taken_over(self) -> None:
        self.sign_in("e-3", email="e3@example.org", email_verified=True, preferred_username="alice")
        newcomer = self.who()
        assert newcomer
        self.assertNotEqual(newcomer, self.alice)
        self.assertNotEqual(newcomer.username.lower(), "alice")

    def test_whoever_cancels_or_comes_without_a_state_is_not_signed_in(self) -> None:
        address = self.start(self.client)
        # The state goes back with a refusal too, says OAuth; this provider forgets it.
        state = parse_qs(urlsplit(address).query)["state"][0]
        back = self.consent(address, "e-4", action="deny")
        self.assertIn("error=access_denied", back)
        cancelled = self.client.get(f"{back}&state={state}", follow=True)
        self.assertContains(cancelled, "You did not finish the sign-in")
        self.assertEqual(self.kinds(), [])
        for query in ("?code=abc&state=made-up", "?code=abc", "?error=server_error", ""):
            page = self.client.get(f"/accounts/oidc/acme/login/callback/{query}")
            self.assertContains(page, "did not confirm who you are", status_code=401)
        self.assertEqual(set(self.kinds()), {"sign_in_failed"})
        self.assertIsNone(self.who())

    def test_the_answer_for_one_browser_lets_no_other_in(self) -> None:
        self.ask("PUT", "/users/e-5", json={"email": "e5@example.org", "email_verified": True})
        back = self.consent(self.start(Client()), "e-5")
        page = self.client.get(back)
        self.assertEqual(page.status_code, 401)
        self.assertIsNone(self.who())

    def test_a_code_that_the_provider_did_not_give_is_refused(self) -> None:
        state = parse_qs(urlsplit(self.start(self.client)).query)["state"][0]
        page = self.client.get(f"/accounts/oidc/acme/login/callback/?code=made-up&state={state}")
        self.assertEqual(page.status_code, 401)

    def test_a_wrong_secret_signs_nobody_in(self) -> None:
        self.configure(CLIENT_SECRET="wrong")
        page = self.sign_in("e-6", email="e6@example.org", email_verified=True)
        self.assertEqual(page.status_code, 401)
        self.assertNotContains(page, "wrong", status_code=401)
        self.assertIsNone(self.who())

    def test_a_provider_that_is_away_is_said_and_is_no_fault_of_the_site(self) -> None:
        for url in (f"http://127.0.0.1:{free_port()}", f"http://127.0.0.1:{self.port}/nothing"):
            self.configure(URL=url)
            page = self.client.post("/accounts/oidc/acme/login/")
            self.assertContains(page, "does not respond at the moment", status_code=503)
            self.assertEqual(page.headers["Retry-After"], "60")


class Joining(OrganisationTestCase):
    def test_an_address_confirmed_on_both_sides_joins_the_accounts(self) -> None:
        self.sign_in("a-1", email="Alice@Example.org", email_verified=True)
        self.assertEqual(self.who(), self.alice)
        self.alice.refresh_from_db()
        self.assertTrue(self.alice.has_usable_password(), "the password stays")
        self.assertEqual(self.kinds(by=self.alice), ["organisation_changed"])
        self.assertIn("alice@example.org", [to for mail in sent_mails() for to in mail.to])

    def test_an_address_that_the_provider_does_not_confirm_joins_nothing(self) -> None:
        for said in ({}, {"email_verified": False}, {"email_verified": "false"}, {"email_verified": "true"}):
            self.sign_in("a-2", email="alice@example.org", **said)
            self.assertIsNone(self.who(), said)
        self.assertFalse(SocialAccount.objects.exists())

    def test_an_address_that_is_not_confirmed_here_joins_nothing(self) -> None:
        """Bob has written Victor's address into his account, and waits."""
        EmailAddress.objects.create(user=self.bob, email="victor@example.org", verified=False)
        self.sign_in("v-1", email="victor@example.org", email_verified=True)
        self.assertNotEqual(self.who(), self.bob)
        self.assertFalse(SocialAccount.objects.filter(user=self.bob).exists())

    def test_a_new_person_whose_address_nobody_confirmed_confirms_it_first(self) -> None:
        page = self.sign_in("n-1", email="nina@example.org", email_verified=False)
        self.assertIsNone(self.who())
        self.assertEqual(page.wsgi_request.path, "/accounts/confirm-email/")
        (mail,) = sent_mails()
        key = re.search(r"/accounts/confirm-email/\S+", mail.body)
        assert key
        self.client.post(key[0])
        nina = self.who()
        assert nina
        self.assertTrue(EmailAddress.objects.get(user=nina).verified)

    def test_addresses_of_other_domains_are_not_this_providers_to_speak_of(self) -> None:
        self.configure(DOMAINS="acme.example, acme.test")
        page = self.sign_in("a-3", email="alice@example.org", email_verified=True)
        self.assertContains(page, "Acme gave no address that this site takes", status_code=403)
        self.assertIsNone(self.who())
        self.sign_in("a-4", email="a4@acme.test", email_verified=True)
        self.assertIsNotNone(self.who())

    def test_a_provider_may_be_trusted_to_know_its_own_addresses(self) -> None:
        """Some confirm all of them and say so of none."""
        self.configure(DOMAINS="example.org", CONFIRMED="true")
        self.sign_in("a-5", email="alice@example.org")
        self.assertEqual(self.who(), self.alice)

    def test_nobody_connects_an_account_by_hand_whose_address_is_not_theirs(self) -> None:
        self.client.force_login(self.bob)
        self.client.post("/accounts/reauthenticate/", {"password": PASSWORD})
        for sub, email in (("b-1", "elsewhere@example.org"), ("b-2", "alice@example.org")):
            self.ask("PUT", f"/users/{sub}", json={"email": email, "email_verified": True})
            address = self.start(self.client, "/accounts/oidc/acme/login/?process=connect")
            page = self.client.get(self.consent(address, sub), follow=True)
            self.assertContains(page, "does not confirm an address", status_code=403)
        self.assertFalse(SocialAccount.objects.exists())

    def test_what_was_joined_is_shown_and_can_be_removed(self) -> None:
        self.sign_in("a-6", email="alice@example.org", email_verified=True)
        self.assertContains(self.client.get("/account/"), "/accounts/3rdparty/")
        self.assertContains(self.client.get("/accounts/3rdparty/"), "Acme")
        self.client.post("/accounts/reauthenticate/", {"password": PASSWORD})
        self.client.post("/accounts/3rdparty/", {"account": SocialAccount.objects.get().pk})
        self.assertFalse(SocialAccount.objects.exists())
        self.assertEqual(self.kinds(by=self.alice), ["organisation_changed"] * 2)

    def test_a_provider_that_is_configured_no_more_breaks_no_page(self) -> None:
        self.sign_in("a-7", email="alice@example.org", email_verified=True)
        with override_settings(SOCIALACCOUNT_PROVIDERS={"openid_connect": {"APPS": []}}):
            page = self.client.get("/accounts/3rdparty/")
        self.assertContains(page, "acme")
        self.assertNotContains(page, "Remove")


class RulesOfSignIn(OrganisationTestCase):
    def test_a_second_factor_is_asked_for(self) -> None:
        secret = generate_totp_secret()
        TOTP.activate(self.alice, secret)
        page = self.sign_in("a-1", email="alice@example.org", email_verified=True)
        self.assertEqual(page.wsgi_request.path, "/accounts/2fa/authenticate/")
        self.assertIsNone(self.who())
        self.client.post("/accounts/2fa/authenticate/", {"code": "000000"})
        self.assertIsNone(self.who())
        self.assertIn("second_factor_failed", self.kinds(by=self.alice))
        now = int(time.time()) // 30
        self.client.post("/accounts/2fa/authenticate/", {"code": format_hotp_value(hotp_value(secret, now))})
        self.assertEqual(self.who(), self.alice)

    def test_an_account_that_is_locked_out_stays_out(self) -> None:
        User.objects.filter(pk=self.alice.pk).update(is_active=False)
        page = self.sign_in("a-1", email="alice@example.org", email_verified=True)
        self.assertEqual(page.wsgi_request.path, "/accounts/inactive/")
        self.assertIsNone(self.who())

    def test_starts_are_counted_by_address_as_those_with_a_password_are(self) -> None:
        statuses = [self.client.post("/accounts/oidc/acme/login/").status_code for _ in range(31)]
        self.assertEqual((set(statuses[:30]), statuses[30]), ({200}, 429))
        self.assertEqual(self.client.post("/accounts/login/", {"login": "alice"}).status_code, 429)

    def test_whoever_has_no_password_signs_in_again_before_the_account_changes(self) -> None:
        """A stolen session alone takes no account."""
        self.sign_in("o-1", email="olga@example.org", email_verified=True)
        self.assertEqual(self.client.get("/account/delete/").status_code, 200, "a moment ago")
        session = self.client.session
        for record in session["account_authentication_methods"]:
            record["at"] -= 3_600
        session.save()
        asked = self.client.get("/account/delete/")
        self.assertRedirects(asked, "/accounts/oidc/acme/login/?next=%2Faccount%2Fdelete%2F")
        for path in ("/account/tokens/", "/account/delete/"):
            self.assertEqual(self.client.post(path, {"scopes": "read", "username": "olga"}).status_code, 302)
        self.assertEqual(self.client.get("/accounts/2fa/totp/activate/").status_code, 302)
        olga = self.who()
        assert olga
        self.assertEqual(olga.api_tokens.count(), 0)
        back = self.client.get(self.consent(self.start(self.client, asked.headers["Location"]), "o-1"))
        self.assertRedirects(back, "/account/delete/")

    def test_nobody_sees_the_secret(self) -> None:
        secret = self.given["OIDC_ACME_CLIENT_SECRET"]
        with self.assertLogs(level="DEBUG") as logged:
            page = self.sign_in("a-1", email="alice@example.org", email_verified=True)
        self.assertNotContains(page, secret)
        self.assertNotIn(secret, "\n".join(logged.output))
        self.client.force_login(make_user("root", is_staff=True, is_superuser=True))
        page = self.client.get("/admin/socialaccount/socialaccount/")
        self.assertContains(page, "acme")
        self.assertNotContains(page, secret)
        self.assertEqual(self.client.get("/admin/socialaccount/socialapp/").status_code, 404)


class StaffByClaim(OrganisationTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.configure(STAFF="groups=cifarsite-staff")

    def sign_in_with(self, groups: Any, sub: str = "b-1", email: str = "bob@example.org") -> User:
        self.sign_in(sub, email=email, email_verified=True, groups=groups)
        person = self.who()
        assert person
        return person

    def test_the_claim_makes_staff_and_its_end_takes_it_back(self) -> None:
        self.assertFalse(self.sign_in_with(["others"]).is_staff)
        bob = self.sign_in_with(["others", "cifarsite-staff"])
        self.assertEqual((bob, bob.is_staff, bob.is_superuser), (self.bob, True, False))
        self.assertEqual(self.client.get("/training/").status_code, 200)
        self.assertTrue(self.sign_in_with(["cifarsite-staff"]).is_staff)
        self.assertFalse(self.sign_in_with([]).is_staff)
        self.assertEqual(self.client.get("/training/").status_code, 403)
        lines = AuditEntry.objects.filter(kind="rights_changed", by=self.bob).order_by("pk")
        self.assertEqual(
            [line.detail for line in lines],
            [f"user {bob.pk}: {now} by a claim of acme" for now in ("is_staff", "none")],
        )

    def test_a_new_person_with_the_claim_is_staff_at_once(self) -> None:
        self.assertTrue(self.sign_in_with("cifarsite-staff", "s-1", "sam@example.org").is_staff)

    def test_rights_given_in_the_admin_are_not_the_claims_to_take(self) -> None:
        for groups in (["cifarsite-staff"], []):
            self.assertTrue(self.sign_in_with(groups, "c-1", "charlie@example.org").is_staff)
        self.assertEqual(AuditEntry.objects.filter(kind="rights_changed").count(), 0)

    def test_an_administrator_stays_one(self) -> None:
        make_user("root", is_staff=True, is_superuser=True)
        for groups in (["cifarsite-staff"], []):
            root = self.sign_in_with(groups, "r-1", "root@example.org")
            self.assertTrue(root.is_staff and root.is_superuser)

    def test_rights_lapse_where_nobody_confirms_them_any_more(self) -> None:
        bob = self.sign_in_with(["cifarsite-staff"])
        self.assertEqual(withdraw_lapsed(), 0)
        long_ago = timezone.now() - timedelta(days=8)
        SocialAccount.objects.filter(user=bob).update(last_login=long_ago)
        Sweeper().sweep()
        bob.refresh_from_db()
        self.assertFalse(bob.is_staff)
        self.assertEqual(self.client.get("/training/").status_code, 403, "in a session that goes on, too")

    def test_rights_end_with_the_setting_and_with_the_account_there(self) -> None:
        bob = self.sign_in_with(["cifarsite-staff"])
        self.client.post("/accounts/reauthenticate/", {"password": PASSWORD})
        self.client.post("/accounts/3rdparty/", {"account": SocialAccount.objects.get().pk})
        bob.refresh_from_db()
        self.assertFalse(bob.is_staff)
        bob = self.sign_in_with(["cifarsite-staff"])
        self.configure(STAFF="")
        self.assertEqual(withdraw_lapsed(), 1)
        bob.refresh_from_db()
        self.assertFalse(bob.is_staff)

    def test_a_claim_may_lie_in_others_and_be_named_by_an_address(self) -> None:
        claims = {"realm_access": {"roles": ["staff"]}, "https://a.example/role": "staff", "n": 1}
        for name, expected in (
            ("realm_access.roles", True),
            ("https://a.example/role", True),
            ("realm_access.groups", False),
            ("n.m", False),
            ("", False),
        ):
            self.assertIs(has_claim(claims, name, "staff"), expected, name)
        self.assertFalse(
            has_claim({"role": "not-staff"}, "role", "staff"), "a part of a word is not the word"
        )
