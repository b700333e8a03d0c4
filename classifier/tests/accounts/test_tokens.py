"""API tokens: shown once, kept as a hash, scoped, expiring, revocable."""

import io
from datetime import timedelta

from django.core.cache import cache
from django.core.management import CommandError, call_command
from django.utils import timezone

from cifarsite.test import PASSWORD, SiteTestCase
from classifier.accounts.tokens import MAX_TOKENS, TokenRefused, find_token, make_token, revoke_token
from classifier.models import ApiToken, AuditEntry


class TokenTests(SiteTestCase):
    def test_it_keeps_only_the_hash(self) -> None:
        token, secret = make_token(self.alice, scopes=["read"])
        stored = ApiToken.objects.values().get(pk=token.pk)
        self.assertNotIn(secret, map(str, stored.values()))
        self.assertEqual(secret[:12], stored["prefix"])

    def test_it_finds_the_token_again_and_notes_its_use(self) -> None:
        token, secret = make_token(self.alice, scopes=["read"])
        found = find_token(secret)
        self.assertEqual(found, token)
        token.refresh_from_db()
        self.assertIsNotNone(token.last_used_at)

    def test_it_does_not_write_at_each_use(self) -> None:
        _token, secret = make_token(self.alice, scopes=["read"])
        find_token(secret)
        with self.assertNumQueries(1):
            find_token(secret)

    def test_it_does_not_find_what_is_revoked_expired_or_of_a_blocked_person(self) -> None:
        token, secret = make_token(self.alice, scopes=["read"], days=1)
        self.assertIsNone(find_token(secret + "x"))
        ApiToken.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
        self.assertIsNone(find_token(secret))
        ApiToken.objects.update(expires_at=None)
        self.alice.is_active = False
        self.alice.save()
        self.assertIsNone(find_token(secret))
        self.alice.is_active = True
        self.alice.save()
        self.assertTrue(revoke_token(token, by=self.alice))
        self.assertIsNone(find_token(secret))

    def test_it_revokes_once(self) -> None:
        token, _secret = make_token(self.alice, scopes=["read"])
        self.assertTrue(revoke_token(token, by=self.alice))
        self.assertFalse(revoke_token(token, by=self.alice))

    def test_it_refuses_unknown_scopes_no_scope_and_wrong_days(self) -> None:
        for scopes, days in ((["fly"], None), ([], None), (["read"], 0), (["read"], 100_000)):
            with self.assertRaises(TokenRefused):
                make_token(self.alice, scopes=scopes, days=days)
        self.assertFalse(ApiToken.objects.exists())

    def test_it_gives_the_scope_train_to_staff_alone(self) -> None:
        with self.assertRaises(TokenRefused):
            make_token(self.alice, scopes=["train"])
        token, _secret = make_token(self.charlie, scopes=["train", "read"])
        self.assertEqual(token.scopes, ["read", "train"])

    def test_it_limits_how_many_a_person_has(self) -> None:
        for _number in range(MAX_TOKENS):
            make_token(self.alice, scopes=["read"])
        with self.assertRaises(TokenRefused):
            make_token(self.alice, scopes=["read"])

    def test_it_leaves_a_line_in_the_audit_log(self) -> None:
        token, secret = make_token(self.alice, scopes=["read"])
        revoke_token(token, by=self.alice)
        kinds = list(AuditEntry.objects.order_by("id").values_list("kind", "by"))
        self.assertEqual(kinds, [("token_made", self.alice.pk), ("token_revoked", self.alice.pk)])
        self.assertNotIn(secret, " ".join(AuditEntry.objects.values_list("detail", flat=True)))


class TokenPageTests(SiteTestCase):
    def setUp(self) -> None:
        cache.clear()
        self.client.force_login(self.alice)
        self.client.post("/accounts/reauthenticate/", {"password": PASSWORD})

    def test_it_shows_a_new_token_once(self) -> None:
        data = {"name": "my script", "days": "30", "scopes": ["predict", "read"]}
        response = self.client.post("/account/tokens/", data)
        self.assertEqual(response.status_code, 201)
        secret = response.context["new_secret"]
        self.assertContains(response, secret, status_code=201)
        self.assertIn("no-store", response.headers["Cache-Control"])
        found = find_token(secret)
        self.assertEqual(found and found.scopes, ["predict", "read"])
        page = self.client.get("/account/")
        self.assertContains(page, "my script")
        self.assertNotContains(page, secret)

    def test_it_says_why_a_token_is_refused(self) -> None:
        for data in ({"name": "x"}, {"scopes": "train"}, {"scopes": "read", "days": "-1"}):
            response = self.client.post("/account/tokens/", data)
            self.assertContains(response, 'role="alert"', status_code=400)
        self.assertFalse(ApiToken.objects.exists())

    def test_it_revokes_ones_own_tokens_alone(self) -> None:
        mine, _secret = make_token(self.alice, scopes=["read"])
        theirs, _secret = make_token(self.bob, scopes=["read"])
        self.assertRedirects(self.client.post(f"/account/tokens/{mine.pk}/revoke/"), "/account/")
        self.assertEqual(self.client.post(f"/account/tokens/{theirs.pk}/revoke/").status_code, 404)
        mine.refresh_from_db()
        theirs.refresh_from_db()
        self.assertEqual((mine.state, theirs.state), ("revoked", "active"))
        self.assertContains(self.client.get("/account/"), "revoked")

    def test_it_wants_a_post_and_somebody_signed_in(self) -> None:
        self.assertEqual(self.client.get("/account/tokens/").status_code, 405)
        self.client.logout()
        self.assertEqual(self.client.post("/account/tokens/", {"scopes": "read"}).status_code, 302)
        self.assertFalse(ApiToken.objects.exists())


class ApitokenCommandTests(SiteTestCase):
    def test_it_prints_the_token_alone(self) -> None:
        out = io.StringIO()
        call_command("apitoken", "alice", "--scopes", "predict,read", stdout=out)
        secret = out.getvalue().removesuffix("\n")
        self.assertRegex(secret, r"\A\S+\Z")
        found = find_token(secret)
        self.assertEqual(found and found.owner, self.alice)

    def test_it_refuses_unknown_people_and_scopes(self) -> None:
        for arguments in (["nobody", "--scopes", "read"], ["alice", "--scopes", "train"]):
            with self.assertRaises(CommandError):
                call_command("apitoken", *arguments)
