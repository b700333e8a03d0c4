"""Staff see no photo but those up for review and those that they asked for with a reason, on record."""

from datetime import timedelta
from typing import Any
from unittest import mock

from django.contrib.auth.models import Permission
from django.urls import reverse
from django.utils import timezone

from cifarsite.test import SiteTestCase, answer, make_user
from classifier.feedback.corrections import correct, set_consent
from classifier.models import AuditEntry, Photo, User
from classifier.photos.access import ACCESS_PERIOD, AccessRefused, grant_access, photos_seen_by

REASON = "Asked for by its owner in mail 17."


class LookTests(SiteTestCase):
    root: User

    @classmethod
    def setUpTestData(cls) -> None:
        super().setUpTestData()
        cls.root = make_user("root", is_staff=True, is_superuser=True)

    def setUp(self) -> None:
        self.photo = self.upload()
        answer(self.photo)
        self.look = reverse("admin:classifier_photo_staff_access", args=[self.photo.pk])

    def sees(self, user: User) -> bool:
        return self.photo in photos_seen_by(user)

    def test_nobody_but_the_owner_sees_a_photo(self) -> None:
        self.assertEqual([self.sees(u) for u in (self.alice, self.bob, self.charlie, self.root)],
                         [True, False, False, False])  # fmt: skip

    def test_consent_and_a_correction_together_show_it_to_reviewers(self) -> None:
        correct(self.photo, self.alice, "dog")
        self.assertFalse(self.sees(self.charlie))
        set_consent(self.alice, True)
        self.assertTrue(self.sees(self.charlie))
        self.assertFalse(self.sees(self.bob))
        set_consent(self.alice, False)
        self.assertFalse(self.sees(self.charlie))

    def test_consent_alone_shows_nothing(self) -> None:
        set_consent(self.alice, True)
        self.assertFalse(self.sees(self.charlie))

    def test_a_reason_opens_one_photo_to_one_person_and_is_on_record(self) -> None:
        other = self.upload(colour="red")
        self.client.force_login(self.root)
        response = self.client.post(self.look, {"reason": REASON})
        self.assertRedirects(response, reverse("admin:classifier_photo_change", args=[self.photo.pk]))
        self.assertEqual(self.client.get(f"/photos/{self.photo.pk}/").status_code, 200)
        self.assertFalse(other in photos_seen_by(self.root) or self.sees(self.charlie))
        line = AuditEntry.objects.get(kind="photo_looked_at")
        self.assertEqual((line.by, line.detail), (self.root, f"{self.photo.pk}: {REASON}"))
        self.assertEqual(line.address, "127.0.0.1")

    def test_it_is_over_after_fifteen_minutes(self) -> None:
        grant_access(self.photo, by=self.root, reason=REASON)
        self.assertTrue(self.sees(self.root))
        later = timezone.now() + ACCESS_PERIOD + timedelta(seconds=1)
        with mock.patch("classifier.photos.access.timezone.now", return_value=later):
            self.assertFalse(self.sees(self.root))

    def test_a_look_changes_nothing_of_the_photo(self) -> None:
        grant_access(self.photo, by=self.charlie, reason=REASON)
        self.client.force_login(self.charlie)
        self.assertEqual(self.client.post(f"/photos/{self.photo.pk}/delete/").status_code, 404)
        page = self.client.get(f"/photos/{self.photo.pk}/")
        self.assertNotContains(page, "Delete this photo")

    def test_without_a_reason_it_stays_closed(self) -> None:
        self.client.force_login(self.root)
        for reason in ("", "   ", "because"):
            self.assertEqual(self.client.post(self.look, {"reason": reason}).status_code, 200)
        self.assertFalse(self.sees(self.root) or AuditEntry.objects.exists())

    def test_people_who_are_not_staff_cannot_ask(self) -> None:
        with self.assertRaises(AccessRefused):
            grant_access(self.photo, by=self.bob, reason=REASON)
        self.client.force_login(self.bob)
        self.assertEqual(self.client.post(self.look, {"reason": REASON}).status_code, 302)
        self.assertFalse(AuditEntry.objects.filter(kind="photo_looked_at").exists())

    def test_staff_need_the_permission_to_view_photos(self) -> None:
        self.client.force_login(self.charlie)
        self.assertEqual(self.client.post(self.look, {"reason": REASON}).status_code, 403)
        self.charlie.user_permissions.set(Permission.objects.filter(codename="view_photo"))
        self.assertEqual(self.client.post(self.look, {"reason": REASON}).status_code, 302)

    def test_a_deleted_photo_is_shown_to_nobody(self) -> None:
        Photo.objects.update(deleted_at=timezone.now())
        self.client.force_login(self.root)
        self.assertEqual(self.client.post(self.look, {"reason": REASON}).status_code, 404)

    def test_the_admin_shows_a_picture_only_to_who_may_see_it(self) -> None:
        self.client.force_login(self.root)
        picture = reverse("classifier:photo-thumbnail", args=[self.photo.pk])
        pages: list[Any] = [
            reverse("admin:classifier_photo_changelist"),
            reverse("admin:classifier_prediction_changelist"),
            reverse("admin:classifier_photo_change", args=[self.photo.pk]),
            reverse("admin:classifier_prediction_change", args=[self.photo.prediction.pk]),
        ]
        for page in pages:
            self.assertNotContains(self.client.get(page), picture, msg_prefix=page)
        self.assertContains(self.client.get(pages[2]), self.look)
        grant_access(self.photo, by=self.root, reason=REASON)
        for page in pages:
            self.assertContains(self.client.get(page), picture, msg_prefix=page)
