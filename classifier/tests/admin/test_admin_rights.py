"""Permissions on the admin's tables of people lead nobody above themselves; what is done is written down."""

from __future__ import annotations

from typing import Any

from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from django.contrib.auth.models import Group, Permission
from django.core.cache import cache
from django.urls import reverse

from cifarsite.test import PASSWORD, SiteTestCase, make_user
from classifier.models import AuditEntry, User

NEW = "another-good-one-9"


class RightsTests(SiteTestCase):
    """Charlie is staff with every permission that there is, and no superuser."""

    root: User
    other: User

    @classmethod
    def setUpTestData(cls) -> None:
        super().setUpTestData()
        cls.root = make_user("root", is_staff=True, is_superuser=True)
        cls.other = make_user("erin", is_staff=True)
        cls.charlie.user_permissions.set(Permission.objects.all())
        Group.objects.get(name="reviewers").user_set.add(cls.charlie)
        for person in (cls.root, cls.other, cls.alice):
            Authenticator.objects.create(user=person, type="totp", data={"secret": "x"})

    def setUp(self) -> None:
        cache.clear()
        self.client.force_login(self.charlie)

    def account(self, person: User) -> dict[str, Any]:
        """All that decides who may act as this person, and what they may do."""
        person = User.objects.get(pk=person.pk)
        return {
            **{name: getattr(person, name) for name in ("username", "email", "password", "is_active")},
            **{name: getattr(person, name) for name in ("is_staff", "is_superuser")},
            "groups": sorted(person.groups.values_list("name", flat=True)),
            "permissions": person.user_permissions.count(),
            "addresses": sorted(EmailAddress.objects.filter(user=person).values_list("email", "verified")),
            "factors": Authenticator.objects.filter(user=person).count(),
        }

    def fields(self, person: User, **changes: Any) -> dict[str, Any]:
        return {
            "username": person.username,
            "email": person.email,
            "is_active": "on",
            "date_joined_0": "2026-01-01",
            "date_joined_1": "00:00:00",
            **changes,
        }

    def post(self, table: str, page: str, *ids: Any, **fields: Any) -> Any:
        return self.client.post(reverse(f"admin:{table}_{page}", args=ids), fields)

    def attack(self, person: User) -> None:
        """Every way through the admin into another's account, or to more rights."""
        everything = [str(pk) for pk in Permission.objects.values_list("pk", flat=True)[:5]]
        self.post(
            "classifier_user",
            "change",
            person.pk,
            **self.fields(person, email="evil@example.org", is_superuser="on", is_staff="on"),
        )
        self.post("classifier_user", "change", person.pk, **self.fields(person, is_active=""))
        self.client.post(
            reverse("admin:auth_user_password_change", args=[person.pk]),
            {"usable_password": "true", "password1": NEW, "password2": NEW, "set-password": "1"},
        )
        self.post(
            "account_emailaddress", "add", user=person.pk, email="evil@example.org", verified="on", primary=""
        )
        own = EmailAddress.objects.get(user=self.alice)
        self.post("account_emailaddress", "change", own.pk, user=person.pk, email=own.email, verified="on")
        address = EmailAddress.objects.get(user=person)
        EmailAddress.objects.filter(pk=address.pk).update(verified=False)
        for action in ("make_verified", "delete_selected"):
            self.post(
                "account_emailaddress", "changelist", action=action, _selected_action=address.pk, post="yes"
            )
        self.assertFalse(EmailAddress.objects.get(pk=address.pk).verified)
        EmailAddress.objects.filter(pk=address.pk).update(verified=True)
        self.post("account_emailaddress", "change", address.pk, user=person.pk, email="evil@example.org")
        self.post("account_emailaddress", "delete", address.pk, post="yes")
        factor = Authenticator.objects.get(user=person)
        self.post("mfa_authenticator", "delete", factor.pk, post="yes")
        self.post(
            "mfa_authenticator",
            "changelist",
            action="delete_selected",
            _selected_action=factor.pk,
            post="yes",
        )
        group = Group.objects.get(name="reviewers")
        self.post("auth_group", "change", group.pk, name="owners", permissions=everything)
        self.post("auth_group", "add", name="more", permissions=everything)

    def test_no_permission_leads_into_the_account_of_staff_or_superusers(self) -> None:
        for person in (self.root, self.other):
            with self.subTest(person.username):
                before = self.account(person)
                self.attack(person)
                self.assertEqual(self.account(person), before)
        groups = set(Group.objects.values_list("name", "permissions"))
        self.assertEqual(groups, {(name, None) for name in ("reviewers", "trainers", "operators")})

    def test_nobody_gives_themselves_or_others_rights(self) -> None:
        for person in (self.charlie, self.alice):
            before = self.account(person)
            self.post(
                "classifier_user",
                "change",
                person.pk,
                **self.fields(
                    person, is_superuser="on", is_staff="on", groups=[Group.objects.get(name="reviewers").pk]
                ),
            )
            after = self.account(person)
            for right in ("is_superuser", "is_staff", "groups", "permissions"):
                self.assertEqual(after[right], before[right], right)

    def test_ordinary_people_are_looked_after_by_whoever_has_the_permission(self) -> None:
        self.post("classifier_user", "change", self.alice.pk, **self.fields(self.alice, first_name="Al"))
        self.assertEqual(User.objects.get(pk=self.alice.pk).first_name, "Al")
        self.post("account_emailaddress", "add", user=self.alice.pk, email="al@example.org", verified="on")
        self.assertTrue(EmailAddress.objects.filter(user=self.alice, email="al@example.org").exists())

    def test_superusers_set_rights_and_passwords(self) -> None:
        self.client.force_login(self.root)
        self.post("classifier_user", "change", self.other.pk, **self.fields(self.other, is_staff=""))
        self.assertFalse(User.objects.get(pk=self.other.pk).is_staff)
        self.assertTrue(AuditEntry.objects.filter(kind="rights_changed", by=self.root).exists())

    def test_a_permission_to_look_shows_no_hash_and_confirms_no_address(self) -> None:
        self.charlie.user_permissions.set(Permission.objects.filter(codename__startswith="view_"))
        page = self.client.get(reverse("admin:classifier_user_change", args=[self.root.pk]))
        self.assertNotContains(page, self.root.password.split("$")[-1])
        address = EmailAddress.objects.get(user=self.alice)
        EmailAddress.objects.filter(pk=address.pk).update(verified=False)
        self.post("account_emailaddress", "changelist", action="make_verified", _selected_action=address.pk)
        self.assertFalse(EmailAddress.objects.get(pk=address.pk).verified)


class WrittenDownTests(SiteTestCase):
    """What is done to accounts and photos in the admin stands in the audit log."""

    def setUp(self) -> None:
        cache.clear()
        self.root = make_user("root", is_staff=True, is_superuser=True)
        self.client.force_login(self.root)

    def lines(self) -> list[tuple[str, str]]:
        found = AuditEntry.objects.filter(by=self.root).order_by("pk").values_list("kind", "detail")
        return [(kind, detail) for kind, detail in found]

    def test_a_password_that_is_set(self) -> None:
        url = reverse("admin:auth_user_password_change", args=[self.alice.pk])
        self.client.post(url, {"usable_password": "true", "password1": "short", "password2": "short"})
        self.assertEqual(self.lines(), [])
        self.client.post(url, {"usable_password": "true", "password1": NEW, "password2": NEW})
        self.assertEqual(
            self.lines(), [("password_changed", f"user {self.alice.pk}: password set in the admin")]
        )

    def test_an_address_that_is_added_changed_confirmed_and_removed(self) -> None:
        add = reverse("admin:account_emailaddress_add")
        self.client.post(add, {"user": self.alice.pk, "email": "al@example.org"})
        address = EmailAddress.objects.get(email="al@example.org")
        page = reverse("admin:account_emailaddress_change", args=[address.pk])
        self.client.post(page, {"user": self.alice.pk, "email": "ally@example.org"})
        table = reverse("admin:account_emailaddress_changelist")
        chosen = {"_selected_action": address.pk, "post": "yes"}
        self.client.post(table, {"action": "make_verified", **chosen})
        self.client.post(table, {"action": "delete_selected", **chosen})
        said = [f"user {self.alice.pk}: address {what} in the admin" for what in
                ("added", "changed", "confirmed", "removed")]  # fmt: skip
        self.assertEqual(self.lines(), [("email_changed", detail) for detail in said])

    def test_the_address_on_the_account_itself(self) -> None:
        page = reverse("admin:classifier_user_change", args=[self.alice.pk])
        fields = {"username": "alice", "email": "al@example.org", "is_active": "on"}
        self.client.post(page, fields)
        self.assertEqual(self.lines()[0][0], "email_changed")

    def test_a_second_factor_that_is_removed(self) -> None:
        factor = Authenticator.objects.create(user=self.alice, type="totp", data={"secret": "x"})
        self.client.post(reverse("admin:mfa_authenticator_delete", args=[factor.pk]), {"post": "yes"})
        self.assertEqual(
            self.lines(), [("second_factor_changed", f"user {self.alice.pk}: totp removed in the admin")]
        )

    def test_photos_that_staff_bring_back(self) -> None:
        photo = self.upload()
        table = reverse("admin:classifier_photo_changelist")
        for action in ("delete_selected", "restore_selected"):
            self.client.post(table, {"action": action, "_selected_action": photo.pk, "post": "yes"})
        owner = f"1 of user {self.alice.pk}"
        self.assertEqual(self.lines(), [("photos_deleted", owner), ("photos_restored", owner)])


class PasswordFormTests(SiteTestCase):
    def test_the_admins_own_password_form_is_the_sites_which_takes_few_wrong_ones(self) -> None:
        cache.clear()
        self.client.post("/accounts/login/", {"login": "charlie", "password": PASSWORD})
        response = self.client.get("/admin/password_change/")
        self.assertRedirects(response, "/accounts/password/change/")
        fields = {"oldpassword": "wrong", "password1": NEW, "password2": NEW}
        taken = [
            self.client.post("/admin/password_change/", {**fields, "old_password": "wrong"}) for _ in "ab"
        ]
        self.assertEqual({response.status_code for response in taken}, {302})
        answers = [self.client.post("/accounts/password/change/", fields).status_code for _ in range(25)]
        self.assertLessEqual(answers.count(200), 10)
        self.assertIn(429, answers)
