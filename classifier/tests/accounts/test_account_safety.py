"""A session, a name or an address that is not one's own opens nothing more, and tells nothing."""

from __future__ import annotations

import re
import statistics
import time
from datetime import timedelta
from typing import Any
from unittest import mock

from allauth.account.models import EmailAddress
from django.core import mail
from django.core.cache import cache
from django.test import Client, override_settings
from django.utils import timezone

from cifarsite.test import PASSWORD, SiteTestCase, make_user, sent_mails
from classifier.accounts import mails
from classifier.accounts.tokens import make_token
from classifier.models import ApiToken, AuditEntry, Mail, User
from classifier.operations import sweeper
from classifier.privacy.account_data import delete_account

NEW = "another-good-one-9"
LOGIN, REAUTHENTICATE = "/accounts/login/", "/accounts/reauthenticate/"
# What is offered in the form for a new token.
TOKEN = {"name": "script", "scopes": ["read"], "days": "30"}
SLOW_HASHERS = ["django.contrib.auth.hashers.PBKDF2PasswordHasher"]


class SafetyTestCase(SiteTestCase):
    def setUp(self) -> None:
        cache.clear()

    def sign_in(self, login: str = "alice", password: str = PASSWORD, client: Client | None = None) -> Any:
        return (client or self.client).post(LOGIN, {"login": login, "password": password})

    def said(self, response: Any) -> list[str]:
        return [str(error) for error in response.context["form"].non_field_errors()]


class StolenSessionTests(SafetyTestCase):
    """Whoever holds Alice's session does not know her password."""

    def setUp(self) -> None:
        super().setUp()
        self.sign_in()

    def test_no_address_is_added_made_primary_or_removed_without_the_password(self) -> None:
        EmailAddress.objects.create(user=self.alice, email="second@example.org", verified=True)
        before = list(EmailAddress.objects.order_by("pk").values())
        for fields in (
            {"email": "thief@example.org", "action_add": ""},
            {"email": "second@example.org", "action_primary": ""},
            {"email": "second@example.org", "action_remove": ""},
        ):
            response = self.client.post("/accounts/email/", fields)
            self.assertEqual(response.status_code, 302)
            self.assertTrue(response.headers["Location"].startswith(REAUTHENTICATE), fields)
        self.assertEqual(list(EmailAddress.objects.order_by("pk").values()), before)

    def test_no_token_is_made_without_the_password(self) -> None:
        response = self.client.post("/account/tokens/", TOKEN)
        self.assertTrue(response.headers["Location"].startswith(REAUTHENTICATE))
        self.client.post(response.headers["Location"], {"password": "wrong"})
        self.assertFalse(ApiToken.objects.exists())

    def test_with_the_password_the_token_is_made_as_it_was_asked_for(self) -> None:
        asked = self.client.post("/account/tokens/", TOKEN)
        page = self.client.post(asked.headers["Location"], {"password": PASSWORD})
        self.assertEqual(page.status_code, 201)
        self.assertContains(page, page.context["new_secret"], status_code=201)
        self.assertEqual(ApiToken.objects.get().name, "script")

    def test_the_old_address_is_told_of_a_new_one_and_of_the_change(self) -> None:
        self.client.post(REAUTHENTICATE, {"password": PASSWORD})
        self.client.post("/accounts/email/", {"email": "new@example.org", "action_add": ""})
        told = [one for one in sent_mails() if one.to == ["alice@example.org"]]
        self.assertIn("new@example.org", told[-1].body)
        EmailAddress.objects.filter(email="new@example.org").update(verified=True)
        self.client.post("/accounts/email/", {"email": "new@example.org", "action_primary": ""})
        self.assertTrue(EmailAddress.objects.get(email="new@example.org").primary)
        told = [one for one in sent_mails() if one.to == ["alice@example.org"]]
        self.assertEqual(len(told), 2)
        self.assertIn("from alice@example.org to new@example.org", told[-1].body)

    def test_a_few_wrong_passwords_are_all_that_is_looked_at(self) -> None:
        for _number in range(12):
            self.client.post(REAUTHENTICATE, {"password": "wrong"})
        self.client.post(REAUTHENTICATE, {"password": PASSWORD})
        self.assertIn(
            REAUTHENTICATE, self.client.post("/account/tokens/", TOKEN).headers["Location"], "still not open"
        )
        self.assertTrue(AuditEntry.objects.filter(kind="sign_in_failed", by=self.alice).exists())


class ResetTests(SafetyTestCase):
    def reset(self, **fields: Any) -> Any:
        self.client.post("/accounts/password/reset/", {"email": "alice@example.org"})
        link = re.search(r"/accounts/password/reset/key/\S+", sent_mails()[-1].body)
        assert link
        page = self.client.get(link[0], follow=True)
        form = page.redirect_chain[-1][0]
        return page, self.client.post(form, {"password1": NEW, "password2": NEW, **fields})

    def test_the_mail_names_the_tokens_and_the_page_revokes_them(self) -> None:
        token, other = (make_token(self.alice, scopes=["read"], name=name)[0] for name in ("thief", "mine"))
        theirs, _secret = make_token(self.bob, scopes=["read"], name="of bob")
        page, _response = self.reset(revoke=[token.pk])
        for name in ("thief", "mine"):
            self.assertIn(name, sent_mails()[0].body)
            self.assertContains(page, name)
        self.assertNotIn("of bob", sent_mails()[0].body)
        states = {one.pk: one.state for one in ApiToken.objects.all()}
        self.assertEqual(states, {token.pk: "revoked", other.pk: "active", theirs.pk: "active"})
        self.assertTrue(AuditEntry.objects.filter(kind="token_revoked", by=self.alice).exists())
        self.assertIn("mine", sent_mails()[-1].body)
        self.assertNotIn("thief", sent_mails()[-1].body)

    def test_tokens_of_others_are_not_revoked(self) -> None:
        make_token(self.alice, scopes=["read"])
        theirs, _secret = make_token(self.bob, scopes=["read"])
        self.reset(revoke=[theirs.pk])
        theirs.refresh_from_db()
        self.assertEqual(theirs.state, "active")

    def test_without_tokens_nothing_is_said_of_them(self) -> None:
        page, _response = self.reset()
        self.assertNotIn("token", sent_mails()[0].body)
        self.assertNotContains(page, 'name="revoke"')

    def test_a_new_password_opens_a_locked_account_by_each_of_its_names(self) -> None:
        for login in ("alice", "alice@example.org"):
            for _number in range(10):
                self.sign_in(login, "wrong", Client())
        self.reset()
        for login in ("alice", "alice@example.org"):
            self.assertEqual(self.sign_in(login, NEW, Client()).status_code, 302, login)


class LockTests(SafetyTestCase):
    def fail(self, login: str, times: int) -> Any:  # type: ignore[override]
        for _number in range(times):
            response = self.sign_in(login, "wrong", Client())
        return response

    def test_the_lock_does_not_tell_which_name_belongs_to_which_address(self) -> None:
        self.fail("alice", 10)
        known = self.sign_in("alice@example.org", "wrong", Client())
        unknown = self.sign_in("nobody@example.org", "wrong", Client())
        self.assertEqual(self.said(known), self.said(unknown))
        # Locked it is, by either name.
        right = self.sign_in("alice@example.org", PASSWORD, client := Client())
        self.assertNotIn("_auth_user_id", client.session)
        self.assertEqual(self.said(right), self.said(unknown))

    def test_a_name_that_nobody_has_is_locked_like_one_that_somebody_has(self) -> None:
        answers = [self.said(self.fail(login, 11)) for login in ("alice", "nobody")]
        self.assertEqual(answers[0], answers[1])
        self.assertIn("Too many", answers[0][0])

    def hashes(self, login: str) -> int:
        """How many passwords one try hashes, which is what takes the time."""
        with (
            mock.patch.object(User, "set_password", autospec=True) as hashed,
            mock.patch.object(User, "check_password", autospec=True, return_value=False) as checked,
        ):
            self.sign_in(login, "wrong", Client())
        return int(hashed.call_count + checked.call_count)

    def test_known_unknown_and_locked_accounts_take_the_same_time(self) -> None:
        for known, unknown in (("alice", "nobody"), ("alice@example.org", "nobody@example.org")):
            cache.clear()
            expected = self.hashes(unknown)
            self.assertGreater(expected, 0)
            self.assertEqual(self.hashes(known), expected, known)
        self.fail("alice", 10)
        self.assertEqual(self.hashes("alice@example.org"), expected, "locked")

    def test_strangers_do_not_lock_somebody_who_is_signed_in(self) -> None:
        self.sign_in()
        self.fail("alice", 11)
        self.client.post(REAUTHENTICATE, {"password": PASSWORD})
        self.assertEqual(self.client.post("/account/tokens/", TOKEN).status_code, 201)


class NameTests(SafetyTestCase):
    FULL_WIDTH = "ａｌｉｃｅ"

    def sign_up(self, **changes: str) -> Any:
        fields = {"username": "dora", "email": "dora@example.org", "password1": PASSWORD}
        return self.client.post("/accounts/signup/", {**fields, "password2": PASSWORD, **changes})

    def test_other_forms_of_the_same_letters_make_no_second_name(self) -> None:
        for name in (self.FULL_WIDTH, "ＡＬＩＣＥ", "ⓐlice", "𝒶lice"):
            response = self.sign_up(username=name)
            self.assertTrue(response.context["form"].errors["username"], name)
        self.assertEqual(User.objects.filter(email="dora@example.org").count(), 0)

    def test_a_name_is_kept_in_its_plain_form_and_found_in_either(self) -> None:
        self.sign_up(username="ｄｏｒａ")
        EmailAddress.objects.update(verified=True)
        self.assertEqual(User.objects.get(email="dora@example.org").username, "dora")
        for name in ("dora", "ｄｏｒａ"):
            self.assertEqual(self.sign_in(name, client=Client()).status_code, 302, name)

    def test_a_name_that_grows_too_long_is_refused_with_a_sentence(self) -> None:
        response = self.sign_up(username="\ufdfa" * 100)  # each is 18 letters in its plain form
        self.assertEqual(response.status_code, 200)
        self.assertTrue(response.context["form"].errors["username"])


class SignUpTimeTests(SafetyTestCase):
    """A slow way to hash passwords, as in production: its time is what told known addresses."""

    def seconds(self, email: str, name: str) -> float:
        fields = {"username": name, "email": email, "password1": PASSWORD, "password2": PASSWORD}
        began = time.perf_counter()
        response = Client().post("/accounts/signup/", fields)
        self.assertEqual(response.headers["Location"], "/accounts/confirm-email/")
        return time.perf_counter() - began

    @override_settings(PASSWORD_HASHERS=SLOW_HASHERS, ACCOUNT_RATE_LIMITS=False)
    def test_a_known_address_takes_as_long_as_a_new_one(self) -> None:
        known, new = [], []
        for number in range(7):
            known.append(self.seconds("alice@example.org", f"k{number}"))
            new.append(self.seconds(f"new{number}@example.org", f"n{number}"))
        ratio = statistics.median(known) / statistics.median(new)
        self.assertTrue(0.6 < ratio < 1.6, f"{ratio:.2f}: {known} {new}")
        self.assertFalse(User.objects.filter(username__startswith="k").exists())
        self.assertEqual(EmailAddress.objects.filter(email="alice@example.org").count(), 1)

    @override_settings(EMAIL_BACKEND="nowhere.EmailBackend")
    def test_no_mail_is_sent_within_the_request(self) -> None:
        for email in ("alice@example.org", "new@example.org"):
            self.seconds(email, email.split("@")[0] + "2")
            response = self.client.post("/accounts/password/reset/", {"email": email})
            self.assertEqual(response.status_code, 302)
        self.assertEqual(Mail.objects.count(), 4)


class LinkTests(SafetyTestCase):
    @override_settings(ALLOWED_HOSTS=["*"], BASE_URL="https://photos.example")
    def test_links_in_mails_lead_to_the_site_whatever_the_host_header_says(self) -> None:
        make_token(self.alice, scopes=["read"])
        elsewhere = {"Host": "evil.example"}
        signing_up = {"username": "dora", "password1": PASSWORD, "password2": PASSWORD}
        for email in ("dora@example.org", "alice@example.org"):
            self.client.post("/accounts/signup/", {**signing_up, "email": email}, headers=elsewhere)
            signing_up["username"] = "dora2"
        for email in ("alice@example.org", "nobody@example.org"):
            self.client.post("/accounts/password/reset/", {"email": email}, headers=elsewhere)
        self.client.post(LOGIN, {"login": "alice", "password": PASSWORD}, headers=elsewhere)
        self.client.post(REAUTHENTICATE, {"password": PASSWORD}, headers=elsewhere)
        self.client.post("/accounts/email/", {"email": "al@example.org", "action_add": ""}, headers=elsewhere)
        fields = {"oldpassword": PASSWORD, "password1": NEW, "password2": NEW}
        self.client.post("/accounts/password/change/", fields, headers=elsewhere)
        sent = sent_mails()
        self.assertEqual(len(sent), 7, [one.subject for one in sent])
        for one in sent:
            self.assertNotIn("evil", one.subject + one.body)
            for link in re.findall(r"https?://\S+", one.body):
                self.assertTrue(link.startswith("https://photos.example/"), link)
        for page in ("confirm-email", "signup", "password/reset/key", "password/reset/\n"):
            self.assertTrue(any(page in f"{one.body}\n" for one in sent), page)


class WaitingMailTests(SafetyTestCase):
    def wait(self) -> Mail:
        mails.send_later(mail.EmailMessage("Subject", "Text", None, ["alice@example.org"]))
        return Mail.objects.get()

    def test_the_sweeper_sends_it_too_once_and_keeps_nothing(self) -> None:
        self.wait()
        self.assertEqual(sweeper.sweep()["mails_sent"], 1)
        self.assertEqual(sweeper.sweep()["mails_sent"], 0)
        self.assertEqual([one.to for one in mail.outbox], [["alice@example.org"]])
        self.assertFalse(Mail.objects.exists())

    def test_a_server_that_is_away_delays_it_and_at_last_it_is_given_up(self) -> None:
        self.wait()
        with override_settings(
            EMAIL_BACKEND="django.core.mail.backends.smtp.EmailBackend", EMAIL_HOST="127.0.0.1", EMAIL_PORT=1
        ):
            self.assertEqual(mails.send_due(), {"mails_sent": 0, "mails_failed": 1})
            self.assertEqual(mails.send_due(), {"mails_sent": 0, "mails_failed": 0})
            for _wait in mails.WAITS:
                self.assertTrue(Mail.objects.exists())
                Mail.objects.update(due_at=timezone.now() - timedelta(seconds=1))
                mails.send_due()
        self.assertFalse(Mail.objects.exists())

    def test_the_administration_does_not_show_its_text(self) -> None:
        mails.send_later(mail.EmailMessage("Subject", "a link that opens", None, ["alice@example.org"]))
        self.client.force_login(make_user("root", is_staff=True, is_superuser=True))
        page = self.client.get(f"/admin/classifier/mail/{Mail.objects.get().pk}/change/")
        self.assertContains(page, "alice@example.org")
        self.assertNotContains(page, "a link that opens")

    def test_it_goes_with_the_account(self) -> None:
        self.wait()
        delete_account(self.alice)
        self.assertFalse(Mail.objects.exists())
