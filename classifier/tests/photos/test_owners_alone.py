"""Only the owner's word opens a photo, staff only read in a look, and what trains is the whole photo."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
from django.core.files.storage import default_storage
from django.test import override_settings
from django.urls import reverse
from django.utils import timezone
from PIL import Image

from cifarsite.test import SiteTestCase, answer
from classifier.feedback import corrections
from classifier.images.crops import Crop, input_from_display
from classifier.models import AuditEntry, Correction, Example, Explanation, Photo, Prediction
from classifier.operations import retention
from classifier.photos import history
from classifier.photos.access import grant_access, photos_for_review, photos_seen_by
from classifier.predictions.queue import ask_again
from training.engine.data.preprocessing import hash_pixels
from training.models import ModelVersion

REASON = "Asked for by its owner in mail 17."


class OwnersAlone(SiteTestCase):
    def setUp(self) -> None:
        self.photo = self.upload()
        answer(self.photo)

    def foreign_correction(self) -> None:
        """As an earlier version let staff write one."""
        Correction.objects.create(photo=self.photo, by=self.charlie, label="dog", predicted="cat")

    def test_staff_in_a_look_cannot_correct(self) -> None:
        grant_access(self.photo, by=self.charlie, reason=REASON)
        self.client.force_login(self.charlie)
        page = self.client.get(self.photo.get_absolute_url())
        url = reverse("classifier:photo-correct", args=[self.photo.pk])
        self.assertNotContains(page, url)
        self.assertEqual(self.client.post(url, {"label": "dog"}).status_code, 404)
        with self.assertRaises(corrections.NotTheOwner):
            corrections.correct(self.photo, self.charlie, "dog")
        self.assertFalse(Correction.objects.exists())

    def test_what_others_said_opens_nothing(self) -> None:
        corrections.set_consent(self.alice, True)
        self.foreign_correction()
        self.assertFalse(photos_seen_by(self.charlie).exists() or photos_for_review().exists())
        self.assertFalse(corrections.waiting().exists())
        self.client.force_login(self.charlie)
        url = reverse("classifier:review-photo", args=[self.photo.pk])
        self.assertEqual(self.client.post(url, {"label": "dog"}).status_code, 404)
        corrections.correct(self.photo, self.alice, "bird")
        self.assertEqual([row.label for row in corrections.waiting()], ["bird"])

    def test_no_write_of_a_photo_is_open_to_who_may_only_look(self) -> None:
        corrections.set_consent(self.alice, True)
        corrections.correct(self.photo, self.alice, "dog")
        grant_access(self.photo, by=self.charlie, reason=REASON)
        self.client.force_login(self.charlie)
        for name in ("photo-correct", "photo-ask", "photo-why", "photo-delete", "photo-restore"):
            url = reverse(f"classifier:{name}", args=[self.photo.pk])
            self.assertEqual(self.client.post(url, {"label": "bird"}).status_code, 404, name)
        write = 'method="post" action="/photos/'
        self.assertNotIn(write, self.plain_page())
        self.assertEqual((Prediction.objects.count(), Explanation.objects.count()), (1, 0))
        self.assertEqual(Correction.objects.get().label, "dog")
        self.client.force_login(self.alice)
        self.assertIn(write, self.plain_page())

    def plain_page(self) -> str:
        return " ".join(self.client.get(self.photo.get_absolute_url()).content.decode().split())

    def test_what_is_read_in_a_look_is_written_down(self) -> None:
        grant_access(self.photo, by=self.charlie, reason=REASON)
        self.client.force_login(self.charlie)
        for _twice in range(2):
            for name in ("photo", "photo-image", "photo-input"):
                url = reverse(f"classifier:{name}", args=[self.photo.pk])
                self.assertEqual(self.client.get(url).status_code, 200)
        lines = AuditEntry.objects.filter(kind="photo_read", by=self.charlie).order_by("id")
        read = [f"{self.photo.pk}: {name}" for name in ("photo", "photo-image", "photo-input")]
        self.assertEqual([line.detail for line in lines], read)
        self.client.force_login(self.alice)
        self.client.get(self.photo.get_absolute_url())
        self.assertEqual(AuditEntry.objects.filter(kind="photo_read").count(), 3)

    def test_no_browser_of_others_keeps_a_file(self) -> None:
        grant_access(self.photo, by=self.charlie, reason=REASON)
        for name, args in (
            ("photo-image", [self.photo.pk]),
            ("photo-thumbnail", [self.photo.pk]),
            ("photo-input", [self.photo.pk]),
            ("photo-earlier-input", [self.photo.pk, self.photo.prediction.pk]),
        ):
            url = reverse(f"classifier:{name}", args=args)
            self.client.force_login(self.charlie)
            self.assertEqual(self.client.get(url).headers["Cache-Control"], "private, no-store", name)
            self.client.force_login(self.alice)
            self.assertIn("private, max-age", self.client.get(url).headers["Cache-Control"], name)

    def test_a_photo_is_not_accepted_after_its_owner_took_consent_back(self) -> None:
        corrections.set_consent(self.alice, True)
        corrections.correct(self.photo, self.alice, "dog")
        corrections.set_consent(self.alice, False)
        with self.assertRaises(corrections.NotAllowed):
            corrections.accept(self.photo, "dog", by=self.charlie)
        corrections.set_consent(self.alice, True)
        history.delete_photos(self.alice, [self.photo.pk])
        with self.assertRaises(corrections.NotAllowed):
            corrections.accept(self.photo, "dog", by=self.charlie)
        self.assertFalse(Example.objects.exists())
        name = f"photos/{self.photo.pk.hex[:2]}/{self.photo.pk}/example.png"
        self.assertFalse(default_storage.exists(name))


class WhatTrains(SiteTestCase):
    def setUp(self) -> None:
        corrections.set_consent(self.alice, True)
        ModelVersion.objects.create(
            name="small",
            recipe="x",
            sha256="a" * 64,
            size=1,
            preprocessing="squash32-v1",
            card={},
            is_champion=True,
        )
        self.photo = self.upload()
        answer(self.photo)

    def test_the_whole_photo_trains_although_a_part_was_asked_about(self) -> None:
        whole = np.asarray(corrections.training_image(self.photo))
        ask_again(self.photo, Crop(0, 0, 0.5, 0.5))
        answer(self.photo)
        np.testing.assert_array_equal(np.asarray(corrections.training_image(self.photo)), whole)

    def test_without_an_input_of_the_whole_the_stored_copy_trains(self) -> None:
        self.photo.predictions.update(preprocessing="other")
        ask_again(self.photo, Crop(0, 0, 0.5, 0.5))
        whole = np.asarray(input_from_display(self.photo, None, "squash32-v1"))
        np.testing.assert_array_equal(np.asarray(corrections.training_image(self.photo)), whole)

    def test_an_accepted_label_can_change_and_the_pixels_stay_what_their_hash_says(self) -> None:
        corrections.correct(self.photo, self.alice, "dog")
        first = corrections.accept(self.photo, "dog", by=self.charlie)
        self.photo.predictions.update(preprocessing="other")  # now they would be made of the stored copy
        again = corrections.accept(self.photo, "cat", by=self.charlie)
        self.assertEqual((again.label, again.sha256), ("cat", first.sha256))
        with again.image.open("rb") as file, Image.open(file) as image:
            self.assertEqual(hash_pixels(image.convert("RGB")), again.sha256)

    def test_what_trains_nothing_is_removed_with_age(self) -> None:
        trains, none, near_duplicate_of = self.photo, self.upload(colour="gold"), self.upload(colour="navy")
        for photo, label in ((trains, "dog"), (none, "unknown"), (near_duplicate_of, "dog")):
            if photo != trains:
                answer(photo)
            corrections.accept(photo, label, by=self.charlie)
        Example.objects.filter(photo=near_duplicate_of).update(near_duplicate_of=17)
        Photo.objects.update(created_at=timezone.now() - timedelta(days=8))
        with override_settings(KEEP_PHOTOS_DAYS=7):
            retention.expire()
        self.assertEqual(list(Photo.objects.all()), [trains])


class Unreadable(SiteTestCase):
    def setUp(self) -> None:
        corrections.set_consent(self.alice, True)
        self.photo = self.upload()
        answer(self.photo)
        corrections.correct(self.photo, self.alice, "dog")
        self.client.force_login(self.charlie)
        self.url = reverse("classifier:review-photo", args=[self.photo.pk])

    def damage(self, content: bytes | None) -> None:
        for file in (self.photo.display, self.photo.prediction.input):
            default_storage.delete(str(file.name))
            if content is not None:
                with default_storage.open(str(file.name), "wb") as opened:
                    opened.write(content)

    def test_one_unreadable_photo_does_not_block_the_queue(self) -> None:
        for content in (None, b"", b"\xff\xd8\xff\xe0 no photo", b"\x89PNG\r\n\x1a\n no photo"):
            self.damage(content)
            page = self.client.get(reverse("classifier:review"))
            self.assertContains(page, "The stored photo cannot be read")
            answered = self.client.post(self.url, {"label": "dog"}, follow=True)
            self.assertContains(answered, "The stored photo cannot be read")
            self.assertFalse(Example.objects.exists())
        self.client.post(self.url, {"act": "reject"})
        self.assertFalse(corrections.waiting().exists())


class BroughtBack(SiteTestCase):
    def test_a_photo_brought_back_during_a_purge_stays(self) -> None:
        first, second = self.upload(), self.upload(colour="gold")
        history.delete_photos(self.alice, [first.pk, second.pk])
        Photo.objects.update(deleted_at=timezone.now() - 2 * history.UNDO)
        over = Photo.objects.filter(deleted_at__lt=timezone.now() - history.UNDO).order_by("pk")
        kept = over.last()
        assert kept is not None
        # The list is made; then, before its turn comes, its owner undoes the deletion.
        removing = history.removals(over, 10)
        next(removing)
        history.restore_photos(self.alice, [kept.pk])
        self.assertEqual(list(removing), [False])
        self.assertEqual(list(Photo.objects.all()), [kept])
        self.assertTrue(default_storage.exists(str(kept.display.name)))
