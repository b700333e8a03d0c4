"""The audit log is written once and tells nothing about people who are gone."""

from django.core.exceptions import ValidationError
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import RequestFactory
from django.urls import reverse

from cifarsite.test import ApiTestCase, SiteTestCase, make_user
from classifier.accounts.audit import client_address, forget_addresses, record
from classifier.models import AuditEntry
from classifier.privacy.account_data import delete_account
from training.models import ModelVersion
from training.registry.promotion import PromotionRefused, promote


class AuditTests(SiteTestCase):
    def test_it_cannot_be_changed_or_deleted(self) -> None:
        record("token_made", by=self.alice, detail="token 1")
        entry = AuditEntry.objects.get()
        entry.kind = "nothing"
        with self.assertRaises(ValidationError):
            entry.save()
        with self.assertRaises(ValidationError):
            entry.delete()

    def test_it_notes_a_sign_in_that_failed(self) -> None:
        self.client.post("/accounts/login/", {"login": "alice", "password": "wrong"})
        entry = AuditEntry.objects.get(kind="sign_in_failed")
        self.assertEqual((entry.by, entry.address), (self.alice, "127.0.0.1"))

    def test_it_stays_without_the_person_when_the_account_goes(self) -> None:
        record("token_made", by=self.alice, request=RequestFactory().get("/"))
        forget_addresses(self.alice)
        self.alice.delete()
        entry = AuditEntry.objects.get()
        self.assertEqual((entry.by, entry.address), (None, None))

    def test_it_believes_forwarded_addresses_from_proxies_of_ones_own_alone(self) -> None:
        request = RequestFactory().get("/", headers={"X-Forwarded-For": "198.51.100.7, 203.0.113.9"})
        self.assertEqual(client_address(request), "127.0.0.1")
        with self.settings(ALLAUTH_TRUSTED_PROXY_COUNT=1):
            self.assertEqual(client_address(request), "203.0.113.9")


class OnRecordTests(ApiTestCase):
    """Each kind of line that docs/security.md promises, by doing what it is about."""

    def kinds(self) -> list[tuple[str, str, str]]:
        rows = AuditEntry.objects.exclude(kind="token_made").order_by("pk")
        return [(row.kind, row.by.username if row.by else "", row.detail) for row in rows]

    def test_a_refused_page_and_a_wrong_token_are_noted_once_a_minute(self) -> None:
        self.client.force_login(self.bob)
        for _number in range(3):
            self.client.get("/training/")
        self.call("get", "photos", token="wrong")
        self.call("post", "training-jobs", {}, token="bob")
        self.assertEqual(
            self.kinds()[:2],
            [
                ("access_refused", "bob", "403 GET /training/"),
                ("access_refused", "bob", "401 GET /api/v1/photos"),
            ],
        )

    def test_a_refused_file_is_noted_by_its_code(self) -> None:
        self.client.force_login(self.alice)
        self.client.post("/", {"file": SimpleUploadedFile("x.txt", b"text")})
        self.call("post", "photos", {"file": SimpleUploadedFile("x.jpg", b"")}, token="bob")
        self.assertEqual(
            self.kinds(), [("upload_refused", "alice", "not_an_image"), ("upload_refused", "bob", "empty")]
        )

    def test_deleted_photos_are_counted(self) -> None:
        photo, other = self.upload(), self.upload()
        self.client.force_login(self.alice)
        self.client.post(f"/photos/{photo.pk}/delete/")
        self.call("delete", f"photos/{other.pk}")
        self.assertEqual(self.kinds(), [("photos_deleted", "alice", "1")] * 2)

    def test_rights_given_in_the_administration_are_noted_with_who_gave_them(self) -> None:
        self.client.force_login(make_user("root", is_staff=True, is_superuser=True))
        page = reverse("admin:classifier_user_change", args=[self.bob.pk])
        form = self.client.get(page).context["adminform"].form
        data = {name: form[name].value() for name in form.fields if form[name].value()}
        self.client.post(page, {**data, "language": "vi"})  # no right
        self.assertEqual(self.kinds(), [])
        self.client.post(page, {**data, "is_staff": "on"})
        del data["is_active"]
        self.client.post(page, data)
        self.assertEqual(
            self.kinds(),
            [
                ("rights_changed", "root", f"user {self.bob.pk}: is_active, is_staff"),
                ("rights_changed", "root", f"user {self.bob.pk}: none"),
            ],
        )

    def test_a_photo_deleted_in_the_administration_is_noted_with_who_did_it_and_whose_it_was(self) -> None:
        photo = self.upload()
        self.client.force_login(make_user("root", is_staff=True, is_superuser=True))
        self.client.post(reverse("admin:classifier_photo_delete", args=[photo.pk]), {"post": "yes"})
        self.assertEqual(self.kinds(), [("photos_deleted", "root", f"1 of user {self.alice.pk}")])

    def test_a_deleted_account_is_noted_by_its_number_alone(self) -> None:
        number = self.alice.pk
        delete_account(self.alice)
        self.assertEqual(self.kinds(), [("account_deleted", "", f"user {number}")])

    def test_a_refused_promotion_is_noted(self) -> None:
        model = ModelVersion.objects.create(
            name="m", recipe="r", sha256="0" * 64, size=1, preprocessing="squash32-v1", card={}
        )
        with self.assertRaises(PromotionRefused):
            promote(model, by=self.charlie, reason="Better.")
        self.assertEqual(self.kinds()[:1], [("promotion_refused", "charlie", f"model {model.pk}")])
